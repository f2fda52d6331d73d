-- Entries can be found by whom they are about as well. Filters from before do not have those terms; they are
-- made again from the log by themselves.
DELETE FROM blocks;
