import { describe, expect, it } from "vitest";
import { parseInline, parseReport } from "./report";

describe("a post-mortem", () => {
  it("is read into blocks", () => {
    const blocks = parseReport(
      "# Incident 14: X\n\n| | |\n|---|---:|\n| Status | OPEN |\n| a \\| b | `id` |\n\n## Impact\n\nOne alert\nwith findings.\n\n- first\n- second\n\n1. one\n\n```\ncode <b>\n```\n",
    );
    expect(blocks.map((block) => block.kind)).toEqual([
      "heading",
      "table",
      "heading",
      "paragraph",
      "list",
      "list",
      "code",
    ]);
    expect(blocks[1]).toMatchObject({
      right: [false, true],
      rows: [
        [[{ text: "Status" }], [{ text: "OPEN" }]],
        [[{ text: "a | b" }], [{ kind: "code" }]],
      ],
    });
    expect(blocks[3]).toEqual({ kind: "paragraph", text: [{ kind: "text", text: "One alert with findings." }] });
    expect(blocks[4]).toMatchObject({ ordered: false });
    expect(blocks[5]).toMatchObject({ ordered: true });
  });

  it("keeps HTML and dangerous links as the text they are", () => {
    expect(parseInline('<img src=x onerror="alert(1)">')).toEqual([
      { kind: "text", text: '<img src=x onerror="alert(1)">' },
    ]);
    expect(parseInline("[x](javascript:alert(1))").every((part) => part.kind === "text")).toBe(true);
    expect(parseInline("[x](//evil.example)").every((part) => part.kind === "text")).toBe(true);
    expect(parseInline("[x](https://example.org/a) y")).toEqual([
      { kind: "link", text: "x", href: "https://example.org/a" },
      { kind: "text", text: " y" },
    ]);
  });

  it("takes escapes away", () => {
    expect(parseInline("latency\\_mean\\_ms **b\\*c**")).toEqual([
      { kind: "text", text: "latency_mean_ms " },
      { kind: "strong", text: "b*c" },
    ]);
  });

  it("ends, whatever it is given", () => {
    for (const text of ["|", "|x", "# ", "- ", "```", "|a|\n|b|", "1.", "\\"])
      expect(parseReport(text).length).toBeGreaterThan(0);
  });
});
