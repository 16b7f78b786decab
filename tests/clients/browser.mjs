// browser.mjs URL TRANSPORT [ack | replay]: as actor.mjs, with npm `cometd` 9 in a page in headless Chromium. The page comes from
// the gateway's own origin (its files are put in on their way), so that its cookies are the page's.
//
// More commands: "leave" has the reload extension keep the session and leaves the page; "return" opens it again; "reload"
// loads it again as a visitor does.
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { launch } from "./chromium.mjs";
import { story, tell } from "./lib.mjs";

const [url, transport, wish] = process.argv.slice(2);
const app = new URL("/app/", url).href;

const script = `
  import { CometD } from "./cometd/cometd.js";
  import { AckExtension } from "./cometd/AckExtension.js";
  import { ReloadExtension } from "./cometd/ReloadExtension.js";
  import { TimeSyncExtension } from "./cometd/TimeSyncExtension.js";
  import { CometdActor } from "./cometd-actor.js";
  // What a page tells just before it is left may be lost on its way: the next one tells it again.
  const told = JSON.parse(sessionStorage.told ?? "[]");
  for (const [n, value] of told) window.tell(n, value);
  const tell = (value) => {
    const n = (told.at(-1)?.[0] ?? 0) + 1;
    told.push([n, value]);
    told.splice(0, told.length - 100);
    sessionStorage.told = JSON.stringify(told);
    window.tell(n, value);
  };
  const extensions = { timesync: new TimeSyncExtension(), reload: new ReloadExtension() };
  if (${wish === "ack"}) extensions.ack = new AckExtension();
  const Replay = ${wish === "replay"} && (await import(${JSON.stringify(`${url}/replay.js`)})).Replay;
  window.actor = new CometdActor({
    library: { CometD }, url: ${JSON.stringify(url)}, transport: ${JSON.stringify(transport)}, extensions, Replay, tell,
  });`;

/** The files of the page. */
async function serve(route) {
  const path = new URL(route.request().url()).pathname.slice("/app/".length);
  if (path === "") {
    await route.fulfill({ contentType: "text/html", body: `<!doctype html><meta charset="utf-8"><script type="module">${script}</script>` });
  } else {
    const file = path.startsWith("cometd/") ? `node_modules/${path}` : path;
    await route.fulfill({ contentType: "text/javascript", body: await readFile(new URL(file, import.meta.url)) });
  }
}

await story(async () => {
  // A page whose files are put in on their way is taken for one from the Internet.
  const browser = await launch(["--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets"]);
  try {
    const page = await browser.newPage();
    page.on("pageerror", (error) => process.stderr.write(`${error}\n`));
    await page.route(`${app}**`, serve);
    let last = 0;
    await page.exposeFunction("tell", (n, value) => {
      if (n > last) {
        last = n;
        tell(value);
      }
    });
    const open = async () => {
      await page.goto(app);
      await page.waitForFunction(() => window.actor);
    };
    const own = {
      leave: async () => {
        await page.evaluate(() => window.actor.cometd.reload());
        await page.goto("about:blank");
      },
      return: open,
      reload: open,
    };
    await open();

    const lines = createInterface({ input: process.stdin });
    lines.on("line", (line) => {
      const { id, do: command, ...rest } = JSON.parse(line);
      const done = own[command]?.() ?? page.evaluate(([command, rest]) => window.actor[command](rest), [command, rest]);
      done.then(
        (ok) => tell({ id, ok: ok ?? null }),
        (error) => tell({ id, error: error.message ?? String(error) }),
      );
    });
    await new Promise((resolve) => lines.on("close", resolve));
  } finally {
    await browser.close();
  }
});
