//! Enforcement in front of MCP servers, over Streamable HTTP and stdio.
