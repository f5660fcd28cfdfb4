import { describe, expect, it } from "vitest";
import { bulkOf, chipsOf, filterOf, fits, paramsOf, searchOf } from "./filter";
import { matcherFault, parseMatcher, writeMatcher } from "./matchers";
import type { AlertRow } from "./model";

const ROW: AlertRow = {
  id: "1",
  title: "Brute force",
  summary: "128 failed logins",
  rule: "auth.bruteforce.source",
  detector: "auth",
  severity: "CRITICAL",
  status: "OPEN",
  priority: "P1",
  service: "AUTH-API",
  entity: { kind: "source_ip", value: "203.0.113.5" },
  raised_at: "2026-03-01T10:00:00.000000000Z",
  last_seen: "2026-03-01T11:00:00.000000000Z",
  count: 3,
  assignee: null,
  incident: "0198-aa",
  suppressed_until: null,
  muted: null,
  tenant: "default",
  labels: { team: "identity" },
};
const NOW = Date.parse("2026-03-01T12:00:00Z");
const check = (search: Record<string, string>): boolean | null => fits(filterOf(search), ROW, NOW);

describe("filter and URL", () => {
  it("comes back from the URL as it was written", () => {
    const filter = filterOf({
      status: "open,acknowledged",
      severity: "critical",
      priority: "p1",
      service: "AUTH-API",
      entity: "source_ip:203.0.113.5",
      assignee: "nobody",
      text: "login",
      muted: "false",
      sort: "worst",
      match: 'service=~"A.*"\u001fteam!=web',
    });
    const search = Object.fromEntries(Object.entries(searchOf(filter)).filter(([, value]) => value !== undefined));
    expect(filterOf(search)).toEqual(filter);
    expect(filter.matchers).toHaveLength(2);
  });

  it("shows what is not over when nothing is said, and leaves out what it does not know", () => {
    expect(filterOf({}).statuses).toEqual(["OPEN", "ACKNOWLEDGED", "SUPPRESSED"]);
    expect(filterOf({ status: "all" }).statuses).toHaveLength(4);
    expect(filterOf({ status: "bogus", severity: "loud", muted: "maybe", sort: "down", match: "no matcher" })).toEqual(
      filterOf({}),
    );
    expect(Object.values(searchOf(filterOf({}))).every((value) => value === undefined)).toBe(true);
  });

  it("asks the server in its words", () => {
    expect(paramsOf(filterOf({ match: "a=b\u001fc=~d", text: "x" })).toString()).toBe(
      "status=open%2Cacknowledged%2Csuppressed&text=x&filter=a%3Db&filter=c%3D%7Ed",
    );
    expect(paramsOf(filterOf({ status: "all" })).toString()).toBe("");
  });

  it("says a bulk filter, or that it cannot", () => {
    expect(bulkOf(filterOf({ priority: "P1", service: "A" }), ["OPEN"])).toEqual({
      status: "open",
      service: "A",
      filter: ['priority="P1"'],
    });
    expect(bulkOf(filterOf({ muted: "true" }), ["OPEN"])).toBeNull();
  });

  it("names what narrows", () => {
    expect(
      chipsOf(filterOf({ status: "open", text: "x", match: "a=b" })).map((chip) => `${chip.label}: ${chip.value}`),
    ).toEqual(["Says: x", "Label: a=b"]);
  });
});

describe("whether an alert fits", () => {
  it.each<[Record<string, string>, boolean | null]>([
    [{}, true],
    [{ status: "acknowledged" }, false],
    [{ severity: "warning" }, false],
    [{ text: "FAILED" }, true],
    [{ text: "identity" }, true],
    [{ text: "nothing" }, false],
    [{ assignee: "nobody" }, true],
    [{ assignee: "ann" }, false],
    [{ entity: "source_ip:203.0.113.5" }, true],
    [{ muted: "true" }, false],
    [{ since: "now-1h" }, false],
    [{ since: "now-3h" }, true],
    [{ incident: "0198-aa" }, true],
    [{ incident: "0198-bb" }, false],
    [{ incident: "12" }, null],
    [{ match: 'service=~"AUTH.*"' }, true],
    [{ match: 'service=~"AUTH"' }, false],
    [{ match: "source_ip=203.0.113.5" }, true],
    [{ match: "severity=critical\u001fteam=identity" }, true],
    [{ match: "absent=" }, true],
    [{ match: "team!~ident.*" }, false],
    [{ match: 'team=~"(?P<x>i).*"' }, null],
  ])("%o: %s", (search, expected) => expect(check(search)).toBe(expected));
});

describe("matchers", () => {
  it("reads and writes quotes", () => {
    const matcher = parseMatcher('title = "a \\"b\\" \\\\ c"');
    expect(matcher).toEqual({ label: "title", op: "=", value: 'a "b" \\ c' });
    expect(matcher && parseMatcher(writeMatcher(matcher))).toEqual(matcher);
  });

  it("says what is wrong", () => {
    expect(matcherFault("service")).toContain("label=value");
    expect(matcherFault("service=~(")).toContain("regular expression");
    expect(matcherFault("service=~pay.*")).toBeNull();
  });
});
