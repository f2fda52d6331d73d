-- Subjects whose sealed payloads are forgotten. Never removed: what is read back from a backup has to
-- be forgotten again.
CREATE TABLE erasures (
    subject TEXT PRIMARY KEY,
    until_s BIGINT NOT NULL
);
