import { describe, expect, it } from "vitest";
import { budgetText, sharePrecise } from "./Slos";

describe("budgetText", () => {
  it("says what is left, and how far it is overspent", () => {
    expect(budgetText(0.4321)).toBe("43.2 %");
    expect(budgetText(0)).toBe("0 %");
    expect(budgetText(-1.1317)).toBe("none, 113.2 % over");
    expect(budgetText(null)).toBe("–");
  });
});

describe("sharePrecise", () => {
  it("keeps the digits an objective needs and no more", () => {
    expect(sharePrecise(0.9995)).toBe("99.95 %");
    expect(sharePrecise(1)).toBe("100 %");
  });
});
