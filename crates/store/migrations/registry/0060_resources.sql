-- APIs behind MCP servers. Operations and rules are JSON text: they are read with their resource,
-- and nothing searches in them.
CREATE TABLE resources (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    url TEXT NOT NULL UNIQUE,
    owner TEXT REFERENCES owners (id),
    state TEXT NOT NULL,
    public_key TEXT,
    operations TEXT NOT NULL,
    downstreams TEXT NOT NULL,
    created_s BIGINT NOT NULL
);
-- Who has the private part: the gateway before the server, or the server itself.
ALTER TABLE server_keys ADD COLUMN holder TEXT NOT NULL DEFAULT 'gateway';
