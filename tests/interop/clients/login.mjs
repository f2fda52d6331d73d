// A person in a browser: an application sends them to Attorn, Attorn to the provider, and back; they
// allow what the application asks for, and it calls a tool.
//   login.mjs ISSUER RESOURCE CLIENT_ID PROVIDER
import http from 'node:http';
import { chromium } from 'playwright-core';
import * as oauth from 'oauth4webapi';

import { CHROMIUM } from './chromium.mjs';

const [issuer, resource, clientId, provider] = process.argv.slice(2);
const INSECURE = { [oauth.allowInsecureRequests]: true };
const TOOL = 'get_invoice';

// Where the application waits for its code.
async function callback() {
  const server = http.createServer((_, reply) => reply.end('done'));
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  return { server, uri: `http://127.0.0.1:${server.address().port}/callback` };
}

async function authorizationServer() {
  const url = new URL(issuer);
  const found = await oauth.discoveryRequest(url, { ...INSECURE, algorithm: 'oauth2' });
  return oauth.processDiscoveryResponse(url, found);
}

// The address at which an application begins, and what it keeps for the end.
async function request(server, redirectUri, more = {}) {
  const verifier = oauth.generateRandomCodeVerifier();
  const state = oauth.generateRandomState();
  const url = new URL(server.authorization_endpoint);
  for (const [name, value] of Object.entries({
    response_type: 'code',
    client_id: clientId,
    redirect_uri: redirectUri,
    state,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    resource,
    scope: `read:${TOOL}`,
    ...more,
  })) url.searchParams.set(name, value);
  return { url: url.href, verifier, state };
}

function expect(holds, what) {
  if (!holds) throw new Error(what);
}

// From the application to the page that follows the log-in at the provider.
async function logIn(page, start, account) {
  await page.goto(start);
  expect(page.url().startsWith(`${issuer}/login`), `no log-in page: ${page.url()}`);
  await page.getByRole('link', { name: 'Sign in with Corp' }).click();
  expect(page.url().startsWith(provider), `not at the provider: ${page.url()}`);
  await page.locator('input[name=login]').fill(account);
  await page.locator('input[name=password]').fill('any');
  const form = page.url();
  await page.locator('button[type=submit]').click();
  await page.waitForURL((url) => url.href !== form);
  // The provider asks once whether it may say who they are.
  await page.locator('button[type=submit]').click();
  await page.waitForURL((url) => !url.href.startsWith(provider));
}

// What a page of Attorn says where something did not go on.
async function problem(page) {
  const shown = page.locator('.problem');
  expect(await shown.count() === 1, `nothing is refused at ${page.url()}: ${await page.content()}`);
  return shown.innerText();
}

// Logs in, allows, redeems the code and calls the tool.
async function everythingRight(browser, server, uri) {
  const page = await (await browser.newContext({ javaScriptEnabled: false })).newPage();
  const asked = await request(server, uri);
  await logIn(page, asked.url, 'ann-at-corp');
  expect(page.url().startsWith(`${issuer}/consent`), `no consent page: ${page.url()} ${await page.content()}`);
  const landed = page.waitForURL(`${uri}?**`);
  await page.getByRole('button', { name: 'Allow' }).click();
  await landed;
  const client = { client_id: clientId };
  const answer = oauth.validateAuthResponse(server, client, new URL(page.url()), asked.state);
  const DPoP = oauth.DPoP(client, await oauth.generateKeyPair('Ed25519'));
  const token = await repeatedOnce(async () => oauth.processAuthorizationCodeResponse(
    server, client, await oauth.authorizationCodeGrantRequest(
      server, client, oauth.None(), answer, uri, asked.verifier, { ...INSECURE, DPoP })));
  return repeatedOnce(() => call(token.access_token, DPoP));
}

async function call(token, DPoP) {
  const headers = new Headers({
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
    'mcp-protocol-version': '2026-07-28',
    'mcp-method': 'tools/call',
    'mcp-name': TOOL,
  });
  const body = JSON.stringify({
    jsonrpc: '2.0',
    id: 1,
    method: 'tools/call',
    params: {
      name: TOOL,
      arguments: { id: 'inv-1001' },
      _meta: {
        'io.modelcontextprotocol/protocolVersion': '2026-07-28',
        'io.modelcontextprotocol/clientCapabilities': {},
      },
    },
  });
  const reply = await oauth.protectedResourceRequest(
    token, 'POST', new URL(resource), headers, body, { ...INSECURE, DPoP });
  const text = await reply.text();
  expect(text.includes('inv-1001'), `the tool was not called: ${reply.status} ${text}`);
}

async function repeatedOnce(ask) {
  try {
    return await ask();
  } catch (error) {
    if (!oauth.isDPoPNonceError(error)) throw error;
    return ask();
  }
}

// Somebody whom nobody linked.
async function stranger(browser, server, uri) {
  const page = await (await browser.newContext()).newPage();
  await logIn(page, (await request(server, uri)).url, 'somebody-else');
  const shown = await problem(page);
  expect(shown === 'You cannot sign in here.', `a stranger is shown: ${shown}`);
}

// The provider is asked for a token for another request than the one that waits.
async function anotherNonce(browser, server, uri) {
  const context = await browser.newContext();
  // Where a redirect leads is not seen here, so the redirect itself is changed.
  await context.route((url) => url.href.startsWith(`${issuer}/login/provider`), async (route) => {
    const sent = await route.fetch({ maxRedirects: 0 });
    const url = new URL(sent.headers().location);
    expect(url.searchParams.has('nonce'), `no nonce: ${url}`);
    url.searchParams.set('nonce', 'of-another-request');
    await route.fulfill({ response: sent, headers: { ...sent.headers(), location: url.href } });
  });
  const page = await context.newPage();
  await logIn(page, (await request(server, uri)).url, 'ann-at-corp');
  const shown = await problem(page);
  expect(shown === 'The answer of your identity provider does not hold.', `with another nonce: ${shown}`);
}

// An answer that was good once.
async function answerTwice(browser, server, uri) {
  const page = await (await browser.newContext()).newPage();
  const answers = [];
  page.on('request', (asked) => {
    if (asked.url().startsWith(`${issuer}/login/callback`)) answers.push(asked.url());
  });
  await logIn(page, (await request(server, uri)).url, 'ann-at-corp');
  expect(answers.length === 1, `${answers.length} answers`);
  await page.goto(answers[0]);
  const shown = await problem(page);
  expect(shown === 'This log-in is not from this browser, or too old.', `the second time: ${shown}`);
}

const server = await authorizationServer();
const waiting = await callback();
const browser = await chromium.launch(CHROMIUM);
try {
  for (const part of [everythingRight, stranger, anotherNonce, answerTwice]) {
    await part(browser, server, waiting.uri).catch((error) => {
      throw new Error(`${part.name}: ${error.message}`);
    });
  }
  console.log(JSON.stringify({ ok: true }));
} catch (error) {
  console.log(JSON.stringify({ ok: false, error: String(error) }));
  process.exitCode = 1;
} finally {
  await browser.close();
  waiting.server.close();
}
