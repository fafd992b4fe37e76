// Streams an answer and prints its receipt: node example.js "What is the capital of Norway?" [host:port]
// FULCRUM_API_KEY is sent where it is set; FULCRUM_CA names a PEM file and turns TLS on.
'use strict';

const fs = require('fs');
const { EdgeService, explain, grpc, metadata, retryAfter } = require('./fulcrum');

const prompt = process.argv[2] || 'What is the capital of Norway?';
const address = process.argv[3] || '127.0.0.1:50551';
const ca = process.env.FULCRUM_CA;
const credentials = ca ? grpc.credentials.createSsl(fs.readFileSync(ca)) : grpc.credentials.createInsecure();
const edge = new EdgeService(address, credentials);

const request = { messages: [{ role: 'ROLE_USER', content: prompt }], objective: { max_quality_loss: 0.02 } };
const deadline = new Date(Date.now() + 60_000);
const call = edge.Complete(request, metadata({ apiKey: process.env.FULCRUM_API_KEY }), { deadline });

call.on('data', ({ event, text_delta: delta, receipt }) => {
  if (event === 'text_delta') process.stdout.write(delta.text);
  if (event === 'receipt') {
    const { baseline_nano_usd: baseline, actual_nano_usd: actual, levers } = receipt.cost;
    console.log(`\n\n${receipt.model || 'no model'}, ${receipt.cache.result}, request ${receipt.request_id}`);
    console.log(`${actual} of ${baseline} billionths of a dollar`);
    for (const { lever, saved_nano_usd: saved } of levers) console.log(`  ${lever} saved ${saved}`);
  }
});
call.on('error', (error) => {
  const explained = explain(error);
  const { reason, metadata: about = {} } = explained.details.ErrorInfo || {};
  console.error(`${explained.code} ${reason || ''}: ${explained.message}`);
  if (about.field) console.error(`  ${about.field}: got ${about.value}, expected ${about.expected}`);
  if (retryAfter(explained) !== null) console.error(`  come back in ${retryAfter(explained)} s`);
  process.exitCode = 1;
});
call.on('end', () => edge.close());
