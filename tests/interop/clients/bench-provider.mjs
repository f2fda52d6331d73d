// What the bench compares the authority with: oidc-provider on loopback, as near to Attorn as its own options
// bring it. Tokens are signed with ES256 for one resource, bound by DPoP with a nonce of the server, and a
// code brings a refresh token. Everything it knows is in memory, in the store that comes with it.
//   bench-provider.mjs PORT CALLBACK JWK
// The clients: `worker` has the key JWK and acts for itself; `desk` runs on a person's machine, who is asked
// each time; `site` runs elsewhere, and what a person gave it once holds.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import Provider from 'oidc-provider';

const [port, callback, jwk] = process.argv.slice(2);
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const signing = { ...privateKey.export({ format: 'jwk' }), kid: 'bench-1', use: 'sig', alg: 'ES256' };
const person = {
  redirect_uris: [callback],
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  token_endpoint_auth_method: 'none',
  id_token_signed_response_alg: 'ES256',
  dpop_bound_access_tokens: true,
};

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: 'worker',
      redirect_uris: [],
      response_types: [],
      grant_types: ['client_credentials'],
      token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'ES256',
      id_token_signed_response_alg: 'ES256',
      dpop_bound_access_tokens: true,
      jwks: { keys: [JSON.parse(jwk)] },
    },
    { ...person, client_id: 'desk', application_type: 'native' },
    { ...person, client_id: 'site', application_type: 'web' },
  ],
  jwks: { keys: [signing] },
  cookies: { keys: ['a fixture and not a secret'] },
  pkce: { required: () => true },
  scopes: ['read:echo'],
  features: {
    clientCredentials: { enabled: true },
    dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_, resource) => ({
        audience: resource,
        scope: 'read:echo',
        accessTokenTTL: 300,
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
  // As Attorn does, which gives one with each code.
  issueRefreshToken: () => true,
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
});
provider.listen(Number(port), '127.0.0.1');
