// An application of a person, as small as it can be: it registers itself, sends the person to the
// authority, takes the code at an address of its own, and calls with a key that it made (DPoP).
import crypto from 'node:crypto';
import http from 'node:http';

const b64 = (bytes) => Buffer.from(bytes).toString('base64url');
const sha256 = (text) => crypto.createHash('sha256').update(text).digest();

export class Application {
  static async start(issuer, resource, name = 'Desk <b>of</b> Ann') {
    const application = new Application();
    Object.assign(application, { issuer, resource, nonces: {} });
    application.server = http.createServer((request, response) => application.#returned(request, response));
    await new Promise((resolve) => application.server.listen(0, '127.0.0.1', resolve));
    application.callback = `http://127.0.0.1:${application.server.address().port}/callback`;
    const { privateKey, publicKey } = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const { kty, crv, x, y } = publicKey.export({ format: 'jwk' });
    Object.assign(application, { privateKey, jwk: { kty, crv, x, y } });
    const body = { client_name: name, redirect_uris: [application.callback] };
    const headers = { 'content-type': 'application/json' };
    const answer = await fetch(`${issuer}/register`, { method: 'POST', headers, body: JSON.stringify(body) });
    if (answer.status !== 201) throw new Error(`register: ${answer.status} ${await answer.text()}`);
    application.id = (await answer.json()).client_id;
    return application;
  }

  // Where to send the person, and the answer that will come back.
  ask(scope) {
    this.verifier = b64(crypto.randomBytes(32));
    this.returned = new Promise((resolve) => { this.resolve = resolve; });
    const query = new URLSearchParams({
      response_type: 'code',
      client_id: this.id,
      redirect_uri: this.callback,
      state: 'a-state',
      code_challenge: b64(sha256(this.verifier)),
      code_challenge_method: 'S256',
      resource: this.resource,
      scope,
    });
    return `${this.issuer}/authorize?${query}`;
  }

  #returned(request, response) {
    const answer = Object.fromEntries(new URL(request.url, this.callback).searchParams);
    response.writeHead(200, { 'content-type': 'text/html' });
    response.end('<!doctype html><title>Back</title><p>Back at the application');
    if (request.url.startsWith('/callback')) this.resolve(answer);
  }

  async redeem(code) {
    const form = {
      grant_type: 'authorization_code',
      client_id: this.id,
      code,
      code_verifier: this.verifier,
      redirect_uri: this.callback,
    };
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const body = new URLSearchParams(form).toString();
    const answer = await this.#send(`${this.issuer}/token`, headers, body);
    if (answer.status !== 200) throw new Error(`token: ${answer.status} ${answer.text}`);
    this.token = JSON.parse(answer.text).access_token;
  }

  // A tool call of MCP 2026-07-28. Gives its result, or its error.
  async call(tool, given, more = {}) {
    const meta = {
      'io.modelcontextprotocol/protocolVersion': '2026-07-28',
      'io.modelcontextprotocol/clientCapabilities': { elicitation: { url: {} } },
    };
    const params = { name: tool, arguments: given, _meta: meta, ...more };
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params });
    const headers = {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': '2026-07-28',
      'mcp-method': 'tools/call',
      'mcp-name': tool,
      authorization: `DPoP ${this.token}`,
    };
    const { text } = await this.#send(this.resource, headers, body, this.token);
    const json = text.startsWith('{') ? text : text.split('\n').find((line) => line.startsWith('data:')).slice(5);
    return JSON.parse(json);
  }

  // RFC 9449 section 8: asked for a nonce, the same is sent once more with it.
  async #send(url, headers, body, token) {
    const { origin } = new URL(url);
    for (let tries = 0; ; tries += 1) {
      const dpop = this.#proof(url, this.nonces[origin], token);
      const answer = await fetch(url, { method: 'POST', headers: { ...headers, dpop }, body });
      const text = await answer.text();
      const fresh = answer.headers.get('dpop-nonce');
      if (fresh) this.nonces[origin] = fresh;
      const told = `${answer.headers.get('www-authenticate')} ${text}`;
      if (tries > 0 || !told.includes('use_dpop_nonce')) return { status: answer.status, text };
    }
  }

  #proof(htu, nonce, token) {
    const header = { typ: 'dpop+jwt', alg: 'ES256', jwk: this.jwk };
    const claims = { jti: crypto.randomUUID(), htm: 'POST', htu, iat: Math.floor(Date.now() / 1000) };
    if (nonce) claims.nonce = nonce;
    if (token) claims.ath = b64(sha256(token));
    const signed = `${b64(JSON.stringify(header))}.${b64(JSON.stringify(claims))}`;
    const key = { key: this.privateKey, dsaEncoding: 'ieee-p1363' };
    return `${signed}.${b64(crypto.sign('sha256', Buffer.from(signed), key))}`;
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}
