-- Servers that came from a public registry: what it said of them, what speaks against them, and who
-- took them in spite of it. `findings` is a JSON list: nothing searches in it.
CREATE TABLE imports (
    server TEXT PRIMARY KEY REFERENCES servers (id),
    source TEXT NOT NULL,
    version TEXT NOT NULL,
    package TEXT,
    document TEXT NOT NULL,
    findings TEXT NOT NULL,
    imported_by TEXT NOT NULL,
    imported_s BIGINT NOT NULL,
    accepted_by TEXT,
    accepted_s BIGINT
);
