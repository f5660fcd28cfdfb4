import { describe, expect, it } from "vitest";
import type { Alert, Service } from "@/features/services/api";
import { type Counted, healthOf, troublesOf, verdictOf } from "./health";

const counted = (service: string, state: string, more: Partial<Counted> = {}): Counted => ({
  service,
  state,
  alerts: 0,
  records_per_second: 10,
  errors_per_second: 0,
  ...more,
});
const alert = (service: string, severity: string, title: string, last_seen: string): Alert =>
  ({ service, severity, title, last_seen }) as Alert;
const told = (service: string, state: string, ...texts: string[]): Service =>
  ({
    service,
    state,
    why: texts.map((text) => ({ kind: "alert", state, text, alert: null })),
    p95_ms: 80,
    open_alerts: 1,
  }) as unknown as Service;
const now = Date.parse("2026-01-01T01:00:00Z");

describe("health of services", () => {
  it("puts the worst first and says why", () => {
    const health = healthOf(
      [
        counted("a", "NORMAL"),
        counted("b", "WARNING", { alerts: 1 }),
        counted("c", "CRITICAL", { alerts: 1 }),
        counted("d", "CRITICAL", { alerts: 3 }),
        counted("e", "NORMAL", { errors_per_second: 1 }),
        counted("f", "NORMAL", { records_per_second: 0 }),
      ],
      [
        alert("d", "WARNING", "Slow", "2026-01-01T00:59:00Z"),
        alert("d", "CRITICAL", "Down", "2026-01-01T00:10:00Z"),
        alert("d", "CRITICAL", "Down again", "2026-01-01T00:20:00Z"),
      ],
      [told("b", "WARNING", "Slow", "Full"), told("g", "CRITICAL", "No record, and an alert is open")],
    );
    const silent = health.splice(2, 1)[0];
    expect(silent).toMatchObject({
      service: "g",
      state: "CRITICAL",
      why: "No record, and an alert is open",
      recordsPerSecond: 0,
    });
    expect(health.map(({ service, why }) => [service, why])).toEqual([
      ["d", "Down again"],
      ["c", "1 alert not resolved"],
      ["b", "Slow, and 1 more"],
      ["e", "10 % of records are errors"],
      ["a", ""],
      ["f", "No records in the last minute"],
    ]);
    expect(health[2]?.p95).toBe(80);
  });
  it("takes the worse of the state now and in the range", () => {
    const of = (now: string, range: string): string | undefined =>
      healthOf([counted("a", now)], [], [told("a", range, "25 % errors")])[0]?.state;
    expect(of("NORMAL", "CRITICAL")).toBe("CRITICAL");
    expect(of("CRITICAL", "NORMAL")).toBe("CRITICAL");
    expect(of("WARNING", "WARNING")).toBe("WARNING");
  });
});

describe("the verdict", () => {
  const base = { incidents: [], moreIncidents: false, troubles: [], now };
  it("is calm when all is well", () => {
    const health = healthOf([counted("a", "NORMAL"), counted("b", "NORMAL")], []);
    expect(verdictOf({ ...base, health })).toEqual({
      tone: "ok",
      sentence: "All 2 services are well",
      detail: ["no incident is open"],
    });
    expect(verdictOf({ ...base, health: [] }).sentence).toBe("Nothing is wrong");
  });
  it("does not claim what it does not know", () => {
    const health = healthOf([counted("a", "NORMAL")], []);
    expect(verdictOf({ ...base, incidents: null, health }).detail).toEqual([
      "whether an incident is open is not known",
    ]);
    const ill = healthOf([counted("a", "WARNING")], []);
    expect(verdictOf({ ...base, incidents: null, health: ill }).detail).toContain("incidents are not known");
  });
  it("counts services and incidents and names the worst", () => {
    const health = healthOf(
      [counted("pay", "CRITICAL", { alerts: 2 }), counted("cart", "WARNING"), counted("web", "NORMAL")],
      [alert("pay", "CRITICAL", "High error rate", "2026-01-01T00:59:00Z")],
    );
    const incidents = [
      { owner: null, severity: "CRITICAL", started_at: "2026-01-01T00:30:00Z", title: "x" },
      { owner: "ann", severity: "WARNING", started_at: "2026-01-01T00:55:00Z", title: "y" },
    ];
    expect(verdictOf({ ...base, health, incidents })).toEqual({
      tone: "critical",
      sentence: "2 services need attention, 2 incidents open",
      detail: [
        "Worst: pay (high error rate)",
        "1 critical, 1 with warnings, 1 well",
        "1 incident has no owner",
        "the newest incident began 5m ago",
      ],
    });
  });
  it("is a warning when nothing is critical, and speaks in the singular", () => {
    const verdict = verdictOf({ ...base, health: healthOf([counted("a", "WARNING")], []) });
    expect(verdict).toMatchObject({ tone: "warning", sentence: "1 service needs attention" });
  });
  it("tells trouble of its own", () => {
    const troubles = troublesOf({
      ready: true,
      stream: { trouble: "no space left" },
      store: { damaged: ["a", "b"], cold_trouble: null },
      rule_faults: [],
    });
    expect(troubles).toEqual(["segments cannot be written: no space left", "2 damaged segments"]);
    expect(verdictOf({ ...base, health: [], troubles })).toMatchObject({
      tone: "critical",
      sentence: "Heimdall itself has trouble",
    });
  });
});
