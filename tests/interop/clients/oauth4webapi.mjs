// A strict, independent OAuth library against the authority and the gateway, without any MCP SDK:
// discovery, private_key_jwt, DPoP with nonces at both ends, one tools/call in a session.
//   oauth4webapi.mjs URL CLIENT_ID KEY_FILE TOOL ARGUMENTS HIDDEN ITS_ARGUMENTS
import { createPrivateKey, webcrypto } from 'node:crypto';
import fs from 'node:fs';
import * as oauth from 'oauth4webapi';

const [url, clientId, keyFile, tool, given, hidden, hiddenGiven] = process.argv.slice(2);
const INSECURE = { [oauth.allowInsecureRequests]: true };
// What the servers under test speak.
const VERSION = '2025-11-25';

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

// Sends one message; gives back the response and the message that answered it.
async function send(session, message) {
  const headers = new Headers({
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
    'mcp-protocol-version': VERSION,
  });
  if (session.id) headers.set('mcp-session-id', session.id);
  const body = JSON.stringify({ jsonrpc: '2.0', ...message });
  const options = { ...INSECURE, DPoP: session.DPoP };
  const reply = await repeatedOnce(() =>
    oauth.protectedResourceRequest(session.token, 'POST', new URL(url), headers, body, options));
  session.id ??= reply.headers.get('mcp-session-id');
  const text = await reply.text();
  const line = text.split('\n').findLast((found) => found.startsWith('data:'));
  return { status: reply.status, answer: text ? JSON.parse(line ? line.slice(5) : text) : null };
}

async function open(session) {
  const about = { name: 'oauth4webapi', version: '1' };
  const params = { protocolVersion: VERSION, capabilities: {}, clientInfo: about };
  await send(session, { id: 1, method: 'initialize', params });
  await send(session, { method: 'notifications/initialized' });
}

// Whether a call went through to a result that is no error.
async function works(session, name, text) {
  const params = { name, arguments: JSON.parse(text) };
  const { status, answer } = await send(session, { id: 2, method: 'tools/call', params });
  return status === 200 && answer?.result !== undefined && !answer.result.isError;
}

const server = await discover();
const client = { client_id: clientId };
const keys = await oauth.generateKeyPair('ES256');
const DPoP = oauth.DPoP(client, keys);
const token = await getToken(server, client, DPoP);
const session = { token: token.access_token, DPoP, id: null };
await open(session);
const called = await works(session, tool, given);
const hidden_called = await works(session, hidden, hiddenGiven);
const ok = called && !hidden_called;
const report = { client: 'oauth4webapi', token_type: token.token_type, ok, called, hidden_called };
console.log(JSON.stringify(report));
process.exit(ok ? 0 : 1);
