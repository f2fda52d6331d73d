-- How an agent authenticates and what its tokens are bound to. The record is JSON text: nothing
-- searches in it.
ALTER TABLE agents ADD COLUMN authentication TEXT NOT NULL DEFAULT '{"method":"private_key_jwt"}';
ALTER TABLE agents ADD COLUMN binding TEXT NOT NULL DEFAULT 'dpop';

-- The names and certificates agents are known by. One of them identifies one agent.
CREATE TABLE agent_subjects (
    subject TEXT PRIMARY KEY,
    agent TEXT NOT NULL REFERENCES agents (id)
);
CREATE INDEX agent_subjects_agent ON agent_subjects (agent);
