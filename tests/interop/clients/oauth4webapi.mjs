// A strict, independent OAuth library against the authority and the gateway, without any MCP SDK:
// discovery, private_key_jwt, DPoP with nonces at both ends, one tools/call in a session.
//   oauth4webapi.mjs URL CLIENT_ID KEY_FILE TOOL ARGUMENTS HIDDEN ITS_ARGUMENTS
import { createPrivateKey, webcrypto } from 'node:crypto';
import fs from 'node:fs';
import * as oauth from 'oauth4webapi';
import { INSECURE, Session, discover, repeatedOnce } from './strict.mjs';

const [url, clientId, keyFile, tool, given, hidden, hiddenGiven] = process.argv.slice(2);

async function clientKey() {
  const pem = fs.readFileSync(keyFile, 'utf8');
  const kind = createPrivateKey(pem).asymmetricKeyType;
  const algorithm = kind === 'ed25519' ? { name: 'Ed25519' } : { name: 'ECDSA', namedCurve: 'P-256' };
  const der = Buffer.from(pem.replace(/-----[A-Z ]+-----/g, ''), 'base64');
  return webcrypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign']);
}

async function getToken(server, client, DPoP) {
  const authentication = oauth.PrivateKeyJwt(await clientKey());
  const parameters = new URLSearchParams({ resource: url });
  const options = { ...INSECURE, DPoP };
  return repeatedOnce(async () => {
    const reply = await oauth.clientCredentialsGrantRequest(
      server, client, authentication, parameters, options);
    return oauth.processClientCredentialsResponse(server, client, reply);
  });
}

const server = await discover(url);
const client = { client_id: clientId };
const keys = await oauth.generateKeyPair('ES256');
const DPoP = oauth.DPoP(client, keys);
const token = await getToken(server, client, DPoP);
const session = new Session({ url, token: token.access_token, DPoP });
await session.open();
const called = await session.works(tool, JSON.parse(given));
const hidden_called = await session.works(hidden, JSON.parse(hiddenGiven));
const ok = called && !hidden_called;
const report = { client: 'oauth4webapi', token_type: token.token_type, ok, called, hidden_called };
console.log(JSON.stringify(report));
process.exit(ok ? 0 : 1);
