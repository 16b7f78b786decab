// page.mjs BASE-URL FOLDER: visits the demo page in headless Chromium, over WebSocket and then over long-polling, does
// what a visitor would do, and leaves a screenshot of each visit in FOLDER. Prints one JSON object with what it saw.
import { join } from "node:path";
import { launch } from "./chromium.mjs";
import { story, tell } from "./lib.mjs";

const [base, folder] = process.argv.slice(2);

/** Waits until an element of that id shows another text than "–" or what is given. */
const changed = (page, id, from) =>
  page.waitForFunction(([id, from]) => ![from, "–", ""].includes(document.getElementById(id).textContent), [id, from]);

/** What one visitor sees and does. */
async function visit(page, transport, screenshot) {
  await page.waitForFunction((transport) =>
    document.getElementById("state").dataset.state === "connected" &&
    document.getElementById("state-text").textContent.includes(transport), transport);
  const seen = { transport, state: await page.getAttribute("#state", "data-state") };
  seen.stateText = await page.textContent("#state-text");

  // The feed: the prices change under the visitor's eyes.
  await page.waitForSelector("#ticks tr:not(.empty)");
  seen.ticks = await page.evaluate(() => new Promise((resolve) => {
    let ticks = 0;
    const observer = new MutationObserver(() => {
      if (++ticks < 3) return;
      observer.disconnect();
      resolve(ticks);
    });
    observer.observe(document.getElementById("ticks"), { childList: true, subtree: true, characterData: true });
  }));

  const text = `hello by ${transport} ☃`;
  await page.fill("#chat-text", text);
  await page.click("#chat-form button");
  await page.waitForSelector(`#chat .bubble.own:has-text("${text}")`);
  seen.published = true;
  seen.problem = await page.textContent("#chat-problem");

  const before = await page.textContent("#calls");
  await page.click("#call-form button:not(.second)");
  await changed(page, "calls", before);
  seen.latency = Number(await page.textContent("#latency"));
  seen.answer = await page.textContent("#answer");

  await page.screenshot({ path: screenshot, fullPage: true });
  return seen;
}

await story(async () => {
  const browser = await launch();
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    page.setDefaultTimeout(20_000);
    const errors = [], sockets = [], posts = [];
    page.on("pageerror", (error) => errors.push(String(error)));
    page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
    page.on("websocket", (socket) => sockets.push(socket.url()));
    page.on("request", (request) => request.method() === "POST" && posts.push(request.url()));
    const screenshots = ["page-websocket.png", "page-long-polling.png", "page-phone.png"].map((name) => join(folder, name));

    await page.goto(base);
    const first = await visit(page, "websocket", screenshots[0]);
    first.sockets = sockets.length;
    first.posts = posts.length;

    await page.check('input[name="transport"][value="long-polling"]', { force: true });
    const second = await visit(page, "long-polling", screenshots[1]);
    second.posts = posts.length;

    await page.setViewportSize({ width: 390, height: 844 });
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    await page.screenshot({ path: screenshots[2], fullPage: true });
    tell({ first, second, overflow, errors, screenshots });
  } finally {
    await browser.close();
  }
});
