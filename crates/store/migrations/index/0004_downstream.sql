-- Entries can be found by approval, exchanged token and the API's name of a request as well. Filters from
-- before do not have those terms; they are made again from the log by themselves.
DELETE FROM blocks;
