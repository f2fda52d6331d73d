-- The index says which blocks of the log may hold a term, and the log is asked for the rest. It is made
-- again from the log by itself.
DROP TABLE entries;
CREATE TABLE blocks (
    first_index BIGINT PRIMARY KEY,
    terms BYTEA NOT NULL
);
