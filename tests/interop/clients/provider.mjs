// A provider as companies run one: oidc-provider on loopback, with one client that authenticates with
// private_key_jwt, and the log-in form that comes with it. Whoever types a name is that account; there
// are no passwords.
//   provider.mjs PORT CLIENT_ID REDIRECT_URI JWK
import { generateKeyPairSync } from 'node:crypto';
import Provider from 'oidc-provider';

const [port, clientId, redirectUri, jwk] = process.argv.slice(2);
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
// What Ann is in at her company; everybody else is in nothing.
const GROUPS = { 'ann-at-corp': ['corp-it', 'everybody'] };

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{
    client_id: clientId,
    redirect_uris: [redirectUri],
    token_endpoint_auth_method: 'private_key_jwt',
    token_endpoint_auth_signing_alg: JSON.parse(jwk).alg,
    jwks: { keys: [JSON.parse(jwk)] },
  }],
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: 'corp-1', use: 'sig', alg: 'RS256' }] },
  cookies: { keys: ['a fixture and not a secret'] },
  claims: { openid: ['sub'], profile: ['name', 'preferred_username'], groups: ['groups'] },
  scopes: ['openid', 'profile', 'groups'],
  // Claims of scopes in the ID token, as providers of companies have them.
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, name: `The ${id}`, preferred_username: id, groups: GROUPS[id] ?? [] }),
  }),
});
provider.listen(Number(port), '127.0.0.1');
