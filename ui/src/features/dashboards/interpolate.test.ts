import { describe, expect, it } from "vitest";
import { type Chosen, type Context, interpolate, interpolateText, readChosen, writeChosen } from "./interpolate";

const some = (...values: string[]): Chosen => ({ all: false, values });
const ALL: Chosen = { all: true, values: [] };

function context(variables: Record<string, Chosen>): Context {
  return {
    variables,
    bucket: { span: "5m", ms: 300_000 },
    range: { from: Date.parse("2026-02-09T20:00:00Z"), to: Date.parse("2026-02-09T21:00:00Z") },
  };
}

const search = (query: string, variables: Record<string, Chosen>): string =>
  interpolate(query, "search", context(variables)).query;
const sql = (query: string, variables: Record<string, Chosen>): string =>
  interpolate(query, "sql", context(variables)).query;

describe("variables in a search line", () => {
  it.each([
    ["service:$s", some("CART-API"), "service:CART-API"],
    ["service:$s", some("EDGE LB"), 'service:"EDGE LB"'],
    ["service:$s", some("a", "b c"), 'service:(a OR "b c")'],
    ["service:($s)", some("a", "b"), "service:(a OR b)"],
    ["service:$s x", ALL, "* x"],
    ["service:($s) x", ALL, "* x"],
    [`service:\${s}-x`, some("a"), "service:a-x"],
    ["-http.route=$s", ALL, "-*"],
    ["status>=$s", some("500"), "status>=500"],
    ['"user $s failed"', some('a "b"'), '"user a \\"b\\" failed"'],
    // Nothing that is chosen becomes a piece of the query.
    ["service:$s", some("a OR b"), 'service:"a OR b"'],
    ["service:$s", some('x" OR service:"y'), 'service:"x\\" OR service:\\"y"'],
    ["service:$s", some("x\\"), 'service:"x\\\\"'],
    ["service:$s", some("-x"), 'service:"-x"'],
    ["service:$s", some("*"), 'service:"*"'],
    ["service:$s", some("OR"), 'service:"OR"'],
    ["service:$s", some("a | limit 1"), 'service:"a | limit 1"'],
    [`by \${s:raw}`, some("http.route"), "by http.route"],
    [`by \${s:raw}`, some("a", "b"), "by a, b"],
  ])("%s with %j", (query, chosen, result) => expect(search(query, { s: chosen })).toBe(result));

  it("leaves other names and words alone", () => {
    expect(search('replace(m, "(a)", "$1") $sx $ 5$', { s: some("v") })).toBe('replace(m, "(a)", "$1") $sx $ 5$');
    expect(search("myservice:$s service:$s", { s: ALL, myservice: ALL })).toBe("* *");
  });

  it("knows the bucket and the range", () => {
    expect(search("| timechart $__bucket count()", {})).toBe("| timechart 5m count()");
    expect(search("timestamp>=$__from", {})).toBe("timestamp>=2026-02-09T20:00:00.000Z");
  });

  it("says what cannot stand where it stands", () => {
    expect(interpolate('"$s"', "search", context({ s: some("a", "b") })).mistakes).toHaveLength(1);
    expect(interpolate(`by \${s:raw}`, "search", context({ s: some("a | b") }))).toMatchObject({
      query: "by ",
      mistakes: [expect.any(String)],
    });
    expect(interpolate("x:$s", "search", context({ s: some() })).mistakes).toHaveLength(1);
  });
});

describe("variables in SQL", () => {
  it.each([
    ["service = $s", some("a'b"), "service = 'a''b'"],
    ["service in ($s)", some("a", "b"), "service in ('a', 'b')"],
    ["x and service in ($s) and y", ALL, "x and true and y"],
    ['l."service" IN ( $s )', ALL, "true"],
    ["service = $s", ALL, "true"],
    ["service like '%$s%'", some("a'b"), "service like '%a''b%'"],
    ["'it''s' = $s", some("a"), "'it''s' = 'a'"],
    ["service = $s", some("' or 1=1 --"), "service = ''' or 1=1 --'"],
    [`\${s:raw}`, some("region"), "region"],
  ])("%s with %j", (query, chosen, result) => expect(sql(query, { s: chosen })).toBe(result));

  it("knows the bucket and the range", () => {
    expect(sql("date_bin($__bucket, timestamp)", {})).toBe("date_bin(interval '300 seconds', timestamp)");
    expect(sql("t > $__from", {})).toBe("t > timestamp '2026-02-09T20:00:00.000Z'");
  });
});

describe("variables elsewhere", () => {
  it("are read in titles as they are", () => {
    expect(interpolateText(`p95 of $s within \${ms} ms, $1`, context({ s: some("a b", "c"), ms: some("200") }))).toBe(
      "p95 of a b, c within 200 ms, $1",
    );
    expect(interpolateText("$s", context({ s: ALL }))).toBe("all");
  });

  it.each([
    [some("a"), true],
    [some("a,b", "c\\d", "e"), true],
    [some("*"), true],
    [ALL, true],
    [some("a,b"), false],
  ])("are in the URL as %j", (chosen, multi) => expect(readChosen(writeChosen(chosen), multi)).toEqual(chosen));

  it("are read from a URL that somebody wrote", () => {
    expect(readChosen("a,b", true)).toEqual(some("a", "b"));
    expect(readChosen("*", false)).toEqual(some("*"));
    expect(readChosen("", true)).toEqual(some());
  });
});
