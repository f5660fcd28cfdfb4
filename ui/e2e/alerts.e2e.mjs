// Alerts as they live: they arrive without a reload, are acknowledged and suppressed by mouse and by keyboard, stay so after
// a reload, and lead to what is known of them.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { assertAccessible, openPage, shot, startBrowser, startServer, until } from "./harness.mjs";
import { raiseAlert, sendLogs } from "./story.mjs";

let server;
let browser;

before(async () => {
  [browser, server] = await Promise.all([startBrowser(), startServer()]);
  await sendLogs(server, 200);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const alertOf = async (ip) => (await server.json(`/api/v1/alerts?entity=source_ip:${ip}`)).items[0];
const rowOf = (page, ip) => page.getByRole("grid", { name: "Alerts" }).getByRole("row").filter({ hasText: ip });

test("an alert arrives over the WebSocket, is acknowledged, and stays so after a reload", async () => {
  const { page, close } = await openPage(browser, server, "/alerts");
  await page.getByText("Live", { exact: true }).waitFor();
  await raiseAlert(server, "203.0.113.5");
  // No reload: the delta brings it.
  const row = rowOf(page, "203.0.113.5").first();
  await row.waitFor();
  await page.getByRole("button", { name: /^Open: [1-9]/ }).waitFor();
  await row.getByRole("button", { name: /^Acknowledge/ }).click();
  await page.getByText("1 alert acknowledged").first().waitFor();
  await page.getByRole("button", { name: /^Acknowledged: 1\b/ }).waitFor();
  assert.equal((await alertOf("203.0.113.5")).status, "ACKNOWLEDGED");
  await page.reload();
  await page.getByRole("button", { name: /^Acknowledged: 1\b/ }).waitFor();
  await rowOf(page, "203.0.113.5").getByText("Acknowledged").first().waitFor();
  await assertAccessible(page, "alerts with rows");
  await shot(page, "alerts-acknowledged");
  await close();
});

test("the keyboard alone acknowledges", async () => {
  await raiseAlert(server, "203.0.113.6");
  const { page, close } = await openPage(browser, server, "/alerts?status=open");
  await rowOf(page, "203.0.113.6").first().waitFor();
  await page.keyboard.press("j");
  await page.keyboard.press("a");
  await page.getByText("1 alert acknowledged").first().waitFor();
  await until(async () => (await server.json("/api/v1/alerts?status=open")).items.length === 0);
  await close();
});

test("many are suppressed at once, for a time and with a reason", async () => {
  const addresses = ["198.51.100.1", "198.51.100.2", "198.51.100.3"];
  for (const ip of addresses) await raiseAlert(server, ip);
  const { page, close } = await openPage(browser, server, "/alerts?status=open");
  await rowOf(page, addresses[2]).first().waitFor();
  await page.getByRole("checkbox", { name: "Select all that are loaded" }).click();
  await page.getByText("3 chosen").waitFor();
  await page.getByRole("button", { name: "Suppress", exact: true }).click();
  const dialog = page.getByRole("dialog", { name: "Suppress 3 alerts" });
  await dialog.getByText("4 hours").click();
  await dialog.getByLabel("Note").fill("a scan we ordered");
  await assertAccessible(page, "the dialog of suppressing");
  await dialog.getByRole("button", { name: /^Suppress/ }).click();
  await page.getByText("3 alerts suppressed").first().waitFor();
  for (const ip of addresses) {
    const alert = await alertOf(ip);
    assert.equal(alert.status, "SUPPRESSED");
    assert.ok(Date.parse(alert.suppressed_until) > Date.now() + 3.9 * 3_600_000);
    assert.ok(alert.history.some((step) => step.note === "a scan we ordered"));
  }
  await page.reload();
  await page.getByRole("button", { name: /^Suppressed: 3\b/ }).waitFor();
  await close();
});

test("what the server refuses is rolled back and said", async () => {
  await raiseAlert(server, "203.0.113.7");
  const { page, close } = await openPage(browser, server, "/alerts?status=open", { allow: [/503/] });
  const row = rowOf(page, "203.0.113.7").first();
  await row.waitFor();
  // Stands in for a metastore that cannot write.
  await page.route("**/acknowledge", (route) =>
    route.fulfill({
      status: 503,
      contentType: "application/problem+json",
      body: JSON.stringify({
        status: 503,
        code: "alert_not_durable",
        title: "Service Unavailable",
        detail: "the alert could not be written",
      }),
    }),
  );
  await page.route("**/alerts/steps", (route) =>
    route.fulfill({
      status: 503,
      contentType: "application/problem+json",
      body: JSON.stringify({
        status: 503,
        code: "alert_not_durable",
        title: "Service Unavailable",
        detail: "the alert could not be written",
      }),
    }),
  );
  await row.getByRole("button", { name: /^Acknowledge/ }).click();
  await page.getByText("the alert could not be written").first().waitFor();
  await row.getByText("Open").first().waitFor();
  assert.equal((await alertOf("203.0.113.7")).status, "OPEN");
  await close();
});

test("an alert's page says why, takes a comment and a judgement", async () => {
  await raiseAlert(server, "203.0.113.8");
  const alert = await until(() => alertOf("203.0.113.8"));
  const { page, close } = await openPage(browser, server, `/alerts/${alert.id}`);
  await page.getByRole("heading", { level: 1 }).waitFor();
  await page.getByText("203.0.113.8").first().waitFor();
  await page.getByText("possible brute force").first().waitFor();
  await page.getByRole("button", { name: /^False positive/ }).click();
  await until(async () => (await alertOf("203.0.113.8")).feedback?.verdict === "false_positive");
  await page.getByText("said false positive").first().waitFor();
  await assertAccessible(page, "the page of an alert");
  await shot(page, "alert-desktop-dark");
  await close();
});

test("a silence shows whom it would keep quiet before it does", async () => {
  const { page, close } = await openPage(browser, server, "/notifications");
  await page.getByRole("button", { name: "New silence" }).first().click();
  await page.getByLabel("Matcher 1").fill('service="web-firewall"');
  await page.getByText(/\d+ alerts? pass(es)? now/).waitFor();
  await page.getByLabel("Why").fill("maintenance of the firewall");
  await assertAccessible(page, "the dialog of a silence");
  await page.getByRole("button", { name: "Keep quiet" }).click();
  const silence = await until(async () => (await server.json("/api/v1/silences")).items[0]);
  assert.equal(silence.comment, "maintenance of the firewall");
  await page.getByText("maintenance of the firewall").first().waitFor();
  await close();
});

test("an incident has a timeline and a post-mortem", async () => {
  const { page, close } = await openPage(browser, server, "/incidents");
  await page.getByRole("grid").getByRole("link").first().click();
  await page.waitForURL(/\/incidents\/.+/);
  await page.getByRole("tab", { name: "Post-mortem" }).click();
  await page
    .getByRole("heading", { name: /Timeline/i })
    .first()
    .waitFor();
  await assertAccessible(page, "the page of an incident");
  await shot(page, "incident-desktop-dark");
  await close();
});
