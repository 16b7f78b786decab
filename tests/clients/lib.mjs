// What the client scripts share: an unchanged npm `cometd` in Node, restricted to one transport, as promises.
import { createRequire } from "node:module";

/** Loads `cometd` 7, 8 or 9 and the Node adapter. The adapter sets globals, and holds one cookie jar per call. */
export async function load(version) {
  const { adapt } = await import("cometd-nodejs-client");
  adapt();
  const name = version === "9" ? "cometd" : `cometd-${version}`;
  const require = createRequire(import.meta.url);
  const { version: exact } = require(`${name}/package.json`);
  if (!exact.startsWith(`${version}.`)) throw new Error(`cometd ${exact} is installed, not ${version}`);
  // Version 7 is no ECMAScript module.
  const library = version === "7" ? require(name) : await import(name);
  return { ...library, name, exact };
}

/** A client that can use one transport only. */
export function client(library, url, transport) {
  const cometd = new library.CometD();
  cometd.configure({ url, logLevel: "warn" });
  for (const type of cometd.getTransportTypes()) {
    if (type !== transport) cometd.unregisterTransport(type);
  }
  return cometd;
}

/** Turns a call that takes a callback last into a promise of its message. */
export const ask = (call) => new Promise((resolve) => call(resolve));

export const handshake = async (cometd) => must(await ask((done) => cometd.handshake(done)));
export const publish = (cometd, channel, data) => ask((done) => cometd.publish(channel, data, done));
export const disconnect = (cometd) => ask((done) => cometd.disconnect(done));
export const unsubscribe = (cometd, handle) => ask((done) => cometd.unsubscribe(handle, done));
export const call = (cometd, target, data, timeout = 5000) => ask((done) => cometd.remoteCall(target, data, timeout, done));

/** Subscribes, and answers with the handle after the server's reply. */
export async function subscribe(cometd, channel, listener) {
  let handle;
  must(await ask((done) => { handle = cometd.subscribe(channel, listener, done); }));
  return handle;
}

/** Fails on a reply that says so. */
export function must(reply) {
  if (!reply.successful) throw new Error(`refused: ${JSON.stringify(reply)}`);
  return reply;
}

/** A list that can be waited on. */
export class Inbox {
  items = [];
  #waiting = [];

  push = (item) => {
    this.items.push(item);
    this.#waiting = this.#waiting.filter(({ count, resolve }) => this.items.length < count || resolve(this.items));
  };

  /** The items once there are `count` of them. */
  atLeast(count, what, seconds = 20) {
    return deadline(
      seconds,
      () => `${count} ${what}, there are ${JSON.stringify(this.items)}`,
      new Promise((resolve) => {
        if (this.items.length >= count) resolve(this.items);
        else this.#waiting.push({ count, resolve: (items) => { resolve(items); return false; } });
      }),
    );
  }
}

/** Fails when `promise` takes longer. */
export function deadline(seconds, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${seconds} s for ${what()}`)), seconds * 1000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Prints one JSON line: to the test that runs the script. */
export const tell = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

/** Runs the story and ends the process with its outcome, whatever timers the client still holds. */
export async function story(run) {
  try {
    await run();
    process.exitCode = 0;
  } catch (error) {
    process.stderr.write(`${error.stack ?? error}\n`);
    process.exitCode = 1;
  }
  process.exit();
}
