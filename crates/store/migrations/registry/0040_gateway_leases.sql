-- Which process of a gateway goes on, and how far its log was. SHA-256 of the leases. No change of
-- the registry: it has no version and is in no snapshot.
CREATE TABLE gateway_leases (
    agent TEXT PRIMARY KEY REFERENCES agents (id),
    held TEXT,
    issued TEXT,
    only_key TEXT,
    log_size BIGINT NOT NULL,
    log_root TEXT NOT NULL
);
