// The browser of a test: brings the address to the program that listens at PORT of 127.0.0.1.
//   tell.mjs PORT URL
const [port, url] = process.argv.slice(2);
await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body: url });
