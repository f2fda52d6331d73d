// The official suite against an authorization server, with a person at a real browser.
//   authority.mjs SCENE    SCENE is JSON: {issuer, client_id, resource, port, person, rights}
// The suite prints the address that the person has to open, and waits. Prints what the suite printed, and
// ends as it ends.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Person } from './browser.mjs';

const SUITE = '../node_modules/@modelcontextprotocol/conformance/dist/index.js';
const ADDRESS = /^https?:\/\/\S*[?&]response_type=code\S*$/m;

const scene = JSON.parse(process.argv[2]);

function start() {
  const program = fileURLToPath(new URL(SUITE, import.meta.url));
  const options = ['--url', scene.issuer, '--client-id', scene.client_id];
  options.push('--resource', scene.resource, '--port', `${scene.port}`);
  const stdio = ['ignore', 'pipe', 'inherit'];
  return spawn(process.execPath, [program, 'authorization', ...options], { stdio });
}

async function answer(url) {
  const person = await Person.sitDown(scene.person);
  const callback = `http://127.0.0.1:${scene.port}/callback`;
  try {
    await person.answer({ url, callback, rights: scene.rights });
  } finally {
    await person.getUp();
  }
}

const suite = start();
const ended = once(suite, 'exit');
let text = '';
let answered;
suite.stdout.on('data', (piece) => {
  process.stdout.write(piece);
  text += piece;
  // Once the line is whole.
  const found = ADDRESS.exec(text.slice(0, text.lastIndexOf('\n') + 1));
  if (!found || answered) return;
  answered = answer(found[0]).catch((error) => {
    console.error(`${error.name}: ${error.message}`);
    suite.kill();
  });
});
const [code] = await ended;
await answered;
process.exit(code ?? 1);
