// The official TypeScript SDK as a client. Prints one JSON line; exit 0 when all went as asked.
//   sdk.mjs --stdio COMMAND.. [--]            over stdio, through `attorn connect`
//   sdk.mjs --url URL                         over HTTP, without credentials (`connect --listen`)
//   sdk.mjs --url URL --client-id ID --key F  with private_key_jwt and the SDK's own DPoP
// Options: --call TOOL --arguments JSON --hidden TOOL --hidden-arguments JSON --era auto|legacy|modern
import fs from 'node:fs';
import { parseArgs } from 'node:util';
import {
  Client,
  DpopSession,
  PrivateKeyJwtProvider,
  StreamableHTTPClientTransport,
} from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    url: { type: 'string' },
    stdio: { type: 'boolean' },
    'client-id': { type: 'string' },
    key: { type: 'string' },
    algorithm: { type: 'string', default: 'EdDSA' },
    issuer: { type: 'string' },
    scope: { type: 'string' },
    call: { type: 'string' },
    arguments: { type: 'string', default: '{}' },
    hidden: { type: 'string' },
    'hidden-arguments': { type: 'string', default: '{}' },
    era: { type: 'string', default: 'auto' },
  },
});

async function makeTransport() {
  if (options.stdio) {
    const [command, ...args] = positionals;
    return new StdioClientTransport({ command, args, env: process.env, stderr: 'inherit' });
  }
  const url = new URL(options.url);
  if (!options['client-id']) return new StreamableHTTPClientTransport(url);
  const session = await DpopSession.create({ alg: 'ES256' });
  const provider = new PrivateKeyJwtProvider({
    clientId: options['client-id'],
    // As bytes: given as a string, the SDK takes RSA and ECDSA keys and no Ed25519.
    privateKey: new Uint8Array(fs.readFileSync(options.key)),
    algorithm: options.algorithm,
    // The authority takes no assertion that runs longer; the SDK's default is five minutes.
    jwtLifetimeSeconds: 60,
    scope: options.scope,
    expectedIssuer: options.issuer,
  });
  return new StreamableHTTPClientTransport(url, {
    authProvider: Object.assign(provider, { dpop: () => session }),
  });
}

async function hiddenIsRefused(client) {
  try {
    const given = JSON.parse(options['hidden-arguments']);
    const result = await client.callTool({ name: options.hidden, arguments: given });
    return Boolean(result.isError);
  } catch {
    return true;
  }
}

const report = { client: 'typescript', era: options.era };
try {
  const mode = options.era === 'modern' ? { pin: '2026-07-28' } : options.era;
  const about = { name: 'interop', version: '1' };
  const client = new Client(about, { capabilities: {}, versionNegotiation: { mode } });
  await client.connect(await makeTransport());
  report.version = client.getNegotiatedProtocolVersion?.();
  report.tools = (await client.listTools()).tools.map((tool) => tool.name);
  if (options.call) {
    const given = JSON.parse(options.arguments);
    const result = await client.callTool({ name: options.call, arguments: given });
    report.call = { isError: Boolean(result.isError), text: result.content?.[0]?.text };
    if (result.isError) throw new Error('the call came back as an error');
  }
  if (options.hidden) {
    report.hidden_listed = report.tools.includes(options.hidden);
    report.hidden_refused = await hiddenIsRefused(client);
    if (report.hidden_listed || !report.hidden_refused) throw new Error('a hidden tool was reached');
  }
  await client.close();
  report.ok = true;
} catch (error) {
  report.ok = false;
  report.error = `${error.name}: ${error.message}`;
}
console.log(JSON.stringify(report));
process.exit(report.ok ? 0 : 1);
