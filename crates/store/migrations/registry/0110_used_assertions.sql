-- Assertions of other issuers that were used, by SHA-256 of what names them, until they end. With a
-- holder, the key that may use the same one again. Not part of the registry that gateways see.
CREATE TABLE used_assertions (
    digest TEXT PRIMARY KEY,
    holder TEXT,
    expires_s BIGINT NOT NULL
);
CREATE INDEX used_assertions_by_end ON used_assertions (expires_s);
