/** The graph of an incident: its alerts, and the services and entities they are about. Pure. */
import type { AlertRow, Severity } from "../alerts/model";

export interface Node {
  id: string;
  name: string;
  kind: "service" | "entity" | "alert";
  /** What kind of entity: `host`, `source_ip`. */
  of?: string;
  severity: Severity;
  /** Alerts about it. */
  count: number;
}

export interface Edge {
  source: string;
  target: string;
  count: number;
}

export interface Graph {
  nodes: Node[];
  edges: Edge[];
  /** Nodes left out, so that the picture can be read. */
  dropped: number;
}

export const NODES_MAX = 80;

const RANK: Record<Severity, number> = { CRITICAL: 3, WARNING: 2, NORMAL: 1 };

/** Rules, services and entities as nodes; an edge for each pair an alert joins, as strong as there are such alerts. */
export function graphOf(alerts: readonly AlertRow[]): Graph {
  const nodes = new Map<string, Node>();
  const edges = new Map<string, Edge>();
  const node = (id: string, made: Omit<Node, "id" | "count" | "severity">, severity: Severity): string => {
    const known = nodes.get(id);
    if (known) {
      known.count += 1;
      if (RANK[severity] > RANK[known.severity]) known.severity = severity;
    } else nodes.set(id, { id, ...made, severity, count: 1 });
    return id;
  };
  const edge = (source: string, target: string): void => {
    const key = `${source}\n${target}`;
    const known = edges.get(key);
    if (known) known.count += 1;
    else edges.set(key, { source, target, count: 1 });
  };
  for (const alert of alerts) {
    const rule = node(
      `rule ${alert.rule}`,
      { name: alert.detector === "external" ? alert.rule : alert.title, kind: "alert", of: alert.rule },
      alert.severity,
    );
    const service = alert.service
      ? node(`service ${alert.service}`, { name: alert.service, kind: "service" }, alert.severity)
      : null;
    const own = alert.entity.kind === "service" && alert.entity.value === alert.service;
    const entity = own
      ? null
      : node(
          `${alert.entity.kind} ${alert.entity.value}`,
          {
            name: alert.entity.value,
            kind: alert.entity.kind === "service" ? "service" : "entity",
            of: alert.entity.kind,
          },
          alert.severity,
        );
    if (entity) edge(rule, entity);
    if (entity && service) edge(entity, service);
    if (!entity && service) edge(rule, service);
  }
  const order = { service: 0, entity: 1, alert: 2 };
  const all = [...nodes.values()].sort(
    (a, b) => RANK[b.severity] - RANK[a.severity] || b.count - a.count || order[a.kind] - order[b.kind],
  );
  const kept = all.slice(0, NODES_MAX);
  const ids = new Set(kept.map((each) => each.id));
  return {
    nodes: kept,
    edges: [...edges.values()].filter((each) => ids.has(each.source) && ids.has(each.target)),
    dropped: all.length - kept.length,
  };
}
