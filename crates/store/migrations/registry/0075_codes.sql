-- What people gave to their clients and clients have in hand: codes, and families of tokens.
-- A family is everything that came from one code. Neither is part of the registry that gateways see.
CREATE TABLE token_families (
    id TEXT PRIMARY KEY,
    agent TEXT NOT NULL,
    person TEXT NOT NULL,
    server TEXT NOT NULL,
    client_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    login_s BIGINT NOT NULL,
    created_s BIGINT NOT NULL,
    jkt TEXT,
    expires_s BIGINT NOT NULL,
    ended_s BIGINT
);
CREATE INDEX token_families_by_end ON token_families (expires_s);
CREATE INDEX token_families_by_person ON token_families (person);

CREATE TABLE authorization_codes (
    code_hash TEXT PRIMARY KEY,
    family TEXT NOT NULL REFERENCES token_families (id) ON DELETE CASCADE,
    redirect_uri TEXT NOT NULL,
    code_challenge TEXT NOT NULL,
    dpop_jkt TEXT,
    expires_s BIGINT NOT NULL,
    used_s BIGINT
);

CREATE TABLE refresh_tokens (
    token_hash TEXT PRIMARY KEY,
    family TEXT NOT NULL REFERENCES token_families (id) ON DELETE CASCADE,
    expires_s BIGINT NOT NULL,
    used_s BIGINT
);
CREATE INDEX refresh_tokens_by_family ON refresh_tokens (family);

CREATE TABLE family_tokens (
    jti TEXT PRIMARY KEY,
    family TEXT NOT NULL REFERENCES token_families (id) ON DELETE CASCADE,
    expires_s BIGINT NOT NULL
);
CREATE INDEX family_tokens_by_family ON family_tokens (family);
