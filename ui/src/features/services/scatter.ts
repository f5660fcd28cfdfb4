/** Points of time, latency and error rate: one for each service and bucket; and what clusters of them are. */
import { type Answer, columnIndex } from "@/api/query";
import { dbscan, NOISE, normalise } from "./dbscan";
import { at, num } from "./series";

export interface ScatterPoint {
  service: string;
  at: number;
  /** p95 of the bucket, ms. */
  latency: number;
  errorRate: number;
  records: number;
}

/** Points drawn at most: the latest. */
export const POINTS_MAX = 4000;

/** Joins durations, records and errors by service and bucket. Buckets without durations have no point. */
export function pointsOf(latency: Answer, records: Answer, errors: Answer): ScatterPoint[] {
  const counted = counts(records);
  const wrong = counts(errors);
  const [service, time, value] = ["service", "timestamp", "p95"].map((name) => columnIndex(latency, name));
  return latency.rows
    .flatMap((row): ScatterPoint[] => {
      const name = row[service ?? -1];
      const start = row[time ?? -1];
      const p95 = row[value ?? -1];
      if (typeof name !== "string" || typeof start !== "string" || typeof p95 !== "number" || p95 <= 0) return [];
      const key = `${start} ${name}`;
      const all = counted.get(key) ?? 0;
      return [
        {
          service: name,
          at: at(start),
          latency: p95,
          errorRate: all > 0 ? (wrong.get(key) ?? 0) / all : 0,
          records: all,
        },
      ];
    })
    .sort((a, b) => b.at - a.at || a.service.localeCompare(b.service))
    .slice(0, POINTS_MAX);
}

function counts(answer: Answer): Map<string, number> {
  const [service, time, n] = ["service", "timestamp", "n"].map((name) => columnIndex(answer, name));
  return new Map(answer.rows.map((row) => [`${row[time ?? -1]} ${row[service ?? -1]}`, num(row[n ?? -1])]));
}

/** Cluster of each point. Latency counts by its logarithm: twice as slow is as far at 2 ms as at 2 s. */
export function clusterOf(points: readonly ScatterPoint[], eps: number, minPts: number, byTime: boolean): number[] {
  const axes = points.map(({ at: time, latency, errorRate }) => [
    Math.log10(latency),
    errorRate,
    ...(byTime ? [time] : []),
  ]);
  return dbscan(normalise(axes), eps, minPts);
}

export interface Cluster {
  /** Its number, or `NOISE`. */
  label: number;
  points: number;
  /** Services by number of points, most first. */
  services: [service: string, points: number][];
  from: number;
  to: number;
  medianLatency: number;
  meanErrorRate: number;
}

/** Clusters by number, noise last. */
export function describeClusters(points: readonly ScatterPoint[], labels: readonly number[]): Cluster[] {
  const members = new Map<number, ScatterPoint[]>();
  points.forEach((point, index) => {
    const label = labels[index] ?? NOISE;
    const found = members.get(label);
    if (found) found.push(point);
    else members.set(label, [point]);
  });
  return [...members]
    .map(([label, found]): Cluster => {
      const services = new Map<string, number>();
      for (const { service } of found) services.set(service, (services.get(service) ?? 0) + 1);
      const latencies = found.map((point) => point.latency).sort((a, b) => a - b);
      return {
        label,
        points: found.length,
        services: [...services].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0])),
        from: Math.min(...found.map((point) => point.at)),
        to: Math.max(...found.map((point) => point.at)),
        medianLatency: latencies[Math.floor((latencies.length - 1) / 2)] ?? 0,
        meanErrorRate: found.reduce((sum, point) => sum + point.errorRate, 0) / found.length,
      };
    })
    .sort((a, b) => (a.label === NOISE ? 1 : b.label === NOISE ? -1 : a.label - b.label));
}
