// The address on loopback at which a native application waits for the browser: RFC 8252 section 7.3.
import http from 'node:http';
import { once } from 'node:events';

export class Callback {
  static async listen() {
    const callback = new Callback();
    callback.server.listen(0, '127.0.0.1');
    await once(callback.server, 'listening');
    callback.url = `http://127.0.0.1:${callback.server.address().port}/callback`;
    return callback;
  }

  constructor() {
    this.last = null;
    this.server = http.createServer((request, response) => {
      const { pathname, searchParams } = new URL(request.url, 'http://127.0.0.1');
      if (pathname === '/callback') this.last = searchParams;
      response.writeHead(200, { 'content-type': 'text/plain' });
      response.end('You can close this page.');
    });
  }

  // What the browser brought since this was asked last.
  take() {
    const { last } = this;
    if (!last) throw new Error('the browser brought nothing');
    this.last = null;
    return last;
  }

  close() {
    this.server.closeAllConnections();
    this.server.close();
  }
}
