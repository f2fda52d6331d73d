//! A small invoice MCP server with read, write and irreversible tools.
