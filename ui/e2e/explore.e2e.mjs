// Questions: asked, refined by a click, drawn, followed live, taken away as files; mistakes shown at their column.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { assertAccessible, openPage, shot, startBrowser, startServer, until, WIDTHS } from "./harness.mjs";
import { sendLogs } from "./story.mjs";

const COUNT = 4000;

let server;
let browser;

before(async () => {
  [browser, server] = await Promise.all([startBrowser(), startServer()]);
  await sendLogs(server, COUNT);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const rows = (page) => page.getByRole("grid").first().getByRole("row");

test("a search shows its records; a click on a value narrows it; Back widens it again", async () => {
  const { page, close } = await openPage(browser, server, "/explore");
  await page
    .getByText(/4,000 records/)
    .first()
    .waitFor();
  await page.getByRole("textbox", { name: "Search line" }).click();
  await page.keyboard.type("level>=error");
  await page.keyboard.press("Enter");
  await page
    .getByText(/200 records/)
    .first()
    .waitFor();
  assert.equal(new URL(page.url()).searchParams.get("q"), "level>=error");
  await rows(page).nth(2).getByText("connection refused").waitFor();
  await page.getByRole("button", { name: "text, service" }).click();
  await page
    .getByRole("button", { name: /^Only .*checkout|Filter by checkout|Include checkout|service:checkout/ })
    .first()
    .click();
  await page.waitForURL((url) => (url.searchParams.get("q") ?? "").includes("service:checkout"));
  await page.goBack();
  await page.waitForURL((url) => url.searchParams.get("q") === "level>=error");
  await close();
});

test("a mistake is shown where it is, with what was meant", async () => {
  const { page, close } = await openPage(
    browser,
    server,
    `/explore?q=${encodeURIComponent("level>=warn | stat count() by service")}`,
    { allow: [/400/] },
  );
  await page
    .getByText(/did you mean|stats/i)
    .first()
    .waitFor();
  await assertAccessible(page, "Explore with a mistake");
  await shot(page, "explore-mistake");
  await close();
});

test("a record opens with all its fields and the lines around it", async () => {
  const { page, close } = await openPage(browser, server, `/explore?q=${encodeURIComponent("level>=error")}`);
  await rows(page).nth(2).waitFor();
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.getByRole("tab", { name: /Around|Lines around/ }).click();
  await page
    .getByRole("tabpanel")
    .getByText(/connection refused/)
    .first()
    .waitFor();
  await assertAccessible(page, "a record");
  await shot(page, "explore-record");
  await close();
});

test("an aggregation is drawn; SQL and plain words answer the same", async () => {
  const { page, close } = await openPage(
    browser,
    server,
    `/explore?q=${encodeURIComponent("level>=warn | stats count() by service")}`,
  );
  await page
    .getByRole("list", { name: /^Answer of/ })
    .getByRole("button", { name: "checkout" })
    .waitFor();
  await page.goto(
    `${server.url}/explore?lang=sql&q=${encodeURIComponent("select service, count(*) as n from logs where level = 'error' group by 1 order by 1")}`,
  );
  await page.getByText("checkout").first().waitFor();
  await page.goto(
    `${server.url}/explore?lang=ask&q=${encodeURIComponent("errors from the checkout service in the last hour")}`,
  );
  await page
    .getByText(/service:checkout/)
    .first()
    .waitFor();
  await shot(page, "explore-ask");
  await close();
});

test("a question in plain words that is not understood says what was", async () => {
  const { page, close } = await openPage(
    browser,
    server,
    `/explore?lang=ask&q=${encodeURIComponent("errors from checkout make me a sandwich")}`,
    { allow: [/400/] },
  );
  await page
    .getByText(/not understood|understand/i)
    .first()
    .waitFor();
  await page.getByText(/“errors” as level>=error/).waitFor();
  await assertAccessible(page, "Explore, not understood");
  await close();
});

test("the live tail shows records as they come, pauses and goes on", async () => {
  const { page, close } = await openPage(browser, server, "/explore");
  await page
    .getByText(/4,000 records/)
    .first()
    .waitFor();
  await page.getByRole("button", { name: "Live tail" }).click();
  await page.getByRole("button", { name: /Pause/ }).waitFor();
  const send = (message) =>
    server.json("/api/v1/ingest/logs", {
      method: "POST",
      body: JSON.stringify({ service: "tailed", level: "info", message }),
    });
  await until(async () => {
    await send("first of the tail");
    return page.getByText("first of the tail").first().isVisible();
  });
  await page.getByRole("button", { name: /Pause/ }).click();
  await send("while it is paused");
  await page.getByRole("button", { name: /Resume|Go on/ }).click();
  await page.getByText("while it is paused").first().waitFor();
  await close();
});

test("an answer is taken away as CSV and as Parquet", async () => {
  const { page, close } = await openPage(browser, server, `/explore?q=${encodeURIComponent("level>=error")}`);
  await rows(page).nth(2).waitFor();
  for (const [format, check] of [
    ["CSV", (bytes) => assert.equal(bytes.toString("utf8").trim().split("\n").length, 201)],
    ["Parquet", (bytes) => assert.equal(bytes.subarray(0, 4).toString(), "PAR1")],
  ]) {
    await page.getByRole("button", { name: /More to do/ }).click();
    await page.getByRole("menuitem", { name: /Export/ }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByText(format, { exact: true }).click();
    const file = page.waitForEvent("download");
    await dialog.getByRole("button", { name: /^(Export|Download)/ }).click();
    check(readFileSync(await (await file).path()));
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "detached" });
  }
  await close();
});

test("a search is kept and found again", async () => {
  const { page, close } = await openPage(
    browser,
    server,
    `/explore?q=${encodeURIComponent("level>=error service:payment")}`,
  );
  await page.getByRole("button", { name: "Save", exact: true }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Name").fill("Errors of payment");
  await dialog.getByRole("button", { name: /^(Save|Keep)/ }).click();
  await until(async () =>
    (await server.json("/api/v1/saved-queries")).items.some((one) => one.name === "Errors of payment"),
  );
  await close();
});

test("all of it on a phone", async () => {
  const { page, close } = await openPage(browser, server, `/explore?q=${encodeURIComponent("level>=error")}`, {
    size: WIDTHS.phone,
  });
  await rows(page).nth(2).click();
  await page.getByRole("dialog").or(page.getByRole("complementary")).first().waitFor();
  await assertAccessible(page, "a record on a phone");
  await shot(page, "explore-record-phone");
  await close();
});
