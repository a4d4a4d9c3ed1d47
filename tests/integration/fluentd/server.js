// An independent server of the forward protocol: FluentServer of npm's @fluent-org/logger. Prints its port, then each event it was
// sent, as JSON lines. The only argument is a JSON object: port or path; tls (files cert, key, and ca to want client
// certificates); sharedKey, serverHostname, users (names and passwords). It acknowledges whatever wants it.
"use strict";
const fs = require("fs");
const { FluentServer } = require("@fluent-org/logger");

const options = JSON.parse(process.argv[2]);
const read = (file) => fs.readFileSync(file);
const server = new FluentServer({
  listenOptions: options.path ? { path: options.path } : { host: "127.0.0.1", port: options.port || 0 },
  tlsOptions: options.tls && {
    cert: read(options.tls.cert),
    key: read(options.tls.key),
    ca: options.tls.ca && read(options.tls.ca),
    requestCert: Boolean(options.tls.ca),
    rejectUnauthorized: Boolean(options.tls.ca),
  },
  security: options.sharedKey && {
    serverHostname: options.serverHostname || "node-server",
    sharedKey: options.sharedKey,
    authorize: Boolean(options.users),
    userDict: options.users || {},
  },
});

function print(value) {
  process.stdout.write(JSON.stringify(value) + "\n");
}

// Whole seconds are a number, an EventTime is an object that prints as milliseconds; both parts are wanted.
function timeOf(time) {
  return typeof time === "object" ? { seconds: time.epoch, nanoseconds: time.nano } : time;
}

// The library makes an empty buffer of an empty text that is not in the first message of a connection.
function textsOf(record) {
  return Object.fromEntries(
    Object.entries(record).map(([name, value]) => [name, value instanceof Uint8Array && !value.length ? "" : value]));
}

server.on("entry", (tag, time, record) => print({ tag, time: timeOf(time), record: textsOf(record) }));
server.listen().then(() => print({ port: server.port }));
