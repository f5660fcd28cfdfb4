import { expect, it } from "vitest";
import type { Silence } from "./api";
import { draftNew, draftOf, faultsOf, recurrenceWords, requestOf } from "./silence";

const NOW = new Date(2026, 2, 1, 12, 0).getTime();
const good = { ...draftNew(NOW, "Europe/Berlin", ["service=payment"]), comment: "migration" };

it("asks for what is missing", () => {
  expect(faultsOf(draftNew(NOW, "UTC"), NOW)).toEqual({
    matchers: "say which alerts: one matcher at least",
    comment: "say why: others will ask",
  });
  expect(faultsOf(good, NOW)).toEqual({});
  expect(faultsOf({ ...good, matchers: ["service"] }, NOW).matchers).toContain("label=value");
  expect(faultsOf({ ...good, ends: good.starts }, NOW).ends).toBe("is not after the start");
  expect(faultsOf({ ...good, recurs: true, from: "25:00" }, NOW).times).toContain("02:00");
});

it("refuses to keep everything quiet", () => {
  expect(faultsOf({ ...good, matchers: ['service=~".*"'] }, NOW).matchers).toContain("every alert");
  expect(faultsOf({ ...good, matchers: ["service=~.*"] }, NOW).matchers).toContain("every alert");
  expect(faultsOf({ ...good, matchers: ['service=~".*"', "severity=warning"] }, NOW).matchers).toBeUndefined();
  expect(faultsOf({ ...good, matchers: ['service=~"pay.*"'] }, NOW).matchers).toBeUndefined();
});

it("becomes a request, and comes back from a silence", () => {
  const draft = { ...good, kind: "maintenance" as const, recurs: true, weekdays: ["sunday"] };
  expect(requestOf(draft)).toMatchObject({
    kind: "maintenance",
    matchers: ["service=payment"],
    starts_at: new Date(NOW).toISOString(),
    recurrence: { weekdays: ["sunday"], from: "02:00", to: "04:00", zone: "Europe/Berlin" },
  });
  const silence = {
    id: "x",
    state: "active",
    kind: "silence",
    matchers: ["a=b"],
    starts_at: new Date(NOW).toISOString(),
    ends_at: new Date(NOW + 60_000).toISOString(),
    comment: "c",
    recurrence: null,
  } as Silence;
  expect(draftOf(silence, NOW, "UTC").id).toBe("x");
  expect(draftOf({ ...silence, state: "expired" }, NOW, "UTC").id).toBeUndefined();
});

it("says when it recurs", () => {
  expect(recurrenceWords({ from: "02:00", to: "04:00", weekdays: ["saturday", "sunday"], zone: "UTC" })).toBe(
    "sat, sun 02:00–04:00 UTC",
  );
  expect(recurrenceWords({ from: "02:00", to: "04:00" })).toBe("every day 02:00–04:00");
});
