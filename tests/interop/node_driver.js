// Calls what it is told to, with @grpc/grpc-js: one JSON command a line in, one JSON outcome a line out.
'use strict';

const readline = require('readline');
const { definition, explain, grpc, metadata } = require('../../clients/node/fulcrum');
const loader = require('../../clients/node/node_modules/@grpc/proto-loader');

const OPTIONS = { includeDirs: [__dirname], keepCase: true, longs: String, enums: String, oneofs: true };
const files = ['node_health.proto', 'node_reflection.proto'];
const known = { ...definition, ...loader.loadSync(files, OPTIONS) };
const NOTHING = { requestSerialize: () => Buffer.alloc(0), responseDeserialize: () => ({}) };

const clients = new Map();
function clientOf(address) {
  if (!clients.has(address)) clients.set(address, new grpc.Client(address, grpc.credentials.createInsecure()));
  return clients.get(address);
}

function call({ address, method, request, metadata: extra, timeout_s: timeout, cancel_after: cancelAfter }, done) {
  const [service, name] = method.split('/');
  const found = (known[service] && known[service][name]) || NOTHING;
  const carried = metadata();
  for (const [key, value] of Object.entries(extra || {})) carried.set(key, value);
  const options = { deadline: new Date(Date.now() + timeout * 1000) };
  const { requestSerialize: serialize, responseDeserialize: deserialize } = found;
  const client = clientOf(address);
  const at = `/${method}`;
  if (!found.requestStream && !found.responseStream) {
    client.makeUnaryRequest(at, serialize, deserialize, request, carried, options, (error, message) => {
      done(error ? { messages: [], ...explain(error) } : { messages: [message], code: 'OK', message: '', details: {} });
    });
    return;
  }
  const messages = [];
  const stream = found.requestStream
    ? client.makeBidiStreamRequest(at, serialize, deserialize, carried, options)
    : client.makeServerStreamRequest(at, serialize, deserialize, request, carried, options);
  stream.on('data', (message) => {
    messages.push(message);
    if (messages.length === cancelAfter) stream.cancel();
  });
  stream.on('error', (error) => done({ messages, ...explain(error) }));
  stream.on('end', () => done({ messages, code: 'OK', message: '', details: {} }));
  if (found.requestStream) {
    stream.write(request);
    stream.end();
  }
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  let answered = false;
  call(JSON.parse(line), (outcome) => {
    if (!answered) console.log(JSON.stringify(outcome)); // 'end' follows 'error'
    answered = true;
  });
});
