// The host of an application that is known by a document about itself (a client ID metadata document).
//   document.mjs PORT CERTIFICATE KEY    serves https://localhost:PORT/app.json until it is ended
import fs from 'node:fs';
import https from 'node:https';

const [port, certificate, key] = process.argv.slice(2);
const url = `https://localhost:${port}/app.json`;
const document = JSON.stringify({
  client_id: url,
  client_name: 'Desk by document',
  // Its port is known when it runs, and free by RFC 8252 section 7.3.
  redirect_uris: ['http://127.0.0.1/callback'],
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  token_endpoint_auth_method: 'none',
});

const files = { cert: fs.readFileSync(certificate), key: fs.readFileSync(key) };
const server = https.createServer(files, (request, response) => {
  const found = request.url === '/app.json';
  response.writeHead(found ? 200 : 404, { 'content-type': 'application/json' });
  response.end(found ? document : '{}');
});
server.listen(Number(port), '127.0.0.1');
