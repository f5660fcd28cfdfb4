/** Incidents and alerts that wait for somebody. */
import type { UseQueryResult } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { CircleCheck } from "lucide-react";
import type { ReactNode } from "react";
import { useUrl } from "@/app/url";
import type { Alert, Incident, Page } from "@/features/services/api";
import { formatAgo, formatTime, useZone } from "@/lib/time";
import { Card } from "@/ui/Card";
import { Segmented } from "@/ui/Field";
import { Badge, Sign } from "@/ui/Severity";
import { Empty, Remote } from "@/ui/States";
import { isWorse, rankOf } from "./health";

export type Order = "worst" | "newest";

/** The order both lists are in: `order` of the URL. */
export function useOrder(): [Order, (order: Order) => void] {
  const { search, set } = useUrl();
  const order = search.order === "newest" ? "newest" : "worst";
  return [order, (next) => set({ order: next === "worst" ? undefined : next }, { replace: true })];
}

const INCIDENTS = 5;
const ALERTS = 8;

export function OpenNow({
  incidents,
  alerts,
  openAlerts,
}: {
  incidents: UseQueryResult<Page<Incident>, Error>;
  alerts: UseQueryResult<Page<Alert>, Error>;
  /** How many alerts are open in all. */
  openAlerts: number;
}) {
  const [order, setOrder] = useOrder();
  return (
    <Card
      title="Open now"
      padded={false}
      actions={
        <Segmented
          label="Order"
          value={order}
          onChange={setOrder}
          options={[
            { value: "worst", label: "Worst" },
            { value: "newest", label: "Newest" },
          ]}
        />
      }
    >
      <Group
        title="Incidents"
        to="/incidents"
        count={incidents.data?.items.length}
        more={Boolean(incidents.data?.next)}
      >
        <Remote
          of={incidents}
          empty={{ when: ({ items }) => items.length === 0, show: <Calm>No incident is open</Calm> }}
        >
          {({ items }) => (
            <ul>
              {ordered(items, order, (item) => ({ severity: item.severity, last_seen: item.started_at }))
                .slice(0, INCIDENTS)
                .map((incident) => (
                  <Row
                    key={incident.id}
                    severity={incident.severity}
                    link={
                      <Link
                        to="/incidents/$id"
                        params={{ id: incident.id }}
                        className="truncate hover:text-accent hover:underline"
                        title={incident.title}
                      >
                        <span className="tnum text-muted">#{incident.number}</span> {incident.title}
                      </Link>
                    }
                    under={`${count(incident.alert_count, "alert")} · ${incident.owner ?? "no owner"}`}
                    at={incident.started_at}
                    badge={incident.status === "ACKNOWLEDGED" ? <Badge tone="info">taken</Badge> : null}
                  />
                ))}
            </ul>
          )}
        </Remote>
      </Group>
      <Group title="Alerts" to="/alerts" count={openAlerts}>
        <Remote of={alerts} empty={{ when: ({ items }) => items.length === 0, show: <Calm>No alert is open</Calm> }}>
          {({ items }) => (
            <ul>
              {ordered(items, order, (item) => ({ severity: item.severity, last_seen: item.raised_at }))
                .slice(0, ALERTS)
                .map((alert) => (
                  <Row
                    key={alert.id}
                    severity={alert.severity}
                    link={
                      <Link
                        to="/alerts/$id"
                        params={{ id: alert.id }}
                        className="truncate hover:text-accent hover:underline"
                        title={alert.summary}
                      >
                        {alert.title}
                      </Link>
                    }
                    under={alert.service ?? String((alert.entity as { value?: unknown }).value ?? "")}
                    at={alert.raised_at}
                    badge={alert.count > 1 ? <Badge title="findings so far">×{alert.count}</Badge> : null}
                  />
                ))}
            </ul>
          )}
        </Remote>
      </Group>
    </Card>
  );
}

function ordered<T>(items: T[], order: Order, of: (item: T) => { severity: string; last_seen: string }): T[] {
  return [...items].sort((a, b) => {
    const [first, second] = [of(a), of(b)];
    if (order === "newest") return second.last_seen.localeCompare(first.last_seen);
    return isWorse(first, second)
      ? -1
      : rankOf(first.severity) === rankOf(second.severity) && first.last_seen === second.last_seen
        ? 0
        : 1;
  });
}

function Group({
  title,
  to,
  count: found,
  more,
  children,
}: {
  title: string;
  to: "/incidents" | "/alerts";
  count?: number;
  more?: boolean;
  children: ReactNode;
}) {
  return (
    <section aria-label={`${title} that are open`} className="not-first:border-t not-first:border-line">
      <div className="flex items-baseline gap-2 px-3 pt-2 pb-1">
        <h3 className="text-xs font-medium text-muted">
          {title}
          {found === undefined ? "" : ` · ${found}${more ? "+" : ""}`}
        </h3>
        <Link to={to} className="ml-auto text-xs text-accent hover:underline">
          All {title.toLowerCase()}
        </Link>
      </div>
      {children}
    </section>
  );
}

function Row({
  severity,
  link,
  under,
  at,
  badge,
}: {
  severity: string;
  link: ReactNode;
  under: string;
  at: string;
  badge: ReactNode;
}) {
  const zone = useZone((state) => state.zone);
  return (
    <li className="flex min-w-0 items-start gap-2 px-3 py-1 hover:bg-hover">
      <Sign of={severity} size={14} className="mt-0.5" />
      <div className="flex min-w-0 flex-1 flex-col text-sm">
        {link}
        <span className="truncate text-xs text-muted">{under}</span>
      </div>
      {badge}
      <time dateTime={at} title={formatTime(at, zone)} className="tnum mt-0.5 shrink-0 text-xs text-faint">
        {formatAgo(at)}
      </time>
    </li>
  );
}

function Calm({ children }: { children: string }) {
  return <Empty icon={CircleCheck} title={children} className="py-4" />;
}

function count(n: number, word: string): string {
  return `${n} ${word}${n === 1 ? "" : "s"}`;
}
