//! The MCP messages Attorn enforces, per revision.
