// An IM server made of npm's `ws` and `@msgpack/msgpack`, as awesome-im's demo is: it decodes what comes,
// adds `time`, sends it to everybody, and tells the others when somebody leaves.
//
//   node server.mjs --modules DIR --control PATH [--port N]
//
// DIR is where node_modules is. One line {"port":N} on stdout means ready. On the Unix socket PATH each line
// is a command {"cmd":NAME,…} of the table `commands`, answered by {"ok":true,…} or {"ok":false,"error":…}.
// Decoded values are told as [type, …] with the type that JavaScript gives them, see describe().

import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import readline from "node:readline";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";

const { values: options } = parseArgs({
    options: {
        modules: { type: "string" },
        control: { type: "string" },
        port: { type: "string", default: "0" },
    },
});
const require = createRequire(path.join(options.modules, "package.json"));
const { WebSocketServer, WebSocket } = require("ws");
const { encode, decode, ExtData } = require("@msgpack/msgpack");

// What tests may change: `codec` goes to encode() and decode(); `reject` {code, errMsg}, if any, is what the
// sender gets in the place of the broadcast.
const mode = { codec: {}, reject: false };
const counters = { accepted: 0, frames: 0, pings: 0, wsPings: 0, badFrames: 0 };
const links = []; // of each client that ever came: what it offered, what was agreed on, how it was closed
let received = [];

const everybody = () => [...server.clients].filter((client) => client.readyState === WebSocket.OPEN);
const hex = (bytes) => Buffer.from(bytes).toString("hex");

function describe(value) {
    if (value === null) return ["null"];
    if (Array.isArray(value)) return ["Array", value.map(describe)];
    if (value instanceof Date) return ["Date", value.getTime()];
    if (value instanceof Uint8Array) return ["Uint8Array", hex(value)];
    if (value instanceof ExtData) return ["ExtData", value.type, hex(value.data)];
    if (typeof value === "object")
        return ["object", Object.entries(value).map(([key, member]) => [key, describe(member)])];
    if (typeof value === "number") return ["number", Object.is(value, -0) ? "-0" : String(value)];
    return [typeof value, typeof value === "bigint" ? String(value) : value];
}

function broadcast(message) {
    for (const client of everybody())
        client.send(encode({ code: 0, data: { ...message, time: new Date().getTime() } }, mode.codec));
}

function take(socket, bytes, isBinary) {
    counters.frames++;
    let message;
    try {
        if (!isBinary) throw new Error("a text frame");
        message = decode(bytes, mode.codec);
    } catch (error) {
        counters.badFrames++;
        console.error(`bad frame ${hex(bytes.subarray(0, 200))}: ${error.message}`);
        return;
    }
    if (message.messageType === "PingMsg") counters.pings++;
    else received.push(describe(message));
    if (mode.reject && message.messageType !== "PingMsg")
        socket.send(encode({ ...mode.reject, data: message }, mode.codec));
    else broadcast(message);
}

const port = Number(options.port);
const server = new WebSocketServer({ host: "127.0.0.1", port, perMessageDeflate: true });

server.on("connection", (socket, request) => {
    const offered = request.headers["sec-websocket-extensions"] ?? "";
    const link = { offered, agreed: socket.extensions, code: null };
    links.push(link);
    counters.accepted++;
    socket.on("ping", () => counters.wsPings++);
    socket.on("message", (bytes, isBinary) => take(socket, bytes, isBinary));
    socket.on("error", (error) => console.error(`link: ${error.message}`));
    socket.on("close", (code) => {
        link.code = code;
        for (const client of everybody()) client.send(encode({ errMsg: "close", code: 4 }));
    });
});

// One message as so many frames; a ping follows each but the last, and the next one waits for its pong.
async function sendFragments(client, bytes, count) {
    const size = Math.ceil(bytes.length / count);
    for (let i = 0; i < count; i++) {
        const last = i === count - 1;
        client.send(bytes.subarray(i * size, (i + 1) * size), { binary: true, fin: last });
        if (last) return;
        const pong = new Promise((resolve) => client.once("pong", (data) => resolve(String(data))));
        client.ping(`${i}`);
        if ((await pong) !== `${i}`) throw new Error("a pong does not bear its ping's data");
    }
}

const commands = {
    stats: () => ({ connections: server.clients.size, ...counters, links }),
    mode: ({ codec, reject }) => {
        if (codec !== undefined) mode.codec = codec;
        if (reject !== undefined) mode.reject = reject;
    },
    received: ({ clear }) => {
        const messages = received;
        if (clear) received = [];
        return { messages };
    },
    // `js`: an expression in this language, so that a test can name any value that it has
    push: async ({ js, fragments = 1 }) => {
        const value = new Function("ExtData", `return (${js});`)(ExtData);
        const bytes = encode(value, mode.codec);
        for (const client of everybody()) await sendFragments(client, bytes, fragments);
        return { size: bytes.length, hex: hex(bytes.subarray(0, 4096)) };
    },
    close: ({ code }) => everybody().forEach((client) => client.close(code)),
    drop: () => everybody().forEach((client) => client.terminate()),
};

async function answer(line) {
    try {
        const { cmd, ...rest } = JSON.parse(line);
        return { ok: true, ...(await commands[cmd](rest)) };
    } catch (error) {
        return { ok: false, error: error.message };
    }
}

const control = net.createServer((socket) => {
    socket.on("error", () => socket.destroy());
    readline
        .createInterface({ input: socket })
        .on("line", async (line) => socket.write(JSON.stringify(await answer(line)) + "\n"));
});

process.on("SIGTERM", () => {
    for (const client of server.clients) client.terminate();
    fs.rmSync(options.control, { force: true });
    process.exit(0);
});

fs.rmSync(options.control, { force: true });
control.listen(options.control, () => {
    const ready = () => console.log(JSON.stringify({ port: server.address().port }));
    if (server.address()) ready();
    else server.on("listening", ready);
});
