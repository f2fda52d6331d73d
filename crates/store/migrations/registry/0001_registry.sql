-- One text for SQLite and PostgreSQL: BIGINT and TEXT only. Times are Unix seconds.
-- Lists and records inside a record are canonical enough as JSON text: nothing searches in them.

-- One row. Every change counts `version` up first, which also makes changes wait for each other.
CREATE TABLE registry (
    id BIGINT PRIMARY KEY,
    version BIGINT NOT NULL,
    epoch BIGINT NOT NULL
);
INSERT INTO registry (id, version, epoch) VALUES (1, 0, 0);

CREATE TABLE changes (
    version BIGINT PRIMARY KEY,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    made_by TEXT NOT NULL,
    made_s BIGINT NOT NULL
);

CREATE TABLE owners (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    email TEXT,
    state TEXT NOT NULL,
    created_s BIGINT NOT NULL
);

CREATE TABLE agents (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    owner TEXT REFERENCES owners (id),
    state TEXT NOT NULL,
    created_s BIGINT NOT NULL
);

-- A thumbprint is unique over all agents and for ever: a key identifies one agent.
CREATE TABLE agent_keys (
    jkt TEXT PRIMARY KEY,
    agent TEXT NOT NULL REFERENCES agents (id),
    jwk TEXT NOT NULL,
    state TEXT NOT NULL,
    not_before_s BIGINT NOT NULL,
    not_after_s BIGINT
);
CREATE INDEX agent_keys_agent ON agent_keys (agent);

-- Only the hash of a code is kept.
CREATE TABLE enrolments (
    code_hash TEXT PRIMARY KEY,
    agent TEXT NOT NULL REFERENCES agents (id),
    created_s BIGINT NOT NULL,
    expires_s BIGINT NOT NULL,
    redeemed_s BIGINT
);
CREATE INDEX enrolments_agent ON enrolments (agent);

CREATE TABLE servers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    owner TEXT REFERENCES owners (id),
    state TEXT NOT NULL,
    upstream TEXT NOT NULL,
    created_s BIGINT NOT NULL
);

-- `approved_definition` stays beside the current one, so that a change can be shown.
CREATE TABLE tools (
    server TEXT NOT NULL REFERENCES servers (id),
    name TEXT NOT NULL,
    definition TEXT NOT NULL,
    digest TEXT NOT NULL,
    proposed_class TEXT NOT NULL,
    seen_s BIGINT NOT NULL,
    approved_definition TEXT,
    approved_digest TEXT,
    approved_class TEXT,
    approved_by TEXT,
    approved_s BIGINT,
    PRIMARY KEY (server, name)
);

CREATE TABLE grants (
    id TEXT PRIMARY KEY,
    agent TEXT NOT NULL REFERENCES agents (id),
    server TEXT NOT NULL REFERENCES servers (id),
    patterns TEXT NOT NULL,
    expires_s BIGINT,
    revoked_s BIGINT,
    given_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_s BIGINT NOT NULL
);
CREATE INDEX grants_agent ON grants (agent, server);

CREATE TABLE locks (
    id TEXT PRIMARY KEY,
    target TEXT NOT NULL,
    reason TEXT NOT NULL,
    set_by TEXT NOT NULL,
    created_s BIGINT NOT NULL,
    expires_s BIGINT NOT NULL,
    lifted_s BIGINT
);

CREATE TABLE policies (
    version BIGINT PRIMARY KEY,
    policy_text TEXT NOT NULL,
    reason TEXT NOT NULL,
    applied_by TEXT NOT NULL,
    applied_s BIGINT NOT NULL
);

CREATE TABLE revoked_tokens (
    jti TEXT PRIMARY KEY,
    expires_s BIGINT NOT NULL
);

CREATE TABLE issuer_keys (
    kid TEXT PRIMARY KEY,
    jwk TEXT NOT NULL,
    state TEXT NOT NULL,
    created_s BIGINT NOT NULL
);
