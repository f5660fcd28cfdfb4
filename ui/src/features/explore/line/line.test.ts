import { describe, expect, it } from "vitest";
import { condition, conjuncts, withCondition, withoutCondition, writeName, writeValue } from "./filters";
import { aboutRecords, columnsOf, orderOf, recordsLine, shapeOf, topLine } from "./shape";
import { parts, tokenize } from "./tokens";

const kinds = (line: string): string =>
  tokenize(line)
    .map((token) => `${token.kind}(${token.text})`)
    .join(" ");

describe("tokens of a search line", () => {
  it.each([
    ["service:payment", "field(service) operator(:) word(payment)"],
    ['level>=error "connection refused"', 'field(level) operator(>=) word(error) string("connection refused")'],
    ["-region:eu* !probe", "not(-) field(region) operator(:) wildcard(eu*) not(!) word(probe)"],
    ["/user \\d+ failed/i /var/log/syslog", "regex(/user \\d+ failed/i) word(/var/log/syslog)"],
    ["path:/login x:/curl|wget/i", "field(path) operator(:) word(/login) field(x) operator(:) regex(/curl|wget/i)"],
    ["a || b && NOT c", "word(a) keyword(||) word(b) keyword(&&) keyword(NOT) word(c)"],
    [
      "| stats count() as n by bin(5m)",
      "pipe(|) command(stats) function(count) bracket(() bracket()) keyword(as) field(n) keyword(by) function(bin) bracket(() number(5m) bracket())",
    ],
    ['"half', 'string("half)'],
    ["odd\\ name:1", "field(odd\\ name) operator(:) number(1)"],
    ["timestamp>now-15m", "field(timestamp) operator(>) word(now-15m)"],
  ])("%s", (line, expected) => expect(kinds(line)).toBe(expected));

  it("covers every character that is no space, whatever the text", () => {
    for (const line of ["((", "a:b:c|", '\\"x" |||', "é service:(a OR", "- ! | |", "<*> {1 TO 5}"]) {
      const covered = tokenize(line).reduce((sum, token) => sum + token.text.replace(/\s/g, "").length, 0);
      expect(covered).toBe(line.replace(/\s/g, "").length);
    }
  });

  it("splits at pipes, not at those in quotes, patterns or a join", () => {
    const found = parts('a "x|y" | where /p|q/ | join (level:fatal | stats count() by host) on host | limit 5');
    expect(found.conditions).toBe('a "x|y"');
    expect(found.stages.map((stage) => stage.name)).toEqual(["where", "join", "limit"]);
  });
});

describe("conditions", () => {
  it.each([
    ["payment", "payment"],
    ["Payment Gateway", '"Payment Gateway"'],
    ["OR", '"OR"'],
    ["10.0.0.0/8", '"10.0.0.0/8"'],
    ['say "hi" \\ now', '"say \\"hi\\" \\\\ now"'],
    ["eu*", '"eu*"'],
    ["-5", '"-5"'],
    ["2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00.5Z"],
    ["", '""'],
  ])("writes the value %j as %s", (value, text) => expect(writeValue(value)).toBe(text));

  it("writes names, types and absence", () => {
    expect(writeName("odd name")).toBe("odd\\ name");
    expect(writeName("1st")).toBe("\\1st");
    expect(condition("http.status", 503)).toBe("http.status:503");
    expect(condition("message", "a b")).toBe('message="a b"');
    expect(condition("user", null)).toBe("-exists:user");
    expect(condition("ok", true)).toBe("ok:true");
  });

  it("finds the conditions that must all hold", () => {
    const texts = (line: string): string[] => conjuncts(line).map((one) => one.text);
    expect(texts('a AND b:(c OR d) -e:"f g" NOT h (i OR j)')).toEqual([
      "a",
      "b:(c OR d)",
      '-e:"f g"',
      "NOT h",
      "(i OR j)",
    ]);
    expect(texts("a OR b")).toEqual([]);
    expect(texts("duration_ms:[1 TO 5] x")).toHaveLength(2);
  });

  it("adds one, once, and takes out its contrary", () => {
    expect(withCondition("", "level:error")).toBe("level:error");
    expect(withCondition("*", "level:error")).toBe("level:error");
    expect(withCondition("timeout | stats count()", "level:error")).toBe("timeout level:error | stats count()");
    expect(withCondition("level:error timeout", "level:error")).toBe("level:error timeout");
    expect(withCondition("timeout -level:error", "level:error")).toBe("timeout level:error");
    expect(withCondition("level:error x", "-level:error")).toBe("x -level:error");
    expect(withCondition("a OR b", "level:error")).toBe("(a OR b) level:error");
  });

  it("adds one about a computed field behind what computes it", () => {
    expect(withCondition("x | parse as json | stats count()", "status:503", true)).toBe(
      "x | parse as json | where status:503 | stats count()",
    );
    expect(withCondition("x | eval a = 1", "a:1", true)).toBe("x | eval a = 1 | where a:1");
  });

  it("takes one out", () => {
    expect(withoutCondition('a "b c" | limit 5', '"b c"')).toBe("a | limit 5");
  });
});

describe("what a line answers with", () => {
  it.each([
    ["", "stream"],
    ["a | where b>1 | fields c", "stream"],
    ["a | eval x = 1 | sort timestamp", "stream"],
    ["a | sort -duration_ms", "list"],
    ["a | limit 5", "list"],
    ["a | context 20", "list"],
    ["a | stats count() by b", "table"],
    ["a | patterns", "table"],
    ["a | join (b | stats count() by c) on c", "list"],
  ])("%s: %s", (line, shape) => expect(shapeOf(line)).toBe(shape));

  it("makes other lines about the same records", () => {
    expect(recordsLine("a | where b>1 | fields c, d")).toBe("a | where b>1");
    expect(recordsLine("a", "oldest")).toBe("a | sort timestamp");
    expect(aboutRecords("a | where b>1 | stats count() | sort -count", "patterns 50")).toBe(
      "a | where b>1 | patterns 50",
    );
    expect(topLine("a | fields b", "odd name", 5)).toBe("a | top 5 odd\\ name");
    expect(columnsOf("a | fields timestamp, http.status")).toEqual(["timestamp", "http.status"]);
    expect(columnsOf("a | fields - attributes")).toBeNull();
    expect(orderOf("a | sort timestamp")).toBe("oldest");
    expect(orderOf("a | sort -timestamp")).toBe("newest");
    expect(orderOf("a | sort -count")).toBeNull();
  });
});
