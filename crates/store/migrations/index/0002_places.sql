-- The index names places in the log and no longer repeats what stands there. It is made again from
-- the log by itself.
DROP TABLE entries;
CREATE TABLE entries (
    log_index BIGINT PRIMARY KEY,
    time_ms BIGINT NOT NULL,
    kind TEXT NOT NULL,
    agent TEXT,
    server TEXT,
    tool TEXT,
    decision TEXT,
    decision_id TEXT,
    reason TEXT,
    trace_id TEXT,
    token_jti TEXT
);
CREATE INDEX entries_agent ON entries (agent, log_index) WHERE agent IS NOT NULL;
CREATE INDEX entries_server ON entries (server, log_index) WHERE server IS NOT NULL;
CREATE INDEX entries_kind ON entries (kind, log_index);
CREATE INDEX entries_reason ON entries (reason, log_index) WHERE reason IS NOT NULL;
CREATE INDEX entries_decision ON entries (decision_id) WHERE decision_id IS NOT NULL;
CREATE INDEX entries_trace ON entries (trace_id) WHERE trace_id IS NOT NULL;
CREATE INDEX entries_token ON entries (token_jti) WHERE token_jti IS NOT NULL;
