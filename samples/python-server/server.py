"""An MCP server that asks an HTTP API and holds nothing that could be stolen.

It reads the API's address from ISSUES_API_URL and sends no credential. Behind Attorn that address is one
of Attorn's, where each request gets a token in the name of the call that caused it:

    [[egress]]
    server = "issues"
    resource = "https://api.example.com/issues"
    variable = "ISSUES_API_URL"
"""

import json
import os
import urllib.error
import urllib.parse
import urllib.request

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations

API = os.environ["ISSUES_API_URL"]
server = MCPServer("issues")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def get_issue(key: str) -> str:
    """One issue by its key"""
    url = f"{API}/issues/{urllib.parse.quote(key, safe='')}"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["summary"]
    except urllib.error.HTTPError as refused:
        # The body of a refusal by Attorn names the reason and the decision.
        raise ToolError(f"{refused.code} {refused.read().decode()}") from None


server.run()
