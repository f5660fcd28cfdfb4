import { describe, expect, it } from "vitest";
import type { Answer } from "@/api/query";
import { newTemplates, templatesOf } from "./templates";

const answer = (...rows: Answer["rows"]): Answer => ({
  columns: ["template_id", "template", "count", "first_seen", "last_seen", "services", "share"].map((name) => ({
    name,
    type: "any",
  })),
  rows,
  stats: {},
});

describe("templates", () => {
  it("are new when they were not there before, the newest first", () => {
    const now = templatesOf(
      answer(
        [1, "charged <*>", 90, "2026-01-01T00:00:00Z", "2026-01-01T00:59:00Z", 1, 0.9],
        [7, "refused by <*>", 9, "2026-01-01T00:40:00Z", "2026-01-01T00:59:00Z", 1, 0.09],
        [8, "pool is empty", 1, "2026-01-01T00:50:00Z", "2026-01-01T00:50:00Z", 1, 0.01],
      ),
    );
    const before = templatesOf(answer([1, "charged <*>", 70, null, null, 1, 1]));
    expect(newTemplates(now, before).map(({ id, count }) => [id, count])).toEqual([
      ["8", 1],
      ["7", 9],
    ]);
    expect(newTemplates(before, now)).toEqual([]);
  });
});
