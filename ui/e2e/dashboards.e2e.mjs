// A dashboard from its making to its end: panels, places by keyboard, variables, annotations, conflicts, files.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
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
import { sendLogs } from "./story.mjs";

let server;
let browser;

before(async () => {
  [browser, server] = await Promise.all([startBrowser(), startServer()]);
  await sendLogs(server, 3000);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

test("a dashboard is made, arranged by keyboard, saved, argued about, and deleted", async () => {
  const { page, close } = await openPage(browser, server, "/dashboards", { allow: [/409/] });
  const dialog = page.getByRole("dialog");

  await page.getByRole("button", { name: "New dashboard" }).click();
  await dialog.getByLabel("Title").fill("Checkout");
  await dialog.getByLabel("Folder").fill("Shop");
  await dialog.getByLabel("Tags").fill("team-a, slo");
  await page.getByRole("button", { name: "Keep it" }).click();
  await page.waitForURL(/dashboards\/[^?]+\?.*edit=1/);
  const id = new URL(page.url()).pathname.split("/").pop();

  await page.getByRole("button", { name: "Add panel" }).first().click();
  await page.getByLabel("Query of the panel").waitFor();
  await page.getByLabel("Title").fill("Levels");
  await page.getByRole("button", { name: "Add panel" }).last().click();
  await page.getByRole("region", { name: "Levels" }).waitFor();

  await page.getByRole("button", { name: "Variables" }).click();
  await page.getByRole("button", { name: "Add variable" }).click();
  await page.getByRole("button", { name: "Apply" }).click();
  await page.getByRole("button", { name: "Service: all" }).waitFor();

  await page.getByRole("button", { name: "Menu of Levels" }).click();
  await page.getByRole("menuitem", { name: "Duplicate" }).click();
  await page.getByRole("region", { name: "Levels (copy)" }).waitFor();
  await page.getByRole("button", { name: "Menu of Levels", exact: true }).click();
  await page.getByRole("menuitem", { name: "Move or resize" }).click();
  const bar = page.getByRole("toolbar", { name: "Move or resize Levels" });
  await bar.waitFor();
  await page.keyboard.press("Shift+ArrowLeft");
  await page.keyboard.press("Shift+ArrowDown");
  await page.getByText("11 × 9").waitFor();
  await page.keyboard.press("Escape");
  await bar.waitFor({ state: "detached" });

  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("“Checkout” is saved").first().waitFor();
  await page.getByText("not saved").waitFor({ state: "detached" });

  // Somebody else saves meanwhile.
  const now = await server.json(`/api/v1/dashboards/${id}`);
  await server.json(`/api/v1/dashboards/${id}`, {
    method: "PUT",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({
      revision: now.revision,
      title: "Checkout (theirs)",
      description: "",
      tags: [],
      folder: "Shop",
      spec: now.spec,
    }),
  });
  await page.getByRole("button", { name: "Menu of Levels (copy)" }).click();
  await page.getByRole("menuitem", { name: "Remove" }).click();
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("dialog", { name: "Somebody else changed this dashboard" }).waitFor();
  await page.getByRole("button", { name: "Overwrite theirs" }).click();
  await dialog.waitFor({ state: "detached" });
  const kept = await until(async () => {
    const found = await server.json(`/api/v1/dashboards/${id}`);
    return found.title === "Checkout" ? found : null;
  });
  assert.equal(kept.spec.panels.length, 1);

  // Leaving with changes asks first.
  await page.getByRole("button", { name: "Menu of Levels", exact: true }).click();
  await page.getByRole("menuitem", { name: "Duplicate" }).click();
  await page.getByText("not saved").waitFor();
  await page.getByRole("link", { name: "Alerts" }).click();
  await page.getByRole("dialog", { name: "Changes are not saved" }).waitFor();
  await page.getByRole("button", { name: "Stay" }).click();
  await page.getByRole("button", { name: "Discard" }).click();
  await page.getByText("not saved").waitFor({ state: "detached" });

  await page.getByRole("button", { name: "Annotations" }).click();
  await page.getByRole("button", { name: "Add annotation" }).click();
  await page.getByLabel("What happened").fill("checkout 4.2 rolled out");
  await page.getByLabel(/^At/).fill("now-20m");
  await page.getByRole("button", { name: "Add", exact: true }).click();
  await page.getByText("checkout 4.2 rolled out").first().waitFor();
  await page.getByRole("button", { name: "Close" }).click();
  await page
    .getByRole("button", { name: /Deployment: checkout 4.2/ })
    .first()
    .waitFor();

  await page.getByRole("button", { name: "Service: all" }).click();
  await page.getByRole("checkbox", { name: "checkout", exact: true }).click();
  await page.waitForURL(/var-service=checkout/);
  await page.keyboard.press("Escape");

  const file = page.waitForEvent("download");
  await page.getByRole("button", { name: "Menu of Levels" }).click();
  await page.getByRole("menuitem", { name: "Export CSV" }).click();
  const download = await file;
  assert.equal(download.suggestedFilename(), "levels.csv");
  assert.match(readFileSync(await download.path(), "utf8"), /^timestamp,level,count/);

  await page.getByRole("button", { name: "More" }).click();
  await page.getByRole("menuitem", { name: "Delete" }).click();
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await page.waitForURL(/\/dashboards(\?|$)/);
  const gone = await fetch(`${server.url}/api/v1/dashboards/${id}`);
  assert.equal(gone.status, 404);
  await close();
});

test("an import says what is wrong, by path", async () => {
  const { page, close } = await openPage(browser, server, "/dashboards");
  await page.getByRole("button", { name: "Import" }).click();
  await page.getByLabel("Or its text").fill('{"title":"x","spec":{"panels":[{"id":"a","title":"A","viz":"lines"}]}}');
  await page.getByText("spec.panels[0].viz").waitFor();
  await assertAccessible(page, "the import dialog");
  await close();
});

test("the dashboards that ship fit a phone and cannot be changed", async () => {
  const { page, close } = await openPage(browser, server, "/dashboards/executive-dashboard", { size: WIDTHS.phone });
  await page.getByRole("heading", { level: 1 }).waitFor();
  await assertNoSidewaysScroll(page, "executive-dashboard");
  await shot(page, "executive-dashboard-phone-serve");
  await close();
  const refused = await fetch(`${server.url}/api/v1/dashboards/executive-dashboard`, { method: "DELETE" });
  assert.equal(refused.status, 409);
  assert.equal((await refused.json()).code, "built_in");
});
