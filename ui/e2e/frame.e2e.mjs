// The frame of every page: every view in both themes and three widths, accessible, without a fault; keys; sign-in; a slow, a
// failing and a restarted server.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  assertAccessible,
  assertNoSidewaysScroll,
  openPage,
  shot,
  startBrowser,
  startServer,
  until,
  WIDTHS,
} from "./harness.mjs";

const VIEWS = {
  overview: "/",
  explore: "/explore?q=level>=error",
  services: "/services",
  dashboards: "/dashboards",
  "executive-dashboard": "/dashboards/executive-dashboard",
  "sla-metrics": "/dashboards/sla-metrics",
  alerts: "/alerts",
  incidents: "/incidents",
  detection: "/detection",
  response: "/response",
  notifications: "/notifications",
  admin: "/admin",
  status: "/status",
};

let demo;
let browser;

before(async () => {
  browser = await startBrowser();
  demo = await startServer({ command: "demo", args: ["--watch-listen", "127.0.0.1:0"] });
  await until(
    async () => (await demo.json("/metrics/summary")).alerts.total > 3,
    120_000,
    () => "the demo raised no alerts",
  );
});

after(async () => {
  await browser?.close();
  await demo?.stop();
});

for (const [name, path] of Object.entries(VIEWS)) {
  test(`${name}: dark and light, three widths, accessible`, async () => {
    for (const [width, size] of Object.entries(WIDTHS)) {
      const theme = width === "laptop" ? "light" : "dark";
      const { page, close } = await openPage(browser, demo, path, { size, theme });
      await page.getByRole("heading", { level: 1 }).first().waitFor();
      await page.waitForLoadState("networkidle", { timeout: 5000 }).catch(() => {});
      await assertNoSidewaysScroll(page, `${name} at ${width}`);
      await assertAccessible(page, `${name} at ${width}, ${theme}`);
      await shot(page, `${name}-${width}-${theme}`);
      await close();
    }
  });
}

test("the keyboard alone goes everywhere", async () => {
  const { page, close } = await openPage(browser, demo, "/");
  await page.getByRole("heading", { level: 1 }).first().waitFor();
  await page.keyboard.press("g");
  await page.keyboard.press("a");
  await page.waitForURL(/\/alerts/);
  await page.keyboard.press("Control+k");
  await page.getByRole("dialog", { name: "Command palette" }).waitFor();
  await page.keyboard.type("system");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/status/);
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keyboard shortcuts" }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await close();
});

test("the theme is the reader's and stays", async () => {
  const { page, close } = await openPage(browser, demo, "/", { theme: "light" });
  await page.getByRole("button", { name: "Dark theme" }).click();
  await page.reload();
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
  await close();
});

test("a server that wants a token asks for one, refuses a wrong one, and lets the right one in", async () => {
  const server = await startServer({ args: ["--auth"] });
  try {
    const refused = [/401/, /WebSocket/];
    const { page, close } = await openPage(browser, server, "/", { allow: refused });
    const box = page.getByLabel("Access token");
    await box.fill("hd_wrong");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText("This token is unknown, revoked or expired.").waitFor();
    await assertAccessible(page, "sign-in");
    await shot(page, "sign-in-desktop-dark");
    await box.fill(readFileSync(join(server.dataDir, "admin.token"), "utf8").trim());
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("navigation", { name: "Main" }).waitFor();
    await page.getByText("Live", { exact: true }).waitFor();
    // The token stays in this tab, never in the address.
    assert.ok(!page.url().includes("hd_"));
    await page.reload();
    await page.getByRole("navigation", { name: "Main" }).waitFor();
    await close();
  } finally {
    await server.stop();
  }
});

test("a server that goes away is told, and what comes back is picked up", async () => {
  const server = await startServer();
  const port = Number(new URL(server.url).port);
  const { page, close } = await openPage(browser, server, "/", {
    allow: [/ERR_CONNECTION/, /WebSocket/, /Failed to load resource/],
  });
  await page.getByText("Live", { exact: true }).waitFor();
  await server.stop({ keep: true });
  await page.getByText("Connection lost, trying again").waitFor();
  await shot(page, "lost-desktop-dark");
  const again = await startServer({ dataDir: server.dataDir, port, args: ["--watch-listen", "127.0.0.1:0"] });
  try {
    await page.getByText("Live", { exact: true }).waitFor({ timeout: 20_000 });
    await close();
  } finally {
    await again.stop();
  }
});

test("a slow server shows that it is awaited", async () => {
  const { page, close } = await openPage(browser, demo, "/status");
  // Stands in for a slow server: every answer is held for two seconds.
  await page.route("**/api/v1/**", async (route) => {
    await new Promise((go) => setTimeout(go, 2000));
    await route.continue().catch(() => {});
  });
  await page.goto(`${demo.url}/alerts`);
  await page.getByRole("status", { name: "Loading" }).first().waitFor();
  await shot(page, "slow-desktop-dark");
  await page.getByRole("grid").first().waitFor({ timeout: 15_000 });
  await close();
});
