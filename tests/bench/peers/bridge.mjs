// A bridge from an IM server to local programs as a JavaScript user would write it, for comparison with imd: npm's
// `ws` and `@msgpack/msgpack`, and `net`. It speaks imd's dialect as far as tests/bench needs it.
//
//   node bridge.mjs --modules DIR --url URL --socket PATH [--ca FILE]
//
// DIR is where node_modules is. A message becomes one line, which is written to each subscriber.

import crypto from "node:crypto";
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";

const { values: options } = parseArgs({
    options: {
        modules: { type: "string" },
        url: { type: "string" },
        socket: { type: "string" },
        ca: { type: "string" },
    },
});
const require = createRequire(path.join(options.modules, "package.json"));
const { WebSocket } = require("ws");
const { encode, decode } = require("@msgpack/msgpack");

const PING_GAP = 6000;
const pending = new Map(); // messageId -> what to do with the server's answer
const subscribers = new Map(); // socket -> message types that it wants; null: all
let seq = 0;

const ca = options.ca && fs.readFileSync(options.ca);
const upstream = new WebSocket(options.url, { perMessageDeflate: false, ca });

const status = () => ({ state: upstream.readyState === WebSocket.OPEN ? "connected" : "connecting", seq });

function sendMessage(message, answered) {
    const messageId = message.messageId ?? crypto.randomUUID();
    pending.set(messageId, answered);
    upstream.send(
        encode({
            messageType: "TxtMsg",
            messageId,
            conversationType: 0,
            from: "me",
            to: "server",
            sentTime: Date.now(),
            messageDirection: 1,
            ...message,
        }),
    );
}

function publish(envelope) {
    const params = { seq: ++seq, time: Date.now(), ...envelope };
    const line = JSON.stringify({ jsonrpc: "2.0", method: "MESSAGE", params }) + "\n";
    for (const [socket, types] of subscribers)
        if (!types || types.includes(envelope.data?.messageType)) socket.write(line);
}

upstream.on("message", (bytes) => {
    const envelope = decode(bytes);
    const messageId = envelope.data?.messageId;
    const answered = messageId && pending.get(messageId);
    if (answered) {
        pending.delete(messageId);
        answered(envelope);
    } else {
        publish(envelope);
    }
});
upstream.on("error", (error) => {
    console.error(error.message);
    process.exit(1);
});
upstream.on("open", () => {
    setInterval(() => {
        upstream.ping();
        sendMessage({ messageType: "PingMsg" }, () => {});
    }, PING_GAP);
});

const methods = {
    hello: (socket, params, reply) => reply({ daemon: "bridge", protocol: 1 }),
    status: (socket, params, reply) => reply(status()),
    subscribe: (socket, params, reply) => {
        reply({ seq, status: status() });
        subscribers.set(socket, params.filter?.messageType ?? null);
    },
    send: (socket, params, reply) => sendMessage(params.message, reply),
};

function answer(socket, line) {
    const { id, method, params = {} } = JSON.parse(line);
    methods[method](socket, params, (result) => socket.write(JSON.stringify({ jsonrpc: "2.0", id, result }) + "\n"));
}

const server = net.createServer((socket) => {
    let rest = "";
    socket.setEncoding("utf8");
    socket.on("data", (text) => {
        const lines = (rest + text).split("\n");
        rest = lines.pop();
        for (const line of lines) answer(socket, line);
    });
    socket.on("error", () => socket.destroy());
    socket.on("close", () => subscribers.delete(socket));
});
server.listen({ path: options.socket, backlog: 2048 });
