import { describe, expect, it } from "vitest";
import { placesOf } from "./layout";

const names = ["edge", "shop", "db", "cache", "queue", "mail"];
const edges = [
  { source: "edge", target: "shop" },
  { source: "shop", target: "db" },
  { source: "shop", target: "cache" },
  { source: "queue", target: "mail" },
  { source: "shop", target: "gone" },
];
const far = (a?: { x: number; y: number }, b?: { x: number; y: number }): number =>
  Math.hypot((a?.x ?? 0) - (b?.x ?? 0), (a?.y ?? 0) - (b?.y ?? 0));

describe("places on the map", () => {
  it("are the same every time, whatever the order", () => {
    expect(placesOf([...names].reverse(), [...edges].reverse()).get("shop")).toEqual(
      placesOf(names, edges).get("shop"),
    );
  });
  it("keep services apart, and those that call each other nearer than others", () => {
    const places = placesOf(names, edges);
    for (const a of names)
      for (const b of names) if (a < b) expect(far(places.get(a), places.get(b))).toBeGreaterThan(0.1);
    expect(far(places.get("queue"), places.get("mail"))).toBeLessThan(far(places.get("edge"), places.get("mail")));
  });
  it("stay for known services when another comes", () => {
    const before = placesOf(names, edges);
    const after = placesOf([...names, "new"], [...edges, { source: "db", target: "new" }], before);
    for (const name of names) expect(after.get(name)).toEqual(before.get(name));
    expect(after.get("new")).toBeDefined();
  });
});
