/** Anomalies by day and hour of the reader's zone. */
import { type Answer, columnIndex } from "@/api/query";
import { at, num } from "@/features/services/series";
import { formatTime } from "@/lib/time";

export interface Hour {
  /** Place of the day in `days`, and the hour, 0 to 23. */
  day: number;
  hour: number;
  /** Highest anomaly score of its alerts, 0 to 1. */
  score: number;
  alerts: number;
  critical: number;
  /** First and last millisecond it stands for. */
  from: number;
  to: number;
}

export interface Calendar {
  /** `2026-02-09`, newest first. */
  days: string[];
  hours: Hour[];
}

const DAY_MS = 86_400_000;

/** Quarters of hours, because zones differ from UTC by those. */
export const CALENDAR_SQL = `select date_bin(interval '15 minutes', raised_at) as quarter, count(*) as alerts,
  max(score) as score, sum(case when severity = 'CRITICAL' then 1 else 0 end) as critical
from alerts group by 1 order by 1`;

/** The days up to now in a zone, newest first. */
export function daysUntil(now: number, count: number, zone: string): string[] {
  const days: string[] = [];
  // Steps of half a day never leave one out, whatever the clocks do.
  for (let time = now; days.length < count; time -= DAY_MS / 2) {
    const day = formatTime(time, zone, "day");
    if (days.at(-1) !== day) days.push(day);
  }
  return days;
}

/** Hours that had alerts. An hour the clocks repeat is one. */
export function calendarOf(answer: Answer, now: number, count: number, zone: string): Calendar {
  const days = daysUntil(now, count, zone);
  const place = new Map(days.map((day, index) => [day, index]));
  const [quarter, alerts, score, critical] = ["quarter", "alerts", "score", "critical"].map((name) =>
    columnIndex(answer, name),
  );
  const hours = new Map<string, Hour>();
  for (const row of answer.rows) {
    const start = at(row[quarter ?? -1]);
    if (Number.isNaN(start)) continue;
    const text = formatTime(start, zone, "minute");
    const day = place.get(text.slice(0, 10));
    if (day === undefined) continue;
    const hour = Number(text.slice(11, 13));
    const began = start - Number(text.slice(14, 16)) * 60_000;
    const key = `${day} ${hour}`;
    const found = hours.get(key) ?? { day, hour, score: 0, alerts: 0, critical: 0, from: began, to: began + 3_600_000 };
    found.score = Math.max(found.score, num(row[score ?? -1]));
    found.alerts += num(row[alerts ?? -1]);
    found.critical += num(row[critical ?? -1]);
    found.from = Math.min(found.from, began);
    found.to = Math.max(found.to, began + 3_600_000);
    hours.set(key, found);
  }
  return { days, hours: [...hours.values()].sort((a, b) => a.day - b.day || a.hour - b.hour) };
}
