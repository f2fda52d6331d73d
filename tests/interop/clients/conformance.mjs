// A client for the official suite's client scenarios: the TypeScript SDK over `attorn connect`.
//   conformance.mjs ATTORN URL
// The suite gives scenario and context in the environment; what a scenario needs of `connect` is
// an option of it, so nothing is relaxed that was not asked for.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';

const [attorn, url] = process.argv.slice(2);
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? '{}');
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'attorn-conformance-'));

// A file that only we read.
function file(name, text) {
  const at = path.join(folder, name);
  fs.writeFileSync(at, text, { mode: 0o600 });
  return at;
}

function options() {
  // The authorization servers of these two scenarios know no DPoP either.
  if (context.valid_jwt) {
    return ['--workload-token', file('workload.jwt', context.valid_jwt), '--accept-bearer'];
  }
  if (context.idp_id_token) {
    return ['--id-token', file('id.jwt', context.idp_id_token), '--idp', context.idp_issuer,
      '--idp-client-id', context.idp_client_id, '--client-id', context.client_id,
      '--client-secret', file('secret', context.client_secret), '--accept-bearer'];
  }
  if (!context.private_key_pem) return ['--unattended-code'];
  const key = path.join(folder, 'key.pem');
  fs.writeFileSync(key, context.private_key_pem, { mode: 0o600 });
  // The authorization server of this scenario knows no DPoP.
  return ['--client-id', context.client_id, '--key', key, '--accept-bearer'];
}

const client = new Client({ name: 'conformance', version: '1.0.0' });
try {
  const args = ['connect', url, ...options()];
  await client.connect(new StdioClientTransport({ command: attorn, args, env: process.env }));
  await client.listTools();
  await client.callTool({ name: 'test-tool', arguments: {} });
  await client.close();
} finally {
  fs.rmSync(folder, { recursive: true });
}
