/** Times: nanoseconds stay text or `bigint`; ranges are written as the server takes them (`now-15m` or RFC 3339).
 *
 * The zone of every time shown is the one the reader chose (`useZone`), and it is always named.
 */
import { create } from "zustand";
import { persist } from "zustand/middleware";

/** A range as it stands in the URL: `from` and `to` are RFC 3339 or relative to now. */
export interface TimeRange {
  from: string;
  to: string;
}

export const DEFAULT_RANGE: TimeRange = { from: "now-1h", to: "now" };

/** Ranges offered first. */
export const QUICK_RANGES: { label: string; range: TimeRange }[] = [
  { label: "5 minutes", range: { from: "now-5m", to: "now" } },
  { label: "15 minutes", range: { from: "now-15m", to: "now" } },
  { label: "1 hour", range: { from: "now-1h", to: "now" } },
  { label: "4 hours", range: { from: "now-4h", to: "now" } },
  { label: "24 hours", range: { from: "now-24h", to: "now" } },
  { label: "3 days", range: { from: "now-3d", to: "now" } },
  { label: "7 days", range: { from: "now-7d", to: "now" } },
  { label: "30 days", range: { from: "now-30d", to: "now" } },
];

const RELATIVE = /^now(?:-(\d+)(s|m|h|d|w))?$/;
const UNIT_MS: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** Milliseconds since the epoch of a range's end, or null when it is not a time. */
export function resolveTime(text: string, now: number): number | null {
  const relative = RELATIVE.exec(text.trim());
  if (relative) {
    const [, amount, unit] = relative;
    return now - (amount && unit ? Number(amount) * (UNIT_MS[unit] ?? 0) : 0);
  }
  const at = Date.parse(text);
  return Number.isNaN(at) ? null : at;
}

/** Both ends in milliseconds; an end that is no time falls back to the default range. */
export function resolveRange(range: TimeRange, now: number = Date.now()): { from: number; to: number } {
  const to = resolveTime(range.to, now) ?? now;
  const from = resolveTime(range.from, now) ?? to - 3_600_000;
  return from <= to ? { from, to } : { from: to, to: from };
}

/** Whether the range moves on with the clock. */
export function isRelative(range: TimeRange): boolean {
  return RELATIVE.test(range.to.trim());
}

/** `Last 4 hours`, or the two times. */
export function describeRange(range: TimeRange, zone: string): string {
  const quick = QUICK_RANGES.find((entry) => entry.range.from === range.from && entry.range.to === range.to);
  if (quick) return `Last ${quick.label}`;
  const relative = RELATIVE.exec(range.from);
  if (relative?.[1] && range.to === "now") return `Last ${relative[1]}${relative[2]}`;
  const { from, to } = resolveRange(range);
  return `${formatTime(from, zone, "minute")} – ${formatTime(to, zone, "minute")}`;
}

export type Precision = "day" | "minute" | "second" | "ms" | "clock" | "clock-ms";

const formatters = new Map<string, Intl.DateTimeFormat>();

function formatter(zone: string): Intl.DateTimeFormat {
  let found = formatters.get(zone);
  if (!found) {
    found = new Intl.DateTimeFormat("en-CA", {
      timeZone: zone === "local" ? undefined : zone,
      hourCycle: "h23",
      year: "numeric",
      month: "2-digit",
      day: "2-digit",
      hour: "2-digit",
      minute: "2-digit",
      second: "2-digit",
      fractionalSecondDigits: 3,
    });
    formatters.set(zone, found);
  }
  return found;
}

/** A time in a zone: ISO order, 24 hours. Takes RFC 3339 or milliseconds. */
export function formatTime(
  time: string | number | null | undefined,
  zone: string,
  precision: Precision = "second",
): string {
  if (time === null || time === undefined || time === "") return "–";
  const at = typeof time === "number" ? time : Date.parse(time);
  if (Number.isNaN(at)) return String(time);
  const parts = Object.fromEntries(
    formatter(zone)
      .formatToParts(at)
      .map((part) => [part.type, part.value]),
  );
  const day = `${parts.year}-${parts.month}-${parts.day}`;
  const minute = `${parts.hour}:${parts.minute}`;
  const second = `${minute}:${parts.second}`;
  switch (precision) {
    case "day":
      return day;
    case "minute":
      return `${day} ${minute}`;
    case "second":
      return `${day} ${second}`;
    case "ms":
      return `${day} ${second}.${parts.fractionalSecond}`;
    case "clock":
      return second;
    case "clock-ms":
      return `${second}.${parts.fractionalSecond}`;
  }
}

/** How long ago, in one unit: `5s`, `12m`, `3h`, `9d`. Future times are `in 5m`. */
export function formatAgo(time: string | number | null | undefined, now: number = Date.now()): string {
  if (time === null || time === undefined) return "–";
  const at = typeof time === "number" ? time : Date.parse(time);
  if (Number.isNaN(at)) return "–";
  const seconds = Math.round((now - at) / 1000);
  const size = Math.abs(seconds);
  const text =
    size < 60
      ? `${size}s`
      : size < 3600
        ? `${Math.floor(size / 60)}m`
        : size < 86_400
          ? `${Math.floor(size / 3600)}h`
          : `${Math.floor(size / 86_400)}d`;
  return seconds < 0 ? `in ${text}` : text;
}

/** Milliseconds of a range as RFC 3339, UTC. */
export function toRfc3339(ms: number): string {
  return new Date(ms).toISOString();
}

/** Width of a chart's buckets: the step of the ladder that gives at most `buckets` of them, as the search line writes it. */
export function bucketOf(range: TimeRange, buckets = 60): { span: string; ms: number } {
  const { from, to } = resolveRange(range);
  const ladder: [string, number][] = [
    ["1s", 1e3],
    ["5s", 5e3],
    ["10s", 1e4],
    ["30s", 3e4],
    ["1m", 6e4],
    ["5m", 3e5],
    ["10m", 6e5],
    ["30m", 18e5],
    ["1h", 36e5],
    ["3h", 108e5],
    ["6h", 216e5],
    ["12h", 432e5],
    ["1d", 864e5],
    ["7d", 6048e5],
  ];
  const wanted = (to - from) / buckets;
  const [span, ms] = ladder.find(([, step]) => step >= wanted) ?? ["7d", 6048e5];
  return { span, ms };
}

interface ZoneState {
  zone: string;
  setZone: (zone: string) => void;
}

/** The zone times are shown in: `local`, `UTC` or an IANA name; kept in the browser. */
export const useZone = create<ZoneState>()(
  persist((set) => ({ zone: "local", setZone: (zone) => set({ zone }) }), { name: "heimdall.zone" }),
);

/** The zone's name for people: `Europe/Berlin` where the choice is `local`. */
export function zoneName(zone: string): string {
  return zone === "local" ? Intl.DateTimeFormat().resolvedOptions().timeZone : zone;
}
