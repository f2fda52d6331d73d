//! Who exists: agents, MCP servers, tools, grants, locks, and the snapshot a gateway decides on.
