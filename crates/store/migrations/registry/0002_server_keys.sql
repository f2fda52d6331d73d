-- The public parts of the keys that gateways hold for their servers.
-- A thumbprint is unique over all servers and for ever: a key stands for one server.
CREATE TABLE server_keys (
    jkt TEXT PRIMARY KEY,
    server TEXT NOT NULL REFERENCES servers (id),
    jwk TEXT NOT NULL,
    state TEXT NOT NULL,
    created_s BIGINT NOT NULL
);
CREATE INDEX server_keys_server ON server_keys (server);
