/** Every service with its figures, worst first. */
import { useNavigate } from "@tanstack/react-router";
import { Boxes } from "lucide-react";
import { useMemo, useState } from "react";
import { useRange, useUrl } from "@/app/url";
import { formatMs, formatNumber, formatShare, formatShort } from "@/lib/format";
import { formatAgo, formatTime, resolveRange, useZone } from "@/lib/time";
import { lookOf, Sign } from "@/ui/Severity";
import { Empty, Partial, Remote } from "@/ui/States";
import { Table } from "@/ui/Table";
import { Sparkline } from "@/viz/Sparkline";
import { type Service, useServices, useSparks } from "./api";
import { ServiceLink } from "./ServiceLink";
import { byName, wholeBuckets } from "./series";
import { type SortKey, sorted } from "./sort";

export function ServiceList({ text }: { text: string }) {
  const { range } = useRange();
  const services = useServices(range);
  const wanted = text.trim().toLowerCase();
  return (
    <Remote
      of={services}
      empty={{
        when: ({ items }) => items.length === 0,
        show: (
          <Empty icon={Boxes} title="No service wrote anything in this range">
            Choose a longer range, or add a source on the overview.
          </Empty>
        ),
      }}
    >
      {({ items, warnings }) => (
        <div className="flex min-h-0 flex-1 flex-col">
          <Partial warnings={warnings ?? []} />
          <Rows
            services={items.filter(
              ({ service, hosts, versions }) =>
                !wanted || [service, ...hosts, ...versions].some((name) => name.toLowerCase().includes(wanted)),
            )}
          />
        </div>
      )}
    </Remote>
  );
}

function Rows({ services }: { services: Service[] }) {
  const { range } = useRange();
  const { search, set } = useUrl();
  const navigate = useNavigate();
  const zone = useZone((state) => state.zone);
  const [active, setActive] = useState<string | null>(null);
  const { records, bucket } = useSparks(range);
  const lines = useMemo(() => {
    if (!records.data) return null;
    const { from, to } = resolveRange(range);
    return byName(records.data, { name: "service", time: "timestamp", value: "n" }, wholeBuckets(from, to, bucket.ms));
  }, [records.data, range, bucket.ms]);
  const key = (search.sort ?? "state") as SortKey;
  const rows = useMemo(() => sorted(services, key), [services, key]);
  const by = (of: SortKey) => ({
    sort: key === of ? (of === "service" ? ("asc" as const) : ("desc" as const)) : null,
    onSort: () => set({ sort: of === "state" ? undefined : of }, { replace: true }),
  });
  if (rows.length === 0) return <Empty icon={Boxes} title="No service fits" />;
  return (
    <Table
      label="Services"
      rows={rows}
      rowHeight={40}
      keyOf={(row) => row.service}
      active={active}
      onActive={(row) => setActive(row.service)}
      onOpen={(row) => void navigate({ to: "/services/$service", params: { service: row.service } })}
      columns={[
        {
          id: "service",
          header: "Service",
          width: "minmax(12rem,1.3fr)",
          cell: (row) => (
            <span className="flex items-center gap-2">
              <Sign of={row.state} />
              <ServiceLink service={row.service} />
            </span>
          ),
          ...by("service"),
        },
        {
          id: "why",
          header: "Why",
          width: "minmax(12rem,1.8fr)",
          cell: (row) => <Why service={row} />,
          ...by("state"),
        },
        {
          id: "rate",
          header: "Requests/s",
          align: "right",
          width: "6rem",
          cell: (row) => formatShort(Number(row.requests_per_second.toPrecision(3))),
          ...by("rate"),
        },
        {
          id: "errors",
          header: "Errors",
          align: "right",
          width: "5rem",
          cell: (row) => (row.error_rate === null ? "–" : formatShare(row.error_rate)),
          ...by("errors"),
        },
        {
          id: "p95",
          header: "p95",
          align: "right",
          width: "5rem",
          cell: (row) => (row.p95_ms === null ? "–" : formatMs(row.p95_ms)),
          ...by("p95"),
        },
        {
          id: "alerts",
          header: "Alerts",
          align: "right",
          width: "4.5rem",
          cell: (row) =>
            row.open_alerts > 0 ? (
              <span className={lookOf(row.worst_severity).text}>{formatNumber(row.open_alerts)}</span>
            ) : (
              <span className="text-faint">0</span>
            ),
          ...by("alerts"),
        },
        {
          id: "line",
          header: "Records",
          width: "7.5rem",
          from: "sm",
          cell: (row) => (
            <Sparkline
              values={lines?.get(row.service) ?? []}
              label={`Records of ${row.service} over the range`}
              tone={row.state === "NORMAL" ? "--accent" : lookOf(row.state).token}
            />
          ),
        },
        {
          id: "hosts",
          header: "Hosts",
          align: "right",
          width: "4rem",
          from: "md",
          cell: (row) => <span title={row.hosts.join(", ")}>{row.hosts.length || "–"}</span>,
        },
        {
          id: "versions",
          header: "Versions",
          width: "7rem",
          from: "lg",
          cell: (row) => <span title={row.versions.join(", ")}>{row.versions.join(", ") || "–"}</span>,
        },
        {
          id: "seen",
          header: "Last record",
          align: "right",
          width: "6rem",
          from: "lg",
          cell: (row) => <span title={formatTime(row.last_seen, zone)}>{formatAgo(row.last_seen)}</span>,
        },
      ]}
    />
  );
}

function Why({ service }: { service: Service }) {
  const [first, ...others] = service.why;
  if (!first) return <span className="text-faint">As usual</span>;
  return (
    <span title={service.why.map(({ text }) => text).join("\n")}>
      {first.text}
      {others.length > 0 ? <span className="text-muted"> and {others.length} more</span> : null}
    </span>
  );
}
