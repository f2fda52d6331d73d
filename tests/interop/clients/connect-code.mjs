// `attorn connect --person` as the command of an MCP client that knows no OAuth: the official TypeScript SDK.
//   connect-code.mjs SCENE
// SCENE is JSON: {url, attorn, node, person, first, second, hidden}, as for sdk-code.mjs. What `connect` would
// open in a browser is told to this program, where Chromium answers. Prints one JSON line.
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { Person } from './browser.mjs';

const scene = JSON.parse(process.argv[2]);
const TELL = path.join(path.dirname(fileURLToPath(import.meta.url)), 'tell.mjs');

// Where `tell.mjs` brings addresses, each for the person to open.
async function door(open) {
  const server = http.createServer((request, response) => {
    let text = '';
    request.on('data', (piece) => (text += piece));
    request.on('end', () => {
      response.end();
      open(text);
    });
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return server;
}

async function connected(profile, port) {
  const browser = `${scene.node} ${TELL} ${port}`;
  const args = ['--profile', profile, 'connect', scene.url, '--person', '--browser', browser];
  const client = new Client({ name: 'interop', version: '1' }, { versionNegotiation: { mode: 'auto' } });
  await client.connect(new StdioClientTransport({ command: scene.attorn, args, env: process.env }));
  return client;
}

async function called(client, step) {
  const result = await client.callTool({ name: step.tool, arguments: step.arguments });
  const text = result.content?.[0]?.text ?? '';
  if (result.isError || !text.includes(step.answer)) throw new Error(`${step.tool}: ${text}`);
}

async function refused(client, tool) {
  try {
    return Boolean((await client.callTool({ name: tool, arguments: scene.first.arguments })).isError);
  } catch {
    return true;
  }
}

async function run(report, folder) {
  const person = await Person.sitDown(scene.person);
  let rights = [scene.first.right];
  report.seen = [];
  const isBack = (at) => at.pathname === '/callback';
  const server = await door(async (url) => {
    try {
      report.seen.push({ opened: url, ...(await person.answer({ url, callback: isBack, rights })) });
    } catch (error) {
      report.seen.push({ opened: url, error: error.message });
    }
  });
  try {
    const port = server.address().port;
    const client = await connected(folder, port);
    await called(client, scene.first);
    report.tools = (await client.listTools()).tools.map((tool) => tool.name);
    report.hidden_refused = await refused(client, scene.hidden);
    rights = [scene.first.right, scene.second.right];
    await called(client, scene.second);
    await called(client, scene.first);
    await client.close();
    const again = await connected(folder, port);
    await called(again, scene.second);
    await again.close();
    report.ok = true;
  } finally {
    server.close();
    await person.getUp();
  }
}

const report = { ok: false };
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'attorn-connect-'));
try {
  await run(report, folder);
} catch (error) {
  report.error = `${error.name}: ${error.message}`;
  process.exitCode = 1;
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
}
console.log(JSON.stringify(report));
