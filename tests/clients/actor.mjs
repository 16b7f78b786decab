// actor.mjs LIBRARY URL TRANSPORT [ack | replay]: a client that does what it is told and says what it sees, with npm `cometd` 7, 8
// or 9 or with `faye` in Node. The stories are in tests/tests/e2e_clients_stories.
//
// A command is a line of JSON on standard input, {"id", "do", …}; its outcome a line on standard output, {"id", "ok"} or
// {"id", "error"}. What happens by itself is told as it happens: {"event": "session" | "connect" | "subscribed" |
// "heard" | "gone", …}. The actors in Python and Java speak the same.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { CometdActor } from "./cometd-actor.js";
import { FayeActor } from "./faye-actor.mjs";
import { load, story, tell } from "./lib.mjs";

const [name, url, transport, wish] = process.argv.slice(2);

/** The gateway's extension. Node imports nothing by HTTP: an application has it as a file. */
async function replay() {
  const text = await (await fetch(`${url}/replay.js`)).text();
  return (await import(`data:text/javascript,${encodeURIComponent(text)}`)).Replay;
}

/** npm `cometd` of that version and its extensions. */
async function cometd(version) {
  const library = await load(version);
  const extension = async (extension) => {
    if (version !== "7") return (await import(`${library.name}/${extension}.js`))[extension];
    return createRequire(import.meta.url)(`${library.name}/${extension}`);
  };
  return new CometdActor({
    library, url, transport, tell,
    Replay: wish === "replay" && (await replay()),
    extensions: {
      ...(wish === "ack" && { ack: new (await extension("AckExtension"))() }),
      timesync: new (await extension("TimeSyncExtension"))(),
    },
  });
}

await story(async () => {
  const actor = name === "faye" ? new FayeActor({ url, transport, tell }) : await cometd(name.split("-")[1]);
  const lines = createInterface({ input: process.stdin });
  lines.on("line", (line) => {
    const { id, do: command, ...rest } = JSON.parse(line);
    Promise.resolve(actor[command](rest)).then(
      (ok) => tell({ id, ok: ok ?? null }),
      (error) => tell({ id, error: error.message ?? String(error) }),
    );
  });
  await new Promise((resolve) => lines.on("close", resolve));
});
