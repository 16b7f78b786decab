// ack.mjs URL TRANSPORT VERSION: an application with CometD's ack and timesync extensions behind a connection that is
// cut again and again, in the middle of whatever it carries. Prints what it heard of the numbers that were published.
import { createServer, connect } from "node:net";
import { Inbox, client, deadline, disconnect, handshake, load, publish, story, subscribe, tell } from "./lib.mjs";

const [url, transport, version] = process.argv.slice(2);
const COUNT = 300, CUTS = 5;

/** A TCP proxy to the gateway whose connections can be cut. */
function proxy(target) {
  const open = new Set();
  const server = createServer((near) => {
    const far = connect(target.port, target.hostname);
    const both = { near, far };
    open.add(both);
    for (const [from, to] of [[near, far], [far, near]]) {
      from.on("error", () => {});
      from.on("close", () => { to.destroy(); open.delete(both); });
      from.pipe(to);
    }
  });
  const cut = () => { for (const { near, far } of open) { near.destroy(); far.destroy(); } };
  const back = async () => { while (open.size === 0) await new Promise((resolve) => setTimeout(resolve, 20)); };
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve({ server, cut, back, port: server.address().port })));
}

await story(async () => {
  const library = await load(version);
  const name = version === "8" ? "cometd-8" : "cometd";
  const { AckExtension } = await import(`${name}/AckExtension.js`);
  const { TimeSyncExtension } = await import(`${name}/TimeSyncExtension.js`);

  const { server, cut, back, port } = await proxy(new URL(url));
  const through = new URL(url);
  through.port = port;
  const listener = client(library, through.href, transport);
  // After a cut a WebSocket would rather be given up for another transport: this application has but one.
  listener.configure({ url: through.href, logLevel: "error", stickyReconnect: true });
  const times = new TimeSyncExtension();
  listener.registerExtension("ack", new AckExtension());
  listener.registerExtension("timesync", times);
  const heard = new Inbox();
  let sessions = 0;
  listener.addListener("/meta/handshake", (reply) => { if (reply.successful) sessions += 1; });
  await handshake(listener);
  await subscribe(listener, "/numbers", (message) => heard.push(message.data));

  const publisher = client(library, url, transport);
  await handshake(publisher);
  let cuts = 0;
  for (let n = 0; n < COUNT; n++) {
    const reply = await publish(publisher, "/numbers", n);
    if (!reply.successful) throw new Error(`publish refused: ${JSON.stringify(reply)}`);
    if (n % Math.floor(COUNT / CUTS) === Math.floor(COUNT / CUTS) - 1) {
      await deadline(30, () => "the client's return", back());
      cut();
      cuts += 1;
    }
  }
  await deadline(60, () => `all numbers, there are ${heard.items.length}`, heard.atLeast(COUNT, "numbers", 60));
  tell({
    version: library.exact, cuts, sessions, heard: heard.items,
    lag: times.getNetworkLag(), offset: times.getTimeOffset(),
  });
  await disconnect(publisher);
  await disconnect(listener);
  cut();
  server.close();
});
