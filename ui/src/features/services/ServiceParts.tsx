/** Parts of a service's page: what is wrong with it, whom it depends on, what was deployed. */
import { Link } from "@tanstack/react-router";
import { CircleCheck, Rocket, Waypoints } from "lucide-react";
import type { ReactNode } from "react";
import { useRange } from "@/app/url";
import { formatMs, formatNumber, formatShare } from "@/lib/format";
import { formatAgo, formatTime, useZone } from "@/lib/time";
import { Card } from "@/ui/Card";
import { Badge, SeverityBadge, Sign } from "@/ui/Severity";
import { Empty, Remote } from "@/ui/States";
import {
  type Annotation,
  type MapEdge,
  type Service,
  useAlerts,
  useAnnotations,
  useServiceIncidents,
  useServiceMap,
} from "./api";
import { correlationLook } from "./mapOption";
import { ServiceLink } from "./ServiceLink";

/** Alerts and incidents of a service: those that are open first. */
export function Troubles({ service }: { service: string }) {
  const alerts = useAlerts({ service, limit: 50 });
  const incidents = useServiceIncidents(service);
  const isOpen = (status: string): boolean => status === "OPEN" || status === "ACKNOWLEDGED";
  return (
    <Card
      title="Alerts and incidents"
      padded={false}
      actions={
        <Link to="/alerts" search={{ service } as never} className="text-xs text-accent hover:underline">
          All alerts of it
        </Link>
      }
    >
      <Remote of={incidents} loading={null}>
        {({ items }) => (
          <ul>
            {items
              .filter((item) => isOpen(item.status))
              .slice(0, 3)
              .map((incident) => (
                <Row key={incident.id} severity={incident.severity} status={incident.status} at={incident.started_at}>
                  <Link
                    to="/incidents/$id"
                    params={{ id: incident.id }}
                    className="truncate hover:text-accent hover:underline"
                  >
                    <span className="text-muted">Incident #{incident.number}</span> {incident.title}
                  </Link>
                </Row>
              ))}
          </ul>
        )}
      </Remote>
      <Remote
        of={alerts}
        empty={{
          when: ({ items }) => items.length === 0,
          show: <Empty icon={CircleCheck} title="It never raised an alert" className="py-6" />,
        }}
      >
        {({ items }) => (
          <ul>
            {[...items]
              .sort((a, b) => Number(isOpen(b.status)) - Number(isOpen(a.status)))
              .slice(0, 10)
              .map((alert) => (
                <Row key={alert.id} severity={alert.severity} status={alert.status} at={alert.raised_at}>
                  <Link
                    to="/alerts/$id"
                    params={{ id: alert.id }}
                    className="truncate hover:text-accent hover:underline"
                    title={alert.summary}
                  >
                    {alert.title}
                    <span className="text-muted"> · {alert.summary}</span>
                  </Link>
                </Row>
              ))}
          </ul>
        )}
      </Remote>
    </Card>
  );
}

function Row({
  severity,
  status,
  at,
  children,
}: {
  severity: string;
  status: string;
  at: string;
  children: ReactNode;
}) {
  const zone = useZone((state) => state.zone);
  return (
    <li className="flex items-center gap-2 border-b border-line/60 px-3 py-1.5 text-sm hover:bg-hover">
      <Sign of={severity} />
      <span className="flex min-w-0 flex-1">{children}</span>
      <SeverityBadge of={status} />
      <time dateTime={at} title={formatTime(at, zone)} className="tnum w-8 shrink-0 text-right text-xs text-muted">
        {formatAgo(at)}
      </time>
    </li>
  );
}

/** Who calls it, and whom it calls. */
export function Dependencies({ service }: { service: string }) {
  const { range } = useRange();
  const map = useServiceMap(range);
  return (
    <Card
      title="Dependencies"
      padded={false}
      actions={
        <Link to="/services" search={{ view: "map" } as never} className="text-xs text-accent hover:underline">
          Map
        </Link>
      }
    >
      <Remote of={map}>
        {({ nodes, edges }) => {
          const states = new Map(nodes.map((node) => [node.service, node.state]));
          const up = edges.filter((edge) => edge.target === service && edge.source !== service);
          const down = edges.filter((edge) => edge.source === service && edge.target !== service);
          if (up.length + down.length === 0)
            return (
              <Empty icon={Waypoints} title="No dependency is known" className="py-6">
                Records with trace_id, span_id and parent_span_id tell who calls whom.
              </Empty>
            );
          return (
            <>
              <Side title="Called by" edges={up} of="source" states={states} />
              <Side title="Calls" edges={down} of="target" states={states} />
            </>
          );
        }}
      </Remote>
    </Card>
  );
}

function Side({
  title,
  edges,
  of,
  states,
}: {
  title: string;
  edges: MapEdge[];
  of: "source" | "target";
  states: Map<string, string>;
}) {
  return (
    <section aria-label={title}>
      <h3 className="px-3 pt-2 text-xs font-medium text-muted">
        {title} {edges.length === 0 ? "nobody" : edges.length}
      </h3>
      <ul>
        {edges.map((edge) => (
          <li key={edge[of]} className="flex items-center gap-2 px-3 py-1 text-sm hover:bg-hover">
            <Sign of={states.get(edge[of]) ?? "unknown"} size={13} />
            <span className="flex min-w-0 flex-1">
              <ServiceLink service={edge[of]} />
            </span>
            {edge.error_correlation !== null && edge.error_correlation >= 0.5 ? (
              <Badge tone="critical" title={`error correlation ${edge.error_correlation.toFixed(2)}`}>
                {correlationLook(edge.error_correlation).words}
              </Badge>
            ) : null}
            <span className="tnum shrink-0 text-right text-xs text-muted">
              {formatNumber(edge.requests)} · {formatShare(edge.errors / Math.max(1, edge.requests))} ·{" "}
              {edge.p95_ms === null ? "–" : formatMs(edge.p95_ms)}
            </span>
          </li>
        ))}
      </ul>
      {edges.length > 0 ? <p className="px-3 pb-1 text-2xs text-faint">requests · errors · p95</p> : null}
    </section>
  );
}

/** Versions that run, and what people noted about it. */
export function Deployments({ service, found }: { service: string; found: Service | undefined }) {
  const { range } = useRange();
  const zone = useZone((state) => state.zone);
  const notes = useAnnotations(range, service);
  return (
    <Card title="Versions and deployments" padded={false}>
      {found && found.versions.length > 0 ? (
        <p className="flex flex-wrap items-center gap-1 px-3 pt-2 text-sm">
          <span className="text-muted">Running</span>
          {found.versions.map((version) => (
            <Badge key={version} tone="accent">
              {version}
            </Badge>
          ))}
        </p>
      ) : null}
      <Remote
        of={notes}
        empty={{
          when: (items) => items.length === 0,
          show: (
            <Empty icon={Rocket} title="No deployment noted in this range" className="py-6">
              <code className="font-mono text-xs">POST /api/v1/annotations</code> from the pipeline marks one on every
              chart.
            </Empty>
          ),
        }}
      >
        {(items: Annotation[]) => (
          <ul className="py-1">
            {items.slice(0, 10).map((note) => (
              <li key={note.id} className="flex items-center gap-2 px-3 py-1 text-sm">
                <Badge tone={note.kind === "deployment" ? "accent" : note.kind === "incident" ? "critical" : "info"}>
                  {note.kind}
                </Badge>
                <span className="min-w-0 flex-1 truncate" title={note.text}>
                  {note.text}
                </span>
                <span className="text-xs text-muted">{note.by}</span>
                <time dateTime={note.at} title={formatTime(note.at, zone)} className="tnum shrink-0 text-xs text-muted">
                  {formatAgo(note.at)}
                </time>
              </li>
            ))}
          </ul>
        )}
      </Remote>
    </Card>
  );
}
