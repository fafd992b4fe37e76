// Fulcrum's contracts as @grpc/grpc-js takes them, straight from protos/: services, and errors with their details.
'use strict';

const path = require('path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const PROTOS = path.join(__dirname, '..', '..', 'protos');

const definition = loader.loadSync(
  [
    'fulcrum/edge/v1/edge_service.proto',
    'google/rpc/error_details.proto',
    'google/rpc/status.proto',
  ],
  { includeDirs: [PROTOS], keepCase: true, longs: String, enums: String, oneofs: true, defaults: true },
);
const { EdgeService } = grpc.loadPackageDefinition(definition).fulcrum.edge.v1;

// What every call carries: who asks, and an id that finds the call in the server's log.
function metadata({ apiKey, requestId } = {}) {
  const carried = new grpc.Metadata();
  if (apiKey) carried.set('authorization', `Bearer ${apiKey}`);
  if (requestId) carried.set('x-request-id', requestId);
  return carried;
}

// A failed call as plain data: its code's name, its message, and the details that it carries, by their short name.
function explain(error) {
  const found = { code: grpc.status[error.code], message: error.details, details: {} };
  const [packed] = (error.metadata && error.metadata.get('grpc-status-details-bin')) || [];
  if (!packed) return found;
  for (const { type_url: url, value } of definition['google.rpc.Status'].deserialize(packed).details) {
    const name = url.split('/').pop();
    if (definition[name]) found.details[name.split('.').pop()] = definition[name].deserialize(value);
  }
  return found;
}

// Seconds after which a retry may help, null where none is known to.
function retryAfter(explained) {
  const info = explained.details.RetryInfo;
  return info ? Number(info.retry_delay.seconds) + info.retry_delay.nanos / 1e9 : null;
}

module.exports = { EdgeService, definition, explain, grpc, metadata, retryAfter };
