import { expect, it } from "vitest";
import type { Alert } from "@/live/alerts";
import { announce, isNews } from "./news";

const alert = (changes: Partial<Alert>): Alert =>
  ({ id: "a", severity: "CRITICAL", status: "OPEN", muted: null, count: 1, ...changes }) as Alert;

it("tells of what is new, critical, open and not kept quiet, once", () => {
  expect(isNews(alert({}), new Set())).toBe(true);
  expect(isNews(alert({}), new Set(["a"]))).toBe(false);
  expect(isNews(alert({ count: 9 }), new Set())).toBe(false);
  expect(isNews(alert({ status: "ACKNOWLEDGED" }), new Set())).toBe(false);
  expect(isNews(alert({ severity: "WARNING" }), new Set())).toBe(false);
  expect(isNews(alert({ muted: { kind: "silence" } as never }), new Set())).toBe(false);
});

it("names three at most", () => {
  expect(announce([])).toBe("");
  expect(announce([{ title: "Disk full", service: "db" }])).toBe("1 new critical alert: Disk full on db");
  expect(announce(["a", "b", "c", "d", "e"].map((title) => ({ title, service: null })))).toBe(
    "5 new critical alerts: a; b; c; and 2 more",
  );
});
