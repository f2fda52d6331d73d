-- When an agent ends, and when it was used last. The latter is noted now and then, is no change
-- of the registry and is in no snapshot.
ALTER TABLE agents ADD COLUMN expires_s BIGINT;
ALTER TABLE agents ADD COLUMN last_used_s BIGINT;
