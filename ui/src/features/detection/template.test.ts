import { describe, expect, it } from "vitest";
import { asOwn } from "./template";

describe("asOwn", () => {
  it("gives a built-in rule an id of one's own and leaves the rest", () => {
    expect(asOwn("id: web.scan\ntitle: id: x\n", "web.scan")).toBe("id: own.web.scan\ntitle: id: x\n");
  });
  it("finds the id where it is not first", () => {
    expect(asOwn("title: A\nid: a\nwhen: x\n", "a")).toBe("title: A\nid: own.a\nwhen: x\n");
  });
  it("does not give an own rule its own id again", () => {
    expect(asOwn("id: own.a\n", "own.a")).toBe("id: own.a-2\n");
  });
});
