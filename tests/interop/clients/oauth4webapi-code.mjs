// A strict, independent OAuth library acting for a person, without any MCP SDK: registration or a
// document, pushed requests, PKCE and DPoP with nonces, `iss`, refresh with rotation, revocation.
//   oauth4webapi-code.mjs SCENE    SCENE is JSON as for sdk-code.mjs
// The library refuses what no specification allows, so each answer it takes is one that conforms.
import assert from 'node:assert/strict';
import * as oauth from 'oauth4webapi';
import { Person } from './browser.mjs';
import { Callback } from './callback.mjs';
import { INSECURE, Session, discover, repeatedOnce } from './strict.mjs';

const scene = JSON.parse(process.argv[2]);
const NO_SECRET = oauth.None();

class Application {
  static async known({ person, callback, nonces }) {
    const server = await discover(scene.url);
    assert.ok(server.authorization_response_iss_parameter_supported);
    const client = await (scene.document ? documented(server) : registered(server, callback.url));
    const keys = await oauth.generateKeyPair('ES256');
    return new Application({ server, client, keys, person, callback, nonces });
  }

  constructor(parts) {
    Object.assign(this, parts);
  }

  // A new one knows no nonce, so whoever wants one has to ask for it.
  proofs() {
    return { ...INSECURE, DPoP: oauth.DPoP(this.client, this.keys) };
  }

  // A request to the authority, and what its answer has to be.
  exchange(place, send, read) {
    const options = this.proofs();
    const ask = async () => read(this.server, this.client, await send(options));
    return repeatedOnce(ask, () => this.nonces.push(place));
  }

  // Sends the person to the authority, and gives what came back, once it was judged.
  async asked(rights) {
    const { server, client, callback } = this;
    const verifier = oauth.generateRandomCodeVerifier();
    const state = oauth.generateRandomState();
    const parameters = new URLSearchParams({
      response_type: 'code',
      redirect_uri: callback.url,
      resource: scene.url,
      scope: [scene.first.right, scene.second.right].join(' '),
      state,
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
    });
    const push = (options) =>
      oauth.pushedAuthorizationRequest(server, client, NO_SECRET, parameters, options);
    const pushed = await this.exchange('par', push, oauth.processPushedAuthorizationResponse);
    const address = new URL(server.authorization_endpoint);
    address.searchParams.set('client_id', client.client_id);
    address.searchParams.set('request_uri', pushed.request_uri);
    await this.person.answer({ url: address.href, callback: callback.url, rights });
    return { brought: oauth.validateAuthResponse(server, client, callback.take(), state), verifier };
  }

  async tokens(rights) {
    const { server, client, callback } = this;
    const { brought, verifier } = await this.asked(rights);
    const redeem = (options) => oauth.authorizationCodeGrantRequest(
      server, client, NO_SECRET, brought, callback.url, verifier, options);
    const tokens = await this.exchange('token', redeem, oauth.processAuthorizationCodeResponse);
    assert.equal(tokens.token_type, 'dpop');
    assert.deepEqual(tokens.scope.split(' ').sort(), [...rights].sort());
    return tokens;
  }

  refreshed({ refresh_token }) {
    const { server, client } = this;
    const refresh = (options) =>
      oauth.refreshTokenGrantRequest(server, client, NO_SECRET, refresh_token, options);
    return this.exchange('refresh', refresh, oauth.processRefreshTokenResponse);
  }

  async revoke(token) {
    const { server, client } = this;
    const reply = await oauth.revocationRequest(server, client, NO_SECRET, token, INSECURE);
    await oauth.processRevocationResponse(reply);
  }

  session({ access_token }, more) {
    const told = () => this.nonces.push('gateway');
    const { DPoP } = this.proofs();
    return new Session({ url: scene.url, token: access_token, DPoP, more, told });
  }

  // Calls what the token is for; what it is not for does not go through.
  async use(tokens) {
    const session = this.session(tokens);
    await session.open();
    assert.ok(await session.works(scene.first.tool, scene.first.arguments));
  }

  // RFC 9068 and RFC 9449, by a resource server that is not ours.
  async judge(tokens) {
    let sent;
    const keep = (url, init) => {
      sent = new Request(url, init);
      return fetch(url, init);
    };
    await this.session(tokens, { [oauth.customFetch]: keep }).open();
    const options = { ...INSECURE, requireDPoP: true };
    const claims = await oauth.validateJwtAccessToken(this.server, sent, scene.url, options);
    assert.equal(claims.act.sub, claims.client_id);
    // In tokens such a client has the name of its record and not its URL: docs/gaps.md#sign-in.
    if (scene.document) assert.match(claims.client_id, /^agt_/);
    else assert.equal(claims.client_id, this.client.client_id);
    assert.match(claims.sub, /^usr_/);
  }
}

// RFC 7591: what is asked for is what is kept.
async function registered(server, callback) {
  const metadata = {
    client_name: 'Strict desk',
    redirect_uris: [callback],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
  };
  const reply = await oauth.dynamicClientRegistrationRequest(server, metadata, INSECURE);
  const client = await oauth.processDynamicClientRegistrationResponse(reply);
  for (const name of Object.keys(metadata)) assert.deepEqual(client[name], metadata[name], name);
  return client;
}

// A client that is the URL of a document tells nobody more than that.
async function documented(server) {
  assert.ok(server.client_id_metadata_document_supported);
  return { client_id: scene.document };
}

// What is over at the authority, in the form of RFC 6749 section 5.2.
function isOver(error) {
  return error instanceof oauth.ResponseBodyError && error.error === 'invalid_grant';
}

// What is over at the gateway, in the form of RFC 6750 section 3.1.
function isRefused(error) {
  const { cause } = error;
  return error instanceof oauth.WWWAuthenticateChallengeError &&
    cause.some(({ scheme, parameters }) => scheme === 'dpop' && parameters.error === 'invalid_token');
}

async function denied(application) {
  const isDenied = (error) =>
    error instanceof oauth.AuthorizationResponseError && error.error === 'access_denied';
  await assert.rejects(application.asked(null), isDenied);
}

// A refresh token counts once; a second use ends all that came from it: RFC 9700 section 4.14.2.
async function rotated(application) {
  const first = await application.tokens([scene.first.right]);
  await application.judge(first);
  await application.use(first);
  const second = await application.refreshed(first);
  assert.notEqual(second.refresh_token, first.refresh_token);
  await application.use(second);
  const third = await application.refreshed(second);
  await application.use(third);
  await assert.rejects(application.refreshed(first), isOver);
  await assert.rejects(application.refreshed(third), isOver);
  for (const tokens of [first, second, third]) {
    await assert.rejects(application.use(tokens), isRefused);
  }
}

async function revoked(application) {
  const tokens = await application.tokens([scene.first.right]);
  await application.use(tokens);
  await application.revoke(tokens.refresh_token);
  await assert.rejects(application.refreshed(tokens), isOver);
  await assert.rejects(application.use(tokens), isRefused);
  // RFC 7009 section 2.2: once more is no error.
  await application.revoke(tokens.refresh_token);
}

async function run(report) {
  const person = await Person.sitDown(scene.person);
  const callback = await Callback.listen();
  try {
    const application = await Application.known({ person, callback, nonces: report.nonces });
    report.client_id = application.client.client_id;
    for (const act of [denied, rotated, revoked]) {
      report.last = act.name;
      await act(application);
    }
    for (const place of ['par', 'token', 'refresh', 'gateway']) {
      assert.ok(report.nonces.includes(place), `${place} asked for no nonce`);
    }
    report.ok = true;
  } finally {
    callback.close();
    await person.getUp();
  }
}

const report = { client: 'oauth4webapi', ok: false, nonces: [] };
try {
  await run(report);
} catch (error) {
  report.error = `${error.stack}`;
}
console.log(JSON.stringify(report));
process.exit(report.ok ? 0 : 1);
