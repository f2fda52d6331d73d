-- Calls that wait, or waited, for a person. The call, who is excluded and where it stands are JSON
-- text: they are read with their record. The arguments are what an approver sees; they are forgotten
-- after a while, the rest stays.
CREATE TABLE approvals (
    id TEXT PRIMARY KEY,
    agent TEXT NOT NULL REFERENCES agents (id),
    called TEXT NOT NULL,
    excluded TEXT NOT NULL,
    status TEXT NOT NULL,
    state TEXT NOT NULL,
    arguments TEXT NOT NULL,
    actors TEXT,
    decision TEXT NOT NULL,
    trace_id TEXT,
    asked_by TEXT NOT NULL,
    asked_s BIGINT NOT NULL,
    expires_s BIGINT NOT NULL
);
CREATE INDEX approvals_by_agent ON approvals (agent, expires_s);
CREATE INDEX approvals_by_status ON approvals (status, expires_s);
