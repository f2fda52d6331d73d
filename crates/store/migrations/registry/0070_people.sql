-- People, what they may do, what they gave to agents, and how they sign in.
CREATE TABLE persons (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    display_name TEXT,
    state TEXT NOT NULL,
    role_names TEXT NOT NULL,
    group_names TEXT NOT NULL,
    issuer TEXT,
    subject TEXT,
    created_s BIGINT NOT NULL,
    stop_ended_s BIGINT
);
-- `sub` is unique within its issuer.
CREATE UNIQUE INDEX persons_external ON persons (issuer, subject);

-- Apart from the person: no snapshot reads this table.
CREATE TABLE person_passwords (
    person TEXT PRIMARY KEY REFERENCES persons (id),
    phc TEXT NOT NULL,
    set_s BIGINT NOT NULL
);

CREATE TABLE person_grants (
    id TEXT PRIMARY KEY,
    given_to TEXT NOT NULL,
    server TEXT NOT NULL REFERENCES servers (id),
    patterns TEXT NOT NULL,
    created_s BIGINT NOT NULL,
    expires_s BIGINT,
    revoked_s BIGINT
);

CREATE TABLE consents (
    id TEXT PRIMARY KEY,
    person TEXT NOT NULL REFERENCES persons (id),
    agent TEXT NOT NULL REFERENCES agents (id),
    server TEXT NOT NULL REFERENCES servers (id),
    scope TEXT NOT NULL,
    created_s BIGINT NOT NULL,
    expires_s BIGINT NOT NULL,
    revoked_s BIGINT
);
CREATE INDEX consents_person ON consents (person, agent, server);

-- Only the hash of a code is kept.
CREATE TABLE invitations (
    code_hash TEXT PRIMARY KEY,
    person TEXT NOT NULL REFERENCES persons (id),
    created_s BIGINT NOT NULL,
    expires_s BIGINT NOT NULL,
    redeemed_s BIGINT
);
CREATE INDEX invitations_person ON invitations (person);

-- By the SHA-256 of what the browser holds. No change of the registry, and in no snapshot.
CREATE TABLE sessions (
    id_hash TEXT PRIMARY KEY,
    person TEXT NOT NULL REFERENCES persons (id),
    opened_s BIGINT NOT NULL,
    seen_s BIGINT NOT NULL,
    ended_s BIGINT
);
CREATE INDEX sessions_person ON sessions (person);

-- What is known about a public client of people.
ALTER TABLE agents ADD COLUMN client TEXT;
