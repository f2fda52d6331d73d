-- What a search needs of each log entry. Everything here can be made again from the log.
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
    token_jti TEXT,
    entry TEXT NOT NULL
);
CREATE INDEX entries_agent ON entries (agent, log_index);
CREATE INDEX entries_server ON entries (server, tool, log_index);
CREATE INDEX entries_kind ON entries (kind, log_index);
CREATE INDEX entries_reason ON entries (reason, log_index);
CREATE INDEX entries_time ON entries (time_ms);
CREATE INDEX entries_decision ON entries (decision_id);
CREATE INDEX entries_trace ON entries (trace_id);
CREATE INDEX entries_token ON entries (token_jti);
