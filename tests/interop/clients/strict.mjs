// What the scripts with oauth4webapi share: discovery, nonces, and MCP over requests with proofs.
import * as oauth from 'oauth4webapi';

// Loopback without TLS is what the tests have.
export const INSECURE = { [oauth.allowInsecureRequests]: true };
// What the servers under test speak.
const VERSION = '2025-11-25';

// From the address of a server to its authority: RFC 9728, then RFC 8414.
export async function discover(url) {
  const resource = new URL(url);
  const metadata = await oauth.resourceDiscoveryRequest(resource, INSECURE);
  const protectedResource = await oauth.processResourceDiscoveryResponse(resource, metadata);
  const issuer = new URL(protectedResource.authorization_servers[0]);
  const options = { ...INSECURE, algorithm: 'oauth2' };
  const found = await oauth.discoveryRequest(issuer, options);
  return oauth.processDiscoveryResponse(issuer, found);
}

// Does something again where the first answer was a nonce; `told` hears of it.
export async function repeatedOnce(ask, told = () => {}) {
  try {
    return await ask();
  } catch (error) {
    if (!oauth.isDPoPNonceError(error)) throw error;
    told();
    return ask();
  }
}

// Messages to one MCP server under one token.
export class Session {
  constructor({ url, token, DPoP, more = {}, told }) {
    Object.assign(this, { url, token, told, id: null, options: { ...INSECURE, ...more, DPoP } });
  }

  async open() {
    const about = { name: 'oauth4webapi', version: '1' };
    const params = { protocolVersion: VERSION, capabilities: {}, clientInfo: about };
    await this.send({ id: 1, method: 'initialize', params });
    await this.send({ method: 'notifications/initialized' });
  }

  // Sends one message; gives back the response and the message that answered it.
  async send(message) {
    const headers = new Headers({
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': VERSION,
    });
    if (this.id) headers.set('mcp-session-id', this.id);
    const body = JSON.stringify({ jsonrpc: '2.0', ...message });
    const ask = () => oauth.protectedResourceRequest(
      this.token, 'POST', new URL(this.url), headers, body, this.options);
    const reply = await repeatedOnce(ask, this.told);
    this.id ??= reply.headers.get('mcp-session-id');
    const text = await reply.text();
    const line = text.split('\n').findLast((found) => found.startsWith('data:'));
    return { status: reply.status, answer: text ? JSON.parse(line ? line.slice(5) : text) : null };
  }

  // Whether a call went through to a result that is no error.
  async works(name, given) {
    const params = { name, arguments: given };
    const { status, answer } = await this.send({ id: 2, method: 'tools/call', params });
    return status === 200 && answer?.result !== undefined && !answer.result.isError;
  }
}
