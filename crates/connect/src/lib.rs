//! The agent's side: any MCP client in, bound tokens out.
