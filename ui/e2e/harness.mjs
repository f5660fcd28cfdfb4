// What the browser tests share: a real server on a free port, a real browser, and what is always true of a page.
//
// The binary is $HEIMDALL_BIN (with the app embedded), the browser $CHROMIUM or Debian's. Servers keep their data in a
// folder of their own, which goes when they end; every process is ended by its id.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { AxeBuilder } from "@axe-core/playwright";
import { chromium } from "playwright-core";

const BIN = process.env.HEIMDALL_BIN ?? "heimdall";
/** A built app to show in place of the one in the binary: `UI_DIST=ui/dist` saves a build of the binary while writing. */
const UI_DIST = process.env.UI_DIST;
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
/** Folder of screenshots, kept for people to look at. */
export const SHOTS = process.env.SHOTS ?? resolve(import.meta.dirname, "out");

/** Widths that every view is shown at: phone, small laptop, desktop. */
export const WIDTHS = { phone: [390, 844], laptop: [1024, 768], desktop: [1440, 900] };

/**
 * Starts `heimdall serve` or `heimdall demo` and waits until it is ready.
 * @param {{command?: string, args?: string[], dataDir?: string, env?: Record<string, string>, port?: number}} options
 */
export async function startServer({ command = "serve", args = [], dataDir, env = {}, port = 0 } = {}) {
  const folder = dataDir ?? mkdtempSync(join(tmpdir(), "heimdall-e2e-"));
  const listeners = join(folder, "run", "listeners.json");
  rmSync(listeners, { force: true });
  // Variables that begin with HEIMDALL_ are configuration to the server; ours are not.
  const { HEIMDALL_BIN: _ours, ...inherited } = process.env;
  const child = spawn(BIN, [command, "--data-dir", folder, "--listen", `127.0.0.1:${port}`, ...args], {
    env: { ...inherited, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (part) => {
      said = (said + part).slice(-20_000);
    });
  const ended = once(child, "exit");
  const url = await until(
    async () => {
      if (child.exitCode !== null) throw new Error(`the server ended at once:\n${said}`);
      if (!existsSync(listeners)) return null;
      const address = `http://${JSON.parse(readFileSync(listeners, "utf8")).http}`;
      const ready = await fetch(`${address}/readyz`).catch(() => null);
      return ready?.ok ? address : null;
    },
    60_000,
    () => `the server is not ready:\n${said}`,
  );
  return {
    url,
    dataDir: folder,
    /** Ends it and waits; the data goes unless `keep`. */
    async stop({ keep = false, signal = "SIGTERM" } = {}) {
      child.kill(signal);
      await ended;
      if (!keep) rmSync(folder, { recursive: true, force: true });
    },
    /** JSON of a path; fails for any other answer than a success. */
    async json(path, init) {
      const answer = await fetch(url + path, init);
      assert.ok(answer.ok, `${path}: ${answer.status} ${await answer.clone().text()}`);
      return answer.json();
    },
  };
}

/** Asks again, every 100 ms, until there is an answer. */
export async function until(ask, ms = 20_000, message = () => "it did not happen") {
  const end = Date.now() + ms;
  for (;;) {
    const found = await ask();
    if (found) return found;
    if (Date.now() > end) throw new Error(message());
    await new Promise((go) => setTimeout(go, 100));
  }
}

/** A browser for a file of tests. */
export async function startBrowser() {
  return chromium.launch({
    executablePath: CHROMIUM,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-background-networking",
      "--disable-component-update",
      "--enable-unsafe-swiftshader",
      // A page that comes from a folder has no address: its way to the server would count as one into the local network.
      ...(UI_DIST ? ["--disable-features=LocalNetworkAccessChecks"] : []),
    ],
  });
}

/**
 * A page that fails the test when it writes an error to the console, throws, or asks another host. With `token` it is
 * signed in.
 * @param {import("playwright-core").Browser} browser
 */
export async function openPage(
  browser,
  server,
  path = "/",
  { size = WIDTHS.desktop, theme = "dark", allow = [], token = null } = {},
) {
  const [width, height] = size;
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: theme, acceptDownloads: true });
  if (UI_DIST) await serveDist(context, server.url);
  if (token) await context.addInitScript((value) => sessionStorage.setItem("heimdall.token", value), token);
  const page = await context.newPage();
  const faults = [];
  const excused = (text) => allow.some((pattern) => pattern.test(text));
  page.on("pageerror", (error) => faults.push(`threw: ${error.stack ?? error}`));
  page.on("console", (message) => {
    if (message.type() === "error" && !excused(message.text()))
      faults.push(`console: ${message.text()} ${message.location().url}`);
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(server.url) && !/^(data|blob):/.test(request.url()))
      faults.push(`asked another host: ${request.url()}`);
  });
  await page.goto(server.url + path, { waitUntil: "load" });
  return {
    page,
    /** Ends the page; fails with what went wrong on it. */
    async close() {
      await context.close();
      assert.deepEqual(faults, [], `faults of ${path}`);
    },
    faults,
  };
}

/** Pages and assets from a folder, everything else from the server. */
async function serveDist(context, url) {
  await context.route(`${url}/assets/**`, (route) =>
    route.fulfill({ path: join(UI_DIST, "assets", basename(new URL(route.request().url()).pathname)) }),
  );
  await context.route(`${url}/**`, (route) =>
    route.request().resourceType() === "document"
      ? route.fulfill({ path: join(UI_DIST, "index.html"), contentType: "text/html" })
      : route.fallback(),
  );
}

/** WCAG 2.2 AA as far as a program can tell. */
export async function assertAccessible(page, name) {
  const found = await new AxeBuilder({ page })
    .withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"])
    .analyze();
  const told = found.violations.map(
    (fault) =>
      `${fault.id}: ${fault.help}\n  ${fault.nodes
        .slice(0, 4)
        .map((node) => `${node.target} ${node.failureSummary?.replace(/\s+/g, " ").slice(0, 240)}`)
        .join("\n  ")}`,
  );
  assert.deepEqual(told, [], `${name} is not accessible`);
}

/** No page scrolls sideways. */
export async function assertNoSidewaysScroll(page, name) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(over <= 0, `${name} is ${over} px wider than the window`);
}

/** Keeps a picture of the page for people. */
export async function shot(page, name) {
  mkdirSync(SHOTS, { recursive: true });
  await page.screenshot({ path: join(SHOTS, `${name}.png`) });
}
