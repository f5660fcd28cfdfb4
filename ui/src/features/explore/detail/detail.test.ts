import { describe, expect, it } from "vitest";
import { depthsOf, piecesOf } from "./template";

const marked = (message: string, template: string | null): string =>
  piecesOf(message, template)
    .map((piece) => (piece.isVariable ? `[${piece.text}]` : piece.text))
    .join("");

describe("what varies in a message", () => {
  it.each([
    ["GET session:ab12 hit in 247 us", "GET session:<*> hit in <*>", "GET session:[ab12] hit in [247 us]"],
    ["a 1", "<*> <*>", "[a] [1]"],
    ["Broken pipe\n  at x", "Broken pipe <*>", "Broken pipe\n  [at x]"],
    ["no template", null, "no template"],
    ["other text", "GET <*> in <*>", "other text"],
    ["same", "same", "same"],
    ["(a) $1 [b]", "(<*>) $<*> [b]", "([a]) $[1] [b]"],
  ])("%j by %j", (message, template, expected) => expect(marked(message, template)).toBe(expected));
});

describe("the depth of spans", () => {
  it("counts parents that are there", () => {
    const records = [
      { span: "c", parent: "b" },
      { span: "a", parent: "gone" },
      { span: "b", parent: "a" },
      { span: "", parent: "" },
    ];
    expect(depthsOf(records)).toEqual([2, 0, 1, 0]);
  });
  it("ends in a circle", () => {
    expect(
      depthsOf([
        { span: "a", parent: "b" },
        { span: "b", parent: "a" },
      ]),
    ).toHaveLength(2);
  });
});
