// A strict, independent OAuth library against the authority and the gateway, without any MCP SDK:
// discovery, private_key_jwt, DPoP with nonces at both ends, one tools/call.
//   oauth4webapi.mjs URL CLIENT_ID KEY_FILE TOOL ARGUMENTS
import { createPrivateKey, webcrypto } from 'node:crypto';
import fs from 'node:fs';
import * as oauth from 'oauth4webapi';

const [url, clientId, keyFile, tool, given] = process.argv.slice(2);
const INSECURE = { [oauth.allowInsecureRequests]: true };
const VERSION = '2026-07-28';

async function clientKey() {
  const pem = fs.readFileSync(keyFile, 'utf8');
  const kind = createPrivateKey(pem).asymmetricKeyType;
  const algorithm = kind === 'ed25519' ? { name: 'Ed25519' } : { name: 'ECDSA', namedCurve: 'P-256' };
  const der = Buffer.from(pem.replace(/-----[A-Z ]+-----/g, ''), 'base64');
  return webcrypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign']);
}

async function discover() {
  const resource = new URL(url);
  const metadata = await oauth.resourceDiscoveryRequest(resource, INSECURE);
  const protectedResource = await oauth.processResourceDiscoveryResponse(resource, metadata);
  const issuer = new URL(protectedResource.authorization_servers[0]);
  const options = { ...INSECURE, algorithm: 'oauth2' };
  const found = await oauth.discoveryRequest(issuer, options);
  return oauth.processDiscoveryResponse(issuer, found);
}

async function getToken(server, client, DPoP) {
  const authentication = oauth.PrivateKeyJwt(await clientKey());
  const parameters = new URLSearchParams({ resource: url });
  const options = { ...INSECURE, DPoP };
  const ask = async () => {
    const reply = await oauth.clientCredentialsGrantRequest(
      server, client, authentication, parameters, options);
    return oauth.processClientCredentialsResponse(server, client, reply);
  };
  return repeatedOnce(ask);
}

async function repeatedOnce(ask) {
  try {
    return await ask();
  } catch (error) {
    if (!oauth.isDPoPNonceError(error)) throw error;
    return ask();
  }
}

async function call(token, DPoP) {
  const meta = {
    'io.modelcontextprotocol/protocolVersion': VERSION,
    'io.modelcontextprotocol/clientInfo': { name: 'oauth4webapi', version: '1' },
    'io.modelcontextprotocol/clientCapabilities': {},
  };
  const params = { name: tool, arguments: JSON.parse(given), _meta: meta };
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params });
  const headers = new Headers({
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
    'mcp-protocol-version': VERSION,
    'mcp-method': 'tools/call',
    'mcp-name': tool,
  });
  const options = { ...INSECURE, DPoP };
  const ask = () =>
    oauth.protectedResourceRequest(token, 'POST', new URL(url), headers, body, options);
  return repeatedOnce(ask);
}

const server = await discover();
const client = { client_id: clientId };
const keys = await oauth.generateKeyPair('ES256');
const DPoP = oauth.DPoP(client, keys);
const token = await getToken(server, client, DPoP);
const reply = await call(token.access_token, DPoP);
const text = await reply.text();
const line = text.split('\n').findLast((found) => found.startsWith('data:'));
const message = JSON.parse(line ? line.slice(5) : text);
const ok = reply.status === 200 && message.result !== undefined && !message.result.isError;
console.log(JSON.stringify({ client: 'oauth4webapi', token_type: token.token_type, ok, message }));
process.exit(ok ? 0 : 1);
