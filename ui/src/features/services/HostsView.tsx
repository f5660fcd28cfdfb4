/** Hosts and how full they are. */
import { Link } from "@tanstack/react-router";
import { Server } from "lucide-react";
import { useMemo, useState } from "react";
import { useAnswer } from "@/api/query";
import { useRange } from "@/app/url";
import { formatUnit } from "@/lib/format";
import { bucketOf, formatAgo, formatTime, useZone } from "@/lib/time";
import { Badge, lookOf, Sign } from "@/ui/Severity";
import { Empty, Remote } from "@/ui/States";
import { Table } from "@/ui/Table";
import { Sparkline } from "@/viz/Sparkline";
import { refreshOf } from "./api";
import { FULL, fullness, type Host, hostsOf } from "./hosts";
import { ServiceLink } from "./ServiceLink";

type Key = "full" | "host" | "cpu" | "memory" | "disk";

export function HostsView({ text }: { text: string }) {
  const { range } = useRange();
  const refreshMs = refreshOf(range);
  const bucket = useMemo(() => bucketOf(range, 12), [range]);
  const samples = useAnswer(
    {
      query: `dataset:metrics name:(cpu_usage OR memory_usage OR disk_usage) | eval h = coalesce(host, labels.host) | stats last(value) as v, max(timestamp) as seen by h, service, name, bin(${bucket.span})`,
      ...range,
      limit: 50_000,
    },
    { refreshMs },
  );
  const heartbeats = useAnswer(
    {
      query: "dataset:metrics name:agent.heartbeat | eval h = coalesce(host, labels.host) | stats count() as n by h",
      ...range,
      limit: 10_000,
    },
    { refreshMs },
  );
  const hosts = useMemo(
    () => (samples.data ? hostsOf(samples.data, heartbeats.data) : []),
    [samples.data, heartbeats.data],
  );
  return (
    <Remote
      of={samples}
      empty={{
        when: () => hosts.length === 0,
        show: (
          <Empty
            icon={Server}
            title="No host has sent samples in this range"
            action={
              <Link
                to="/"
                search={{ guide: "1", way: "agent" } as never}
                className="text-sm text-accent hover:underline"
              >
                How to start the agent
              </Link>
            }
          >
            <code className="font-mono text-xs">heimdall agent</code> on a host measures CPU, memory, disk and
            processes, and follows its logs.
          </Empty>
        ),
      }}
    >
      {() => <Hosts hosts={hosts.filter((host) => matches(host, text))} />}
    </Remote>
  );
}

function matches(host: Host, text: string): boolean {
  const wanted = text.trim().toLowerCase();
  return !wanted || [host.host, ...host.services].some((name) => name.toLowerCase().includes(wanted));
}

function Hosts({ hosts }: { hosts: Host[] }) {
  const zone = useZone((state) => state.zone);
  const [sort, setSort] = useState<Key>("full");
  const [active, setActive] = useState<string | null>(null);
  // They come the fullest first.
  const rows =
    sort === "full"
      ? hosts
      : [...hosts].sort((a, b) => (sort === "host" ? a.host.localeCompare(b.host) : (b[sort] ?? -1) - (a[sort] ?? -1)));
  const by = (key: Key) => ({
    sort: sort === key ? (key === "host" ? ("asc" as const) : ("desc" as const)) : null,
    onSort: () => setSort(sort === key ? "full" : key),
  });
  const measure = (key: keyof typeof FULL, header: string) => ({
    id: key,
    header,
    width: "minmax(8rem,1fr)",
    cell: (host: Host) => <Meter measure={key} name={header} value={host[key]} />,
    ...by(key),
  });
  return (
    <Table
      label="Hosts"
      rows={rows}
      keyOf={(host) => host.host}
      active={active}
      onActive={(host) => setActive(host.host)}
      columns={[
        {
          id: "host",
          header: "Host",
          width: "minmax(12rem,1.4fr)",
          cell: (host) => (
            <span className="flex items-center gap-2">
              <span className="truncate font-medium" title={host.host}>
                {host.host}
              </span>
              {host.agent ? <Badge tone="accent">agent</Badge> : null}
            </span>
          ),
          ...by("host"),
        },
        {
          id: "services",
          header: "Services",
          width: "minmax(10rem,1.2fr)",
          cell: (host) => (
            <span title={host.services.join(", ")}>
              <ServiceLink service={host.services[0]} />
              {host.services.length > 1 ? (
                <span className="text-muted"> and {host.services.length - 1} more</span>
              ) : null}
            </span>
          ),
        },
        measure("cpu", "CPU"),
        measure("memory", "Memory"),
        measure("disk", "Disk"),
        {
          id: "line",
          header: "CPU over the range",
          width: "8rem",
          from: "md",
          cell: (host) => <Sparkline values={host.cpuLine} label={`CPU of ${host.host} over the range`} />,
        },
        {
          id: "seen",
          header: "Last sample",
          width: "6rem",
          align: "right",
          from: "md",
          cell: (host) => <span title={formatTime(host.lastSeen, zone)}>{formatAgo(host.lastSeen)}</span>,
        },
      ]}
    />
  );
}

/** A bar with its limit marked, its number, and a sign when it is over. */
function Meter({ measure, name, value }: { measure: keyof typeof FULL; name: string; value: number | null }) {
  if (value === null) return <span className="text-faint">–</span>;
  const state = fullness(measure, value);
  return (
    <span className="flex items-center gap-2">
      <span aria-hidden className="relative h-1.5 w-16 shrink-0 rounded bg-hover">
        <span
          className="absolute inset-y-0 left-0 rounded"
          style={{
            width: `${Math.min(100, Math.max(0, value))}%`,
            background: `var(${state === "NORMAL" ? "--accent" : lookOf(state).token})`,
          }}
        />
        <span aria-hidden className="absolute -inset-y-0.5 w-px bg-line-strong" style={{ left: `${FULL[measure]}%` }} />
      </span>
      <span className="tnum">
        <span className="sr-only">{name} </span>
        {formatUnit(value, "percent")}
      </span>
      {state === "NORMAL" ? null : <Sign of={state} size={13} />}
    </span>
  );
}
