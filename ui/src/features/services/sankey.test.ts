import { describe, expect, it } from "vitest";
import { breakCycles, type Flow } from "./sankey";

const flow = (source: string, target: string, requests: number): Flow => ({ source, target, requests });

describe("request volume without circles", () => {
  it("keeps what has none", () => {
    const flows = breakCycles([flow("edge", "shop", 10), flow("shop", "db", 7), flow("edge", "db", 1)]);
    expect(flows.links).toHaveLength(3);
    expect(flows.left_out).toEqual([]);
    expect(flows.nodes).toEqual(["db", "edge", "shop"]);
  });
  it("leaves out the weakest edge of a circle", () => {
    const flows = breakCycles([flow("c", "a", 1), flow("a", "b", 9), flow("b", "c", 5)]);
    expect(flows.links.map(({ source, target }) => source + target)).toEqual(["ab", "bc"]);
    expect(flows.left_out).toEqual([flow("c", "a", 1)]);
  });
  it("leaves out calls to itself, both ways and empty edges", () => {
    const flows = breakCycles([flow("a", "a", 99), flow("a", "b", 3), flow("b", "a", 4), flow("a", "c", 0)]);
    expect(flows.links).toEqual([flow("b", "a", 4)]);
    expect(flows.left_out).toEqual([flow("a", "a", 99), flow("a", "b", 3)]);
  });
  it("adds up edges named twice", () => {
    expect(breakCycles([flow("a", "b", 3), flow("a", "b", 4)]).links).toEqual([flow("a", "b", 7)]);
  });
});
