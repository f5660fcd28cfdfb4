/** Hosts, from samples of CPU, memory and disk: each the latest, and how it came to it. */
import { type Answer, columnIndex } from "@/api/query";
import { at } from "./series";

export interface Host {
  host: string;
  services: string[];
  cpu: number | null;
  memory: number | null;
  disk: number | null;
  /** CPU by bucket, oldest first. */
  cpuLine: number[];
  lastSeen: number;
  /** An agent says it is there. */
  agent: boolean;
}

/** Percent from which a host is full, by measure: from there on it waits for itself. */
export const FULL = { cpu: 70, memory: 80, disk: 85 } as const;
/** Percent from which it stands still soon. */
export const OVERFULL = 95;

const NAMES: Record<string, "cpu" | "memory" | "disk"> = {
  cpu_usage: "cpu",
  memory_usage: "memory",
  disk_usage: "disk",
};

/** How bad a measurement is. */
export function fullness(measure: keyof typeof FULL, value: number | null): "CRITICAL" | "WARNING" | "NORMAL" {
  if (value === null || value < FULL[measure]) return "NORMAL";
  return value >= OVERFULL ? "CRITICAL" : "WARNING";
}

interface Found {
  services: Set<string>;
  seen: number;
  /** Bucket and value of the latest, by measure. */
  last: Map<string, [number, number]>;
  cpu: Map<number, number>;
}

/** Rows of host, service, name, bucket and the last value in it, as hosts: the fullest first. */
export function hostsOf(samples: Answer, heartbeats: Answer | undefined): Host[] {
  const [host, service, name, time, value, seen] = ["h", "service", "name", "timestamp", "v", "seen"].map((column) =>
    columnIndex(samples, column),
  );
  const found = new Map<string, Found>();
  for (const row of samples.rows) {
    const key = row[host ?? -1];
    const metric = NAMES[String(row[name ?? -1])];
    const number = row[value ?? -1];
    const start = at(row[time ?? -1]);
    if (typeof key !== "string" || !metric || typeof number !== "number" || Number.isNaN(start)) continue;
    const entry = found.get(key) ?? { services: new Set(), seen: 0, last: new Map(), cpu: new Map() };
    found.set(key, entry);
    entry.seen = Math.max(entry.seen, at(row[seen ?? -1]) || start);
    const of = row[service ?? -1];
    if (typeof of === "string") entry.services.add(of);
    const before = entry.last.get(metric);
    // Several services of one host say the same of it: the highest of the latest bucket counts.
    if (!before || start > before[0] || (start === before[0] && number > before[1]))
      entry.last.set(metric, [start, number]);
    if (metric === "cpu") entry.cpu.set(start, Math.max(number, entry.cpu.get(start) ?? 0));
  }
  const beating = new Set(
    heartbeats?.rows.map((row) => row[columnIndex(heartbeats, "h")]).filter((cell) => typeof cell === "string") ?? [],
  );
  return [...found]
    .map(
      ([key, { services, seen: lastSeen, last, cpu }]): Host => ({
        host: key,
        services: [...services].filter((of) => of !== key).sort(),
        cpu: last.get("cpu")?.[1] ?? null,
        memory: last.get("memory")?.[1] ?? null,
        disk: last.get("disk")?.[1] ?? null,
        cpuLine: [...cpu].sort((a, b) => a[0] - b[0]).map(([, of]) => of),
        lastSeen,
        agent: beating.has(key),
      }),
    )
    .sort((a, b) => pressure(b) - pressure(a) || a.host.localeCompare(b.host));
}

/** How near a host is to its limits: the highest of its measures, each against its own. */
export function pressure({ cpu, memory, disk }: Pick<Host, "cpu" | "memory" | "disk">): number {
  return Math.max((cpu ?? 0) / FULL.cpu, (memory ?? 0) / FULL.memory, (disk ?? 0) / FULL.disk);
}
