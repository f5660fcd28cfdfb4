import { describe, expect, it } from "vitest";
import { type Inline, parseInline, parseMarkdown, safeHref } from "./markdown";

/** A line as text with marks: `*em*`, `**strong**`, `[name](href)`. */
function shown(parts: Inline[]): string {
  return parts
    .map((part) => {
      switch (part.kind) {
        case "text":
          return part.text;
        case "code":
          return `<code ${part.text}>`;
        case "link":
          return `<link ${part.href} ${shown(part.children)}>`;
        default:
          return `<${part.kind} ${shown(part.children)}>`;
      }
    })
    .join("");
}

describe("markdown", () => {
  it.each([
    ["a **b** c", "a <strong b> c"],
    ["*a* and _b_ but snake_case_name", "<em a> and <em b> but snake_case_name"],
    ["`x * y` ~~gone~~", "<code x * y> <del gone>"],
    ["[docs](/explore?q=a)", "<link /explore?q=a docs>"],
    ["see https://example.org/a.", "see <link https://example.org/a. https://example.org/a.>"],
    ["[x](javascript:alert)", "[x](javascript:alert)"],
    ["<b>not HTML</b>", "<b>not HTML</b>"],
    ["2 * 3 * 4", "2 * 3 * 4"],
  ])("%s", (text, result) => expect(shown(parseInline(text))).toBe(result));

  it.each([
    ["https://a.b", "https://a.b"],
    ["/alerts", "/alerts"],
    ["//evil.example", null],
    ["/\\evil.example", null],
    [" javascript:alert(1)", null],
    ["data:text/html,x", null],
    ["mailto:a@b.c", "mailto:a@b.c"],
  ])("link %s", (href, safe) => expect(safeHref(href)).toBe(safe));

  it("reads blocks", () => {
    const kinds = parseMarkdown(
      "# Title\n\nwords\nmore\n\n- a\n- b\n  - c\n\n1. x\n\n> q\n\n```\ncode *x*\n```\n\n---\n\n| a | b |\n|---|:-:|\n| 1 | 2 |",
    ).map((block) => block.kind);
    expect(kinds).toEqual(["heading", "paragraph", "list", "list", "quote", "code", "rule", "table"]);
  });

  it("nests lists and keeps the cells of rows that are short", () => {
    const [list] = parseMarkdown("- a\n  - b\n  - c\n- d");
    expect(list).toMatchObject({
      kind: "list",
      items: [[{ kind: "paragraph" }, { kind: "list" }], [{ kind: "paragraph" }]],
    });
    expect(parseMarkdown("a|b\n-|-\n1|")[0]).toMatchObject({ kind: "table", rows: [[[{ text: "1" }], []]] });
  });

  it("ends, whatever it is given", () => {
    expect(parseMarkdown(`${">".repeat(500)}x`).length).toBe(1);
    expect(parseMarkdown("```\nnever closed")[0]).toMatchObject({ kind: "code", text: "never closed" });
    expect(parseInline("*".repeat(2000)).length).toBeGreaterThan(0);
    expect(parseMarkdown("")).toEqual([]);
  });
});
