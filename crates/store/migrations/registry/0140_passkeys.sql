-- Passkeys of people: the public keys by which they sign in. Apart from the person, as passwords are: no
-- snapshot reads this table.
CREATE TABLE passkeys (
    id TEXT PRIMARY KEY,
    -- What the authenticator calls it, as base64url. One of them is of one person.
    credential TEXT NOT NULL UNIQUE,
    person TEXT NOT NULL REFERENCES persons (id),
    name TEXT NOT NULL,
    public_key TEXT NOT NULL,
    sign_count BIGINT NOT NULL,
    created_s BIGINT NOT NULL,
    used_s BIGINT
);
CREATE INDEX passkeys_person ON passkeys (person);
