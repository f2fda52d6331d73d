// An MCP server that asks an HTTP API and holds nothing that could be stolen.
//
// It reads the API's address from ISSUES_API_URL and sends no credential. Behind Attorn that address is
// one of Attorn's, where each request gets a token in the name of the call that caused it:
//
//     [[egress]]
//     server = "issues"
//     resource = "https://api.example.com/issues"
//     variable = "ISSUES_API_URL"
import { McpServer } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import * as z from 'zod';

const api = process.env.ISSUES_API_URL;

function issues(): McpServer {
  const server = new McpServer({ name: 'issues', version: '1.0.0' });
  server.registerTool(
    'get_issue',
    {
      description: 'One issue by its key',
      inputSchema: z.object({ key: z.string() }),
      annotations: { readOnlyHint: true },
    },
    async ({ key }) => {
      const answer = await fetch(`${api}/issues/${encodeURIComponent(key)}`);
      // The body of a refusal by Attorn names the reason and the decision.
      if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
      const { summary } = (await answer.json()) as { summary: string };
      return { content: [{ type: 'text', text: summary }] };
    },
  );
  return server;
}

serveStdio(issues);
