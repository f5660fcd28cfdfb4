import { expect, it } from "vitest";
import type { AlertDetail } from "../model";
import { decided, timelineOf } from "./timeline";

const alert = {
  detector: "auth",
  count: 3,
  first_seen: "2026-03-01T10:00:00Z",
  last_seen: "2026-03-01T10:30:00Z",
  history: [
    { at: "2026-03-01T10:00:01Z", from: null, to: "OPEN", by: "heimdall", note: null },
    { at: "2026-03-01T10:10:00Z", from: "OPEN", to: "ACKNOWLEDGED", by: "ann", note: "on it" },
  ],
  comments: [{ at: "2026-03-01T10:20:00Z", by: "ann", text: "the scanner" }],
  feedback: { verdict: "false_positive", by: "ann", at: "2026-03-01T10:40:00Z", note: null },
} as unknown as AlertDetail;

it("puts all that happened in one order, newest first", () => {
  const decision = { receiver: "chat", outcome: "waiting", detail: "until 10:05", delivery: null };
  const events = timelineOf(alert, [
    { ...decision, at: "2026-03-01T10:00:02Z" },
    { ...decision, at: "2026-03-01T10:00:03Z" },
    { ...decision, at: "2026-03-01T10:05:00Z", outcome: "sent" },
  ]);
  expect(events.map((event) => event.text)).toEqual([
    "False positive",
    "Seen again, 3 times in all",
    "the scanner",
    "OPEN → ACKNOWLEDGED",
    "chat: told",
    "chat: will be told",
    "OPEN",
    "First seen",
  ]);
  expect(events.find((event) => event.kind === "untold")?.at).toBe("2026-03-01T10:00:03Z");
});

it("says decisions in words, unknown ones too", () => {
  expect(decided({ at: "", receiver: null, outcome: "no_route", detail: "", delivery: null })).toBe(
    "Not told: no receiver is configured for it",
  );
  expect(decided({ at: "", receiver: "chat", outcome: "later", detail: "", delivery: null })).toBe("chat: later");
});
