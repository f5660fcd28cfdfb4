// What the app weighs, and that it says what this server does.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { after, before, test } from "node:test";
import { openPage, startBrowser, startServer } from "./harness.mjs";

const FIRST_LOAD_BYTES_MAX = 400 * 1024;

let server;
let browser;

before(async () => {
  [browser, server] = await Promise.all([startBrowser(), startServer()]);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

test("the generated types are those of this server", () => {
  const run = spawnSync(
    process.execPath,
    [resolve(import.meta.dirname, "../scripts/types.mjs"), "--check", `${server.url}/openapi.json`],
    { encoding: "utf8" },
  );
  assert.equal(run.status, 0, run.stderr);
});

test("the first page is light, compressed, and kept by the browser", async (context) => {
  const { page, close } = await openPage(browser, server, "/alerts");
  await page.getByRole("heading", { level: 1 }).first().waitFor();
  await page.waitForLoadState("networkidle");
  const parts = await page.evaluate(() =>
    performance
      .getEntriesByType("resource")
      .filter(
        (entry) => ["script", "link", "css", "other"].includes(entry.initiatorType) && !entry.name.includes("/api/"),
      )
      .map((entry) => ({
        name: new URL(entry.name).pathname,
        bytes: entry.encodedBodySize,
        unpacked: entry.decodedBodySize,
      })),
  );
  const bytes = parts.reduce((sum, part) => sum + part.bytes, 0);
  const ready = await page.evaluate(() =>
    Math.round(
      performance.getEntriesByType("paint").find((entry) => entry.name === "first-contentful-paint")?.startTime ?? 0,
    ),
  );
  context.diagnostic(
    `first load ${Math.round(bytes / 1024)} KiB in ${parts.length} files, first contentful paint after ${ready} ms`,
  );
  for (const part of parts) context.diagnostic(`  ${part.name} ${part.bytes} of ${part.unpacked}`);
  assert.ok(bytes < FIRST_LOAD_BYTES_MAX, `${bytes} bytes`);
  const script = parts.find((part) => part.name.endsWith(".js") && part.unpacked > 100_000);
  assert.ok(script && script.bytes < script.unpacked / 2, "scripts are sent compressed");
  const kept = await fetch(server.url + script.name, { headers: { "Accept-Encoding": "br" } });
  assert.equal(kept.headers.get("cache-control"), "public, max-age=31536000, immutable");
  assert.equal(kept.headers.get("content-encoding"), "br");
  await close();
});

test("the page is under a strict policy and asks nobody else", async () => {
  const answer = await fetch(server.url, { headers: { Accept: "text/html" } });
  const policy = answer.headers.get("content-security-policy") ?? "";
  assert.match(policy, /default-src 'none'/);
  assert.match(policy, /script-src 'self'(;|$)/);
  assert.match(policy, /frame-ancestors 'none'/);
  assert.doesNotMatch(policy, /unsafe-eval|https?:/);
  assert.equal(answer.headers.get("cache-control"), "no-store");
  const nonce = /'nonce-([^']+)'/.exec(policy)?.[1];
  const page = await answer.text();
  assert.ok(nonce && page.includes(nonce) && !page.includes("__CSP_NONCE__"));
  const again = await fetch(server.url, { headers: { Accept: "text/html" } });
  assert.ok(!(again.headers.get("content-security-policy") ?? "").includes(nonce), "a nonce is used once");
});

test("unknown paths: a page for people, a problem for programs", async () => {
  const { page, close } = await openPage(browser, server, "/no/such/page");
  await page.getByText("There is no such page").waitFor();
  await close();
  const answer = await fetch(`${server.url}/api/v1/nothing`, { headers: { Accept: "text/html" } });
  assert.equal(answer.status, 404);
  assert.equal((await answer.json()).code, "path_unknown");
  assert.ok(readFileSync(resolve(import.meta.dirname, "../index.html"), "utf8").includes("__CSP_NONCE__"));
});
