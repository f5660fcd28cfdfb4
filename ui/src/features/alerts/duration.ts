/** Durations as people write them (`90m`, `2h 30m`, `1d`) and how long a suppression lasts. */

const UNIT_S: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };
/** Longest suppression or silence offered: a year. What should be quiet for longer is not worth an alert. */
export const DURATION_MAX_S = 365 * 86_400;

/** Seconds of a duration, or null when it is none, zero, or longer than a year. */
export function parseDuration(text: string): number | null {
  const compact = text.trim().toLowerCase().replace(/\s+/g, "");
  if (!/^(?:\d+(?:\.\d+)?[smhdw])+$/.test(compact)) return null;
  let seconds = 0;
  for (const [, amount, unit] of compact.matchAll(/(\d+(?:\.\d+)?)([smhdw])/g))
    seconds += Number(amount) * (UNIT_S[unit ?? ""] ?? 0);
  seconds = Math.round(seconds);
  return seconds > 0 && seconds <= DURATION_MAX_S ? seconds : null;
}

/** Seconds as the server takes them: one unit, exact. */
export function writeDuration(seconds: number): string {
  for (const unit of ["w", "d", "h", "m"]) {
    const size = UNIT_S[unit] ?? 1;
    if (seconds >= size && seconds % size === 0) return `${seconds / size}${unit}`;
  }
  return `${seconds}s`;
}

/** `2026-03-01T09:30` of a datetime-local box for a time, in the browser's zone. */
export function localInput(ms: number): string {
  const at = new Date(ms);
  const two = (value: number): string => String(value).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}T${two(at.getHours())}:${two(at.getMinutes())}`;
}

/** RFC 3339 of what a datetime-local box holds, or null when that is no time. */
export function localTime(text: string): string | null {
  if (!text) return null;
  const at = new Date(text).getTime();
  return Number.isNaN(at) ? null : new Date(at).toISOString();
}
