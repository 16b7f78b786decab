// Headless Chromium for the scripts that need a page.
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { chromium } from "playwright-core";

/** Debian's Chromium, or whichever stands in PATH. */
function browserPath() {
  const folders = ["/usr/bin", ...(process.env.PATH ?? "").split(delimiter)];
  const names = ["chromium", "chromium-browser", "google-chrome"];
  const found = folders.flatMap((folder) => names.map((name) => join(folder, name))).find(existsSync);
  if (!found) throw new Error("no Chromium: apt-get install chromium");
  return found;
}

/** Chromium without a sandbox (tests may run as root) and without talking to anybody but the gateway. */
const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];

export const launch = (more = []) => chromium.launch({ executablePath: browserPath(), args: [...args, ...more] });
