import type { Service } from "./api";

export type SortKey = "state" | "service" | "rate" | "errors" | "p95" | "alerts";

const RANK: Record<string, number> = { CRITICAL: 2, WARNING: 1, NORMAL: 0 };

const VALUES: Record<Exclude<SortKey, "service">, (service: Service) => number> = {
  state: (service) => RANK[service.state] ?? 0.5,
  rate: (service) => service.requests_per_second,
  errors: (service) => service.error_rate ?? -1,
  p95: (service) => service.p95_ms ?? -1,
  alerts: (service) => service.open_alerts,
};

/** Services by a figure, greatest first; equal ones by state, alerts, records and name. */
export function sorted(services: readonly Service[], key: SortKey): Service[] {
  return [...services].sort((a, b) => {
    const first = key === "service" ? 0 : (VALUES[key] ?? VALUES.state)(b) - (VALUES[key] ?? VALUES.state)(a);
    if (first !== 0) return first;
    if (key !== "service") {
      const rest = VALUES.state(b) - VALUES.state(a) || b.open_alerts - a.open_alerts || b.records - a.records;
      if (rest !== 0) return rest;
    }
    return a.service.localeCompare(b.service);
  });
}
