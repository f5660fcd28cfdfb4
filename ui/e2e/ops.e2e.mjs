// What keeps Heimdall itself in order: tokens, rules, detectors, erasing, the kill switch, live sessions; and what somebody
// who may only read sees of it.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { assertAccessible, openPage, shot, startBrowser, startServer, until } from "./harness.mjs";

let server;
let browser;
let admin;

before(async () => {
  browser = await startBrowser();
  server = await startServer({ args: ["--auth", "--watch-listen", "127.0.0.1:0"] });
  admin = readFileSync(join(server.dataDir, "admin.token"), "utf8").trim();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** JSON of a path, asked with the token of the first start. */
const ask = (path, init = {}) =>
  server.json(path, { ...init, headers: { authorization: `Bearer ${admin}`, ...init.headers } });

const post = (path, body) =>
  ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

const send = (...records) => post("/api/v1/ingest/logs", records);

/** A page of somebody signed in; `faults` that belong to the test are excused. */
const open = (path, { token = admin, ...rest } = {}) => openPage(browser, server, path, { token, ...rest });

test("a token is issued, shown once, used, and revoked", async () => {
  const { page, close } = await open("/admin");
  await page.getByRole("button", { name: "Issue a token" }).click();
  const dialog = page.getByRole("dialog", { name: "Issue a token" });
  await dialog.getByLabel("Name").fill("night shift");
  await dialog.getByRole("checkbox", { name: /^watch/ }).check();
  await assertAccessible(page, "issuing a token");
  await dialog.getByRole("button", { name: "Issue it" }).click();
  const secret = await page.getByRole("textbox", { name: "Token" }).inputValue();
  await shot(page, "ops-token-desktop-dark");
  const as = { headers: { authorization: `Bearer ${secret}` } };
  assert.deepEqual((await server.json("/api/v1/whoami", as)).scopes.toSorted(), ["read", "watch"]);
  await page.getByRole("button", { name: "Done" }).click();
  assert.ok(!(await page.content()).includes(secret), "the secret is nowhere once it is put away");

  const row = page.getByRole("row", { name: /night shift/ });
  await row.getByText("valid").waitFor();
  await row.getByRole("button", { name: "Revoke night shift" }).click();
  await page.getByRole("dialog", { name: "Revoke night shift?" }).getByRole("button", { name: "Revoke it" }).click();
  await row.getByText("revoked").waitFor();
  assert.equal((await fetch(`${server.url}/api/v1/whoami`, as)).status, 401);
  await close();
});

test("a rule: written with a mistake, mended, tried, in force, raising an alert, changed, gone", async () => {
  await send({ service: "vault", message: "the vault door stands open" }, { service: "vault", message: "all is well" });
  const { page, close } = await open("/detection?rule=new", { allow: [/409/] });
  const editor = page.getByRole("textbox", { name: "Rule, as YAML" });
  const write = async (yaml) => {
    await editor.click();
    await page.keyboard.press("ControlOrMeta+a");
    await page.keyboard.insertText(yaml);
  };
  const rule = (title, when) =>
    `id: own.vault\ntitle: ${title}\ndescription: The vault.\nseverity: critical\n${when}\nmitigation: [Close it]\n`;
  await page.getByText("loads: own.root-login-refused").waitFor();

  await write(rule("Vault open", 'wen: "door stands open"'));
  await page.getByText(/^line 5, column 1: unknown field `wen`/).waitFor();
  assert.ok(await page.getByRole("button", { name: "Put it in force" }).isDisabled());
  await assertAccessible(page, "a rule with a mistake");
  await shot(page, "ops-rule-mistake-desktop-dark");

  await write(rule("Vault open", `when: '"door stands open"'`));
  await page.getByText("loads: own.vault").waitFor();
  await page
    .getByLabel("Lines or JSON records")
    .fill('{"service":"vault","message":"the vault door stands open"}\n{"service":"vault","message":"all is well"}');
  await page.getByRole("button", { name: "Try it" }).click();
  await page.getByText("1 of 2 match · 1 alert").waitFor();

  await page.getByRole("tab", { name: "Try on what is stored" }).click();
  await page.getByRole("button", { name: "Backtest" }).click();
  await page.getByRole("list", { name: "Some of the records" }).getByText("the vault door stands open").waitFor();
  await assertAccessible(page, "a backtest");
  await shot(page, "ops-rule-backtest-desktop-dark");

  await page.getByRole("button", { name: "Put it in force" }).click();
  await page.getByRole("dialog", { name: "Vault open" }).getByText("revision 1, by").waitFor();
  assert.match(page.url(), /rule=own\.vault/);
  await send({ service: "vault", message: "the vault door stands open" });
  await until(
    async () => (await ask("/api/v1/alerts?limit=100")).items.some((alert) => alert.title === "Vault open"),
    20_000,
    () => "the rule raised no alert",
  );

  // Somebody else changes it while it is being written: nothing is lost, the writer chooses.
  await write(rule("Vault wide open", `when: '"door stands open"'`));
  await ask("/api/v1/rules/own.vault", {
    method: "PUT",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ yaml: rule("Vault ajar", `when: '"door stands open"'`), revision: 1 }),
  });
  await page.getByText("loads: own.vault").waitFor();
  const force = page.getByRole("button", { name: "Put it in force" });
  if (await force.isEnabled()) await force.click();
  await page.getByText("What you wrote is still here.").waitFor();
  await page.getByRole("button", { name: "Replace it with mine" }).click();
  await page.getByText("revision 3, by").waitFor();
  assert.match((await ask("/api/v1/rules/own.vault")).yaml, /Vault wide open/);

  await page.getByRole("button", { name: "Dry run" }).click();
  await page.getByText("The rule is in dry run", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await page.getByRole("button", { name: "Delete own.vault" }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  assert.ok((await ask("/api/v1/rules")).items.every((one) => one.id !== "own.vault"));
  await close();
});

test("a built-in rule is read, not changed, and copied into one's own", async () => {
  const { page, close } = await open("/detection?tab=rules");
  await page.getByLabel("Find rules").fill("auth.account.admin");
  await page.getByText(/^1 of /).waitFor();
  await page.getByRole("grid", { name: "Rules" }).focus();
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog", { name: "Account became administrator" });
  await dialog.getByText("its text cannot").waitFor();
  assert.equal(await dialog.getByRole("button", { name: "Put it in force" }).count(), 0);
  await assertAccessible(page, "a built-in rule");
  await dialog.getByRole("button", { name: "Copy into a new rule" }).click();
  await page.getByText("loads: own.auth.account.admin").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog", { name: "New rule" }).waitFor({ state: "detached" });
  await close();
});

test("an account's records are counted, then erased; the others stay", async () => {
  await send(
    { service: "shop", message: "bought", user_id: 4711 },
    { service: "shop", message: "kept", user_id: 4712 },
  );
  const { page, close } = await open("/admin?tab=storage");
  await page.getByRole("button", { name: "Erase records" }).click();
  const dialog = page.getByRole("dialog", { name: "Erase records" });
  await dialog.getByLabel("Which log records").fill("user_id:4711");
  await dialog.getByRole("button", { name: "Count them" }).click();
  await dialog.getByText("Nothing has been erased yet.").waitFor();
  const erase = dialog.getByRole("button", { name: "Erase 1 record", exact: true });
  assert.ok(await erase.isDisabled(), "the filter must be typed again");
  await dialog.getByLabel("Type the filter again to erase them").fill("user_id:4711");
  await assertAccessible(page, "erasing");
  await shot(page, "ops-erase-desktop-dark");
  await erase.click();
  await dialog.getByText("1 record is erased; 0 pass the filter now.").waitFor();
  const left = await post("/api/v1/query", { query: "service:shop", from: "now-1h", to: "now" });
  assert.equal(left.rows.length, 1);
  assert.ok(JSON.stringify(left.rows).includes("kept"));
  await close();
});

test("the kill switch stops what acts, says who did, and lets it act again", async () => {
  const { page, close } = await open("/response");
  await page.getByRole("button", { name: "Kill switch" }).click();
  const dialog = page.getByRole("dialog", { name: "Stop everything that acts?" });
  await dialog.getByLabel("Why").fill("drill");
  await dialog.getByRole("button", { name: "Stop everything" }).click();
  await page.getByText(/^Stopped by first start at .*: drill$/).waitFor();
  assert.equal((await ask("/api/v1/actions/kill-switch")).on, true);
  await assertAccessible(page, "a stopped response");
  await shot(page, "ops-kill-switch-desktop-dark");
  await page.getByRole("button", { name: "Let playbooks act again" }).click();
  await page.getByRole("dialog").getByLabel("Why").fill("drill is over");
  await page.getByRole("button", { name: "Let them act" }).click();
  await page.getByRole("button", { name: "Kill switch" }).waitFor();
  assert.equal((await ask("/api/v1/actions/kill-switch")).on, false);
  await close();
});

test("a live session is seen and cut", async () => {
  const issued = await post("/api/v1/tokens", { name: "watcher", scopes: ["watch", "read"] });
  const tail = await fetch(`${server.url}/api/v1/tail?query=service:none`, {
    headers: { authorization: `Bearer ${issued.token}` },
  });
  assert.ok(tail.ok);
  const ended = tail.text().catch(() => "cut");
  const { page, close } = await open("/admin?tab=sessions");
  await page.getByRole("button", { name: "Cut the session of watcher" }).click();
  const dialog = page.getByRole("dialog", { name: "Cut the session of watcher?" });
  await assertAccessible(page, "cutting a session");
  await dialog.getByRole("button", { name: "Cut it" }).click();
  await ended;
  await page.getByRole("button", { name: "Cut the session of watcher" }).waitFor({ state: "detached" });
  await close();
});

test("who may only read sees everything of it and changes nothing", async () => {
  const { token } = await post("/api/v1/tokens", { name: "reader", scopes: ["read"] });
  const disabled = (locator) => locator.and(page.locator(":disabled")).waitFor();
  const { page, close } = await open("/detection?detector=zscore", { token, allow: [/403/, /WebSocket/] });
  await disabled(page.getByRole("switch", { name: "Runs" }));
  await disabled(page.getByRole("switch", { name: "Dry run" }));
  await page.getByRole("slider", { name: "Threshold factor" }).press("ArrowLeft");
  await disabled(page.getByRole("button", { name: /^Set × / }));
  await page.keyboard.press("Escape");
  await page.getByRole("tab", { name: /^Rules/ }).click();
  await disabled(page.getByRole("button", { name: "New rule" }));
  await page.goto(`${server.url}/response`);
  await disabled(page.getByRole("button", { name: "Kill switch" }));
  await page.goto(`${server.url}/admin`);
  await page.getByText("You may not see this").waitFor();
  await disabled(page.getByRole("button", { name: "Issue a token" }));
  await assertAccessible(page, "the tokens, forbidden");
  await shot(page, "ops-forbidden-desktop-dark");
  await close();
});

// The last one: it restarts the server.
test("a detector that was tuned stays so over a restart", async () => {
  const { page, close } = await open("/detection?tab=detectors", {
    allow: [/ERR_CONNECTION/, /WebSocket/, /Failed to load resource/],
  });
  await page.getByRole("grid", { name: "Detectors" }).getByText("zscore").click();
  const slider = page.getByRole("slider", { name: "Threshold factor" });
  for (let step = 0; step < 10; step++) await slider.press("ArrowRight");
  const set = page.getByRole("button", { name: /^Set × / });
  const words = (await set.textContent()) ?? "";
  await set.click();
  await page.getByText(/^changed by first start/).waitFor();
  await page.getByRole("switch", { name: "Dry run" }).click();
  await page.getByRole("switch", { name: "Dry run", checked: true }).waitFor();
  await assertAccessible(page, "a tuned detector");
  await shot(page, "ops-detector-desktop-dark");

  const port = Number(new URL(server.url).port);
  await server.stop({ keep: true });
  server = await startServer({
    args: ["--auth", "--watch-listen", "127.0.0.1:0"],
    dataDir: server.dataDir,
    port,
  });
  await page.reload();
  await page.getByRole("switch", { name: "Dry run", checked: true }).waitFor();
  await page.getByText(`${words.replace("Set ", "")} by hand`).waitFor();
  const kept = (await ask("/api/v1/detectors")).items.find((one) => one.name === "zscore");
  assert.equal(`Set × ${kept.threshold_factor.toFixed(2)}`, words);
  await close();
});
