// The official TypeScript SDK acting for a person: authorization code, PKCE, and its own DPoP.
//   sdk-code.mjs SCENE
// SCENE is JSON: {url, person, document, first, second, hidden}. Where `document` is a URL it is the
// client, else the SDK registers itself. `first` and `second` are tools with the right that each needs;
// the person gives the first right, and the second one when the client steps up; then the token ends.
// Prints one JSON line.
import { Client, DpopSession, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { UnauthorizedError } from '@modelcontextprotocol/client';
import { Person } from './browser.mjs';
import { Callback } from './callback.mjs';

const scene = JSON.parse(process.argv[2]);

// What an application has to keep for the SDK. Nothing of the protocol is done here.
class Application {
  constructor({ person, callback, dpop }) {
    Object.assign(this, { person, callback, session: dpop, kept: {}, rights: [], seen: [] });
    if (scene.document) this.clientMetadataUrl = scene.document;
  }

  get redirectUrl() {
    return this.callback.url;
  }

  get clientMetadata() {
    const redirect_uris = [this.redirectUrl];
    return { client_name: 'Desk', redirect_uris, token_endpoint_auth_method: 'none' };
  }

  state() {
    return (this.kept.state = crypto.randomUUID());
  }

  async redirectToAuthorization(url) {
    const ask = { url: url.href, callback: this.redirectUrl, rights: this.rights };
    this.seen.push({ asked: url.searchParams.get('scope'), ...(await this.person.answer(ask)) });
  }

  // What the browser brought, for the SDK to judge.
  brought() {
    const parameters = this.callback.take();
    if (parameters.get('state') !== this.kept.state) throw new Error('another state came back');
    return parameters;
  }

  clientInformation = () => this.kept.client;
  saveClientInformation = (client) => void (this.kept.client = client);
  tokens = () => this.kept.tokens;
  saveTokens = (tokens) => void (this.kept.tokens = tokens);
  codeVerifier = () => this.kept.verifier;
  saveCodeVerifier = (verifier) => void (this.kept.verifier = verifier);
  discoveryState = () => this.kept.discovery;
  saveDiscoveryState = (discovery) => void (this.kept.discovery = discovery);
  dpop = () => this.session;
}

// Does something; where the SDK sent the person away for it, finishes and does it again.
async function withPerson(application, transport, act) {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof UnauthorizedError)) throw error;
    await transport().finishAuth(application.brought());
    return act();
  }
}

async function connected(application) {
  const about = { name: 'interop', version: '1' };
  let client;
  let transport;
  await withPerson(application, () => transport, async () => {
    transport = new StreamableHTTPClientTransport(new URL(scene.url), { authProvider: application });
    client = new Client(about, { capabilities: {}, versionNegotiation: { mode: 'auto' } });
    await client.connect(transport);
  });
  return { client, transport };
}

async function called({ client }, step) {
  const result = await client.callTool({ name: step.tool, arguments: step.arguments });
  const text = result.content?.[0]?.text ?? '';
  if (result.isError || !text.includes(step.answer)) throw new Error(`${step.tool}: ${text}`);
}

async function refused({ client }, tool) {
  try {
    const result = await client.callTool({ name: tool, arguments: scene.first.arguments });
    return Boolean(result.isError);
  } catch (error) {
    // Not by a question to the person: they could not give it.
    return !(error instanceof UnauthorizedError);
  }
}

// A token ends, and the SDK gets the next one with its refresh token, without the person.
async function outlived(application, session) {
  const { tokens, client, discovery } = application.kept;
  const given = { token: tokens.access_token, client_id: client.client_id };
  const address = discovery.authorizationServerMetadata.revocation_endpoint;
  const reply = await fetch(address, { method: 'POST', body: new URLSearchParams(given) });
  if (!reply.ok) throw new Error(`${address}: ${reply.status}`);
  await called(session, scene.first);
  return application.kept.tokens.access_token !== tokens.access_token;
}

async function run(report) {
  const person = await Person.sitDown(scene.person);
  const callback = await Callback.listen();
  const dpop = await DpopSession.create({ alg: 'ES256' });
  const application = new Application({ person, callback, dpop });
  report.seen = application.seen;
  try {
    application.rights = [scene.first.right];
    const session = await connected(application);
    await called(session, scene.first);
    report.first = application.kept.tokens.scope;
    report.tools = (await session.client.listTools()).tools.map((tool) => tool.name);
    report.hidden_refused = await refused(session, scene.hidden);
    application.rights = [scene.first.right, scene.second.right];
    const step = () => called(session, scene.second);
    await withPerson(application, () => session.transport, step);
    await called(session, scene.first);
    report.outlived = await outlived(application, session);
    report.second = application.kept.tokens.scope;
    report.token_type = application.kept.tokens.token_type;
    report.client_id = application.kept.client.client_id;
    await session.client.close();
    report.ok = true;
  } finally {
    callback.close();
    await person.getUp();
  }
}

const report = { client: 'typescript', ok: false };
try {
  await run(report);
} catch (error) {
  report.error = `${error.name}: ${error.message}`;
}
console.log(JSON.stringify(report));
process.exit(report.ok ? 0 : 1);
