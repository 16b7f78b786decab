// restart.mjs URL TRANSPORT VERSION: an application that stays open while the server restarts. Driven by lines on
// standard input; answers each with a JSON line.
//
//   publish N      publishes {n: N} on /survivor and answers with the reply and what the listener has seen so far
//   handshakes N   answers once the client has made N handshakes, with the client ids it was given
//   end            disconnects
import { createInterface } from "node:readline";
import { Inbox, client, deadline, disconnect, load, publish, story, subscribe, tell } from "./lib.mjs";

const [url, transport, version] = process.argv.slice(2);

await story(async () => {
  const library = await load(version);
  const cometd = client(library, url, transport);
  const handshakes = new Inbox(), heard = new Inbox();

  // What CometD's manual tells applications to do: subscribe in the handshake listener, so that it happens again
  // after each re-handshake.
  cometd.addListener("/meta/handshake", (reply) => {
    if (!reply.successful) return;
    subscribe(cometd, "/survivor", (message) => heard.push(message.data.n)).then(
      () => handshakes.push(reply.clientId),
      (error) => process.stderr.write(`${error}\n`),
    );
  });
  cometd.handshake();
  await handshakes.atLeast(1, "handshakes");
  tell({ ready: true });

  for await (const line of createInterface({ input: process.stdin })) {
    const [command, argument] = line.split(" ");
    if (command === "publish") {
      const n = Number(argument);
      const before = heard.items.length;
      const reply = await deadline(20, () => "a publish reply", publish(cometd, "/survivor", { n }));
      if (reply.successful) await heard.atLeast(before + 1, "messages");
      tell({ reply, heard: heard.items });
    } else if (command === "handshakes") {
      tell({ clientIds: await handshakes.atLeast(Number(argument), "handshakes", 60) });
    } else if (command === "end") {
      tell({ ended: (await disconnect(cometd)).successful });
      return;
    }
  }
});
