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
const scenario = process.env.MCP_CONFORMANCE_SCENARIO ?? '';
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? '{}');
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'attorn-conformance-'));

function file(name, content) {
  const place = path.join(folder, name);
  fs.writeFileSync(place, content, { mode: 0o600 });
  return place;
}

// The suite's authorization servers approve at once; what follows the redirect is the browser.
const person = ['--person', '--browser', 'curl -sLo /dev/null'];

function options() {
  if (scenario === 'auth/dpop' || scenario === 'auth/dpop-nonce') return person;
  // The authorization servers of the others know no DPoP.
  if (context.valid_jwt) {
    return ['--workload-token', file('workload.jwt', context.valid_jwt), '--accept-bearer'];
  }
  if (context.idp_id_token) {
    const provider = ['--idp', context.idp_issuer, '--idp-client-id', context.idp_client_id];
    const own = ['--client-id', context.client_id, '--client-secret', file('secret', context.client_secret)];
    return ['--id-token', file('id.jwt', context.idp_id_token), ...provider, ...own, '--accept-bearer'];
  }
  if (context.private_key_pem) {
    const key = file('key.pem', context.private_key_pem);
    return ['--client-id', context.client_id, '--key', key, '--accept-bearer'];
  }
  if (context.client_secret) {
    const secret = file('secret', context.client_secret);
    return [...person, '--client-id', context.client_id, '--client-secret', secret, '--accept-bearer'];
  }
  if (scenario === 'auth/basic-cimd') {
    const document = 'https://conformance-test.local/client-metadata.json';
    return [...person, '--client-id', document, '--accept-bearer'];
  }
  return [...person, '--accept-bearer'];
}

const mode = process.env.MCP_CONFORMANCE_PROTOCOL_VERSION === '2026-07-28' ? { pin: '2026-07-28' } : 'legacy';
const about = { name: 'conformance', version: '1.0.0' };
const client = new Client(about, { versionNegotiation: { mode } });
try {
  const args = ['--profile', folder, 'connect', url, ...options()];
  await client.connect(new StdioClientTransport({ command: attorn, args, env: process.env }));
  await client.listTools();
  await client.callTool({ name: 'test-tool', arguments: {} });
  await client.close();
} finally {
  fs.rmSync(folder, { recursive: true });
}
