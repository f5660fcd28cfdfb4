import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { sizeExpression } from "./sizeExpression";

const folder = resolve(import.meta.dirname, "../../../../node_modules/echarts-gl/lib/effect");

describe("sizes of effects", () => {
  it("are read without being run", () => {
    expect(sizeExpression("width * 1.0 / 4")(800, 600, 2)).toBe(200);
    expect(sizeExpression(" [width * dpr / 2, height] ")(800, 600, 2)).toEqual([800, 600]);
  });
  it.each(["", "width *", "alert(1)", "width + 1", "width height", "[width,]"])(
    "of another form are refused: %s",
    (text) => expect(() => sizeExpression(text)).toThrow("not a size"),
  );
  it("covers every size that the library writes", () => {
    let count = 0;
    for (const file of ["composite.js", "compositeMobile.js"])
      for (const [, text] of readFileSync(resolve(folder, file), "utf8").matchAll(/["']expr\((.*?)\)["']/g)) {
        expect(sizeExpression(text ?? "")(640, 480, 1)).toBeDefined();
        count += 1;
      }
    expect(count).toBeGreaterThan(20);
  });
});
