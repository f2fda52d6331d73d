//! A small HTTP invoice API for the sample MCP server to call.
