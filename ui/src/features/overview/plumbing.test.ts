import { describe, expect, it } from "vitest";
import { doorsOf, type Receipt, storeFacts } from "./plumbing";

const receipt = (door: string, accepted: number, time: string, rejected: Receipt["rejected"] = []): Receipt =>
  ({ door, accepted, time, rejected, rejected_total: rejected.length, deduplicated: 0 }) as unknown as Receipt;

describe("receipts", () => {
  it("are added up by door, and the newest refusal is told", () => {
    const doors = doorsOf([
      receipt("http", 10, "2026-01-01T00:00:02Z", [{ field: "ip", index: 1, reason: "is not an IP address" }]),
      receipt("agent", 30, "2026-01-01T00:00:03Z"),
      receipt("http", 5, "2026-01-01T00:00:01Z", [{ field: "message", reason: "too long" }]),
    ]);
    expect(doors).toEqual({
      receipts: 3,
      accepted: 45,
      rejected: 2,
      repeated: 0,
      doors: [
        ["agent", 30],
        ["http", 15],
      ],
      refusal: { reason: "is not an IP address", field: "ip", time: "2026-01-01T00:00:02Z" },
    });
  });
});

describe("the store", () => {
  it("tells what the server says, and nothing else", () => {
    expect(storeFacts({ segments: 3, segment_bytes: 7, damaged: ["x"], templates: "many" })).toMatchObject({
      segments: 3,
      bytes: 7,
      damaged: 1,
      templates: null,
      rows: null,
    });
  });
});
