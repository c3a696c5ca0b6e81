#!/usr/bin/env node
// Sends a text through imd, waits for the server's ack, and prints the messages of others as they come.
//
//     send_and_listen.mjs TEXT [COUNT]        COUNT: how many to print before it ends; without: all
//
// Needs nothing but Node. The protocol is explained in imd-protocol(7).
import { existsSync } from 'node:fs';
import net from 'node:net';

class Refused extends Error {
  constructor(error) {
    super(error.message);
    // Errors of imd have the exit status of imctl as their code, negated; those of JSON-RPC itself are far below.
    this.exitStatus = error.code > -256 ? -error.code : 65;
  }
}

// One connection: requests and their answers, and the events that come between them.
class Imd {
  #socket;
  #rest = ''; // of a line that is not whole yet
  #waiting = new Map();
  #lastId = 0;
  onEvent = () => {};
  onEnd = () => {};

  constructor(path) {
    this.#socket = net.connect(path).setEncoding('utf8');
    this.#socket.on('error', (error) => this.#end(error));
    this.#socket.on('close', () => this.#end(new Error('imd has ended the connection')));
    this.#socket.on('data', (text) => this.#split(text)); // not readline, which ends lines at U+2028 too
  }

  call(method, params) {
    const id = ++this.#lastId;
    this.#socket.write(JSON.stringify({ jsonrpc: '2.0', id, method, params }) + '\n');
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  close() {
    this.#socket.destroy();
  }

  #split(text) {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop();
    for (const line of lines) this.#take(JSON.parse(line));
  }

  #take(got) {
    if (got.method) return this.onEvent(got.method, got.params);
    const { resolve, reject } = this.#waiting.get(got.id);
    this.#waiting.delete(got.id);
    return got.error ? reject(new Refused(got.error)) : resolve(got.result);
  }

  #end(error) {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
    this.onEnd(error);
  }
}

function socketPath() {
  const own = `${process.env.XDG_RUNTIME_DIR ?? ''}/imd/default.sock`;
  return process.env.IMCTL_SOCKET || (existsSync(own) ? own : '/run/imd/default.sock');
}

function fail(error) {
  console.error(`send_and_listen.mjs: ${error.message}`);
  process.exit(error.exitStatus ?? 69);
}

const [text, count = Infinity] = process.argv.slice(2);
if (text === undefined) {
  console.error('usage: send_and_listen.mjs TEXT [COUNT]');
  process.exit(64);
}

const imd = new Imd(socketPath());
const early = []; // messages that come before the ack
let left = Number(count);

function show({ data = {} }) {
  if (left-- <= 0) return;
  console.log(`${data.from ?? 'server'}: ${data.content?.message ?? ''}`);
  if (left === 0) finish();
}

function finish() {
  imd.onEnd = () => {};
  imd.close();
}

imd.onEvent = (method, params) => early.push(params);
imd.onEnd = fail;
try {
  await imd.call('subscribe', { events: ['MESSAGE'] }); // first: so nothing is missed that comes before the ack
  const envelope = await imd.call('send', { message: { content: { message: text } } });
  console.log(`sent as ${envelope.data.messageId}`);
} catch (error) {
  fail(error);
}
imd.onEvent = (method, params) => method === 'MESSAGE' && show(params);
early.forEach(show);
if (left <= 0) finish();
