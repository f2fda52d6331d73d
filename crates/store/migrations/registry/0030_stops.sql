-- The second in which the last stop of a record ended: tokens from before do not count again.
ALTER TABLE agents ADD COLUMN stop_ended_s BIGINT;
ALTER TABLE owners ADD COLUMN stop_ended_s BIGINT;
ALTER TABLE servers ADD COLUMN stop_ended_s BIGINT;
