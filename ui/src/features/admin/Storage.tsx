/** Where the data is: tiers, retention, the disk and what guards it; segments on demand; erasing for a data subject. */
import { useQuery } from "@tanstack/react-query";
import { Eraser } from "lucide-react";
import { useState } from "react";
import { client, type Schemas, unwrap } from "@/api/client";
import { usePages } from "@/api/pages";
import { useCan } from "@/app/whoami";
import { formatBytes, formatNumber, formatShort } from "@/lib/format";
import { formatTime, useZone } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Card, Stat } from "@/ui/Card";
import { Badge } from "@/ui/Severity";
import { Failed, Partial, Remote, Skeleton } from "@/ui/States";
import { Table } from "@/ui/Table";
import { Erase } from "./Erase";

export type StorageSummary = Schemas["StorageSummary"];
type Totals = Schemas["SegmentTotals"];

export function Storage() {
  const can = useCan("admin");
  const [erasing, setErasing] = useState(false);
  const summary = useQuery({
    queryKey: ["storage", "summary"],
    queryFn: ({ signal }) => unwrap(client.GET("/api/v1/storage/summary", { signal })),
    refetchInterval: 15_000,
  });
  return (
    <div className="p-3">
      <Remote of={summary} loading={<Skeleton rows={8} />}>
        {(data) => (
          <div className="flex flex-col gap-3">
            <Partial warnings={troubles(data)} />
            <div className="grid gap-3 lg:grid-cols-2">
              <Disk guard={data.guard} />
              <Card title="Tiers" padded={false}>
                <Totalled label="Tiers" rows={data.tiers.map((tier) => ({ name: tier.tier, ...tier }))} />
              </Card>
              <Card title="Datasets" padded={false}>
                <Totalled
                  label="Datasets"
                  rows={data.datasets.map((dataset) => ({ name: dataset.dataset, ...dataset, rows: dataset.records }))}
                />
              </Card>
              <Card title="Retention" hint="the first that fits a record holds" padded={false}>
                <Policies policies={data.policies} />
              </Card>
              <Card title="Log records by class">
                {data.classes.problem ? <p className="text-sm text-warning">{data.classes.problem}</p> : null}
                <ul className="flex flex-col gap-1 text-sm">
                  {data.classes.items.map((one) => (
                    <li key={one.classification ?? ""} className="flex justify-between">
                      <span>{one.classification ?? <span className="text-muted">none</span>}</span>
                      <span className="tnum">{formatNumber(one.records)}</span>
                    </li>
                  ))}
                </ul>
              </Card>
              {data.server ? <Server server={data.server} /> : null}
            </div>
            <Card
              title="Segments"
              padded={false}
              actions={
                <Button
                  size="sm"
                  kind="danger"
                  icon={Eraser}
                  disabled={!can}
                  title={can ? "Erase the records of a data subject" : "Needs the scope admin"}
                  onClick={() => setErasing(true)}
                >
                  Erase records
                </Button>
              }
            >
              <Segments />
            </Card>
          </div>
        )}
      </Remote>
      {erasing ? <Erase onClose={() => setErasing(false)} /> : null}
    </div>
  );
}

/** What a person should know about storage, in sentences. */
export function troubles(data: StorageSummary): string[] {
  const found: string[] = [];
  if (data.guard.state === "refusing") found.push("the disk is too full: records are refused until there is room");
  if (data.guard.state === "shedding") found.push("the disk fills: old segments leave the folder earlier than planned");
  if (data.server?.damaged_segments)
    found.push(
      `${data.server.damaged_segments} damaged segments are set aside: heimdall storage verify names file and byte`,
    );
  if (data.server?.cold_trouble) found.push(`segments cannot be moved to the cold tier: ${data.server.cold_trouble}`);
  return found;
}

function Disk({ guard }: { guard: StorageSummary["guard"] }) {
  const tone = guard.state === "ok" ? "ok" : guard.state === "refusing" ? "critical" : "warning";
  return (
    <Card title="Disk" actions={<Badge tone={tone}>{guard.state}</Badge>}>
      {guard.disk ? (
        <>
          <div className="grid grid-cols-3 gap-4">
            <Stat
              label="Free"
              value={formatBytes(guard.disk.free_bytes)}
              hint={`of ${formatBytes(guard.disk.total_bytes)}`}
            />
            <Stat
              label="Sheds below"
              value={guard.disk.shed_below_bytes > 0 ? formatBytes(guard.disk.shed_below_bytes) : "never"}
              hint="old segments leave"
            />
            <Stat label="Refuses below" value={formatBytes(guard.disk.refuse_below_bytes)} hint="503, Retry-After" />
          </div>
          <meter
            aria-label="Disk in use"
            className="mt-3 h-2 w-full"
            min={0}
            max={guard.disk.total_bytes}
            high={guard.disk.total_bytes * 0.85}
            value={guard.disk.total_bytes - guard.disk.free_bytes}
          />
        </>
      ) : (
        <p className="text-sm text-muted">The disk cannot be asked.</p>
      )}
      <p className="mt-2 text-xs text-muted">
        {guard.retention_bytes
          ? `The oldest segments are dropped above ${formatBytes(guard.retention_bytes)}. `
          : "No limit on the size of segments. "}
        {guard.local_bytes_max
          ? `Above ${formatBytes(guard.local_bytes_max)} in the folder the oldest go to the cold tier.`
          : ""}
      </p>
    </Card>
  );
}

function Totalled({ label, rows }: { label: string; rows: (Totals & { name: string })[] }) {
  const zone = useZone((state) => state.zone);
  return (
    <table className="w-full text-sm">
      <caption className="sr-only">{label}</caption>
      <thead className="text-left text-xs text-muted">
        <tr className="border-b border-line">
          <th className="px-3 py-1.5 font-medium">Name</th>
          <th className="px-3 py-1.5 text-right font-medium">Records</th>
          <th className="px-3 py-1.5 text-right font-medium">Segments</th>
          <th className="px-3 py-1.5 text-right font-medium">Bytes</th>
          <th className="px-3 py-1.5 font-medium max-sm:hidden">From</th>
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={row.name} className="border-b border-line/60 last:border-0">
            <td className="px-3 py-1.5">{row.name}</td>
            <td className="tnum px-3 py-1.5 text-right" title={formatNumber(row.rows)}>
              {formatShort(row.rows)}
            </td>
            <td className="tnum px-3 py-1.5 text-right">{formatNumber(row.segments)}</td>
            <td className="tnum px-3 py-1.5 text-right">{formatBytes(row.bytes)}</td>
            <td className="tnum px-3 py-1.5 text-muted max-sm:hidden">{formatTime(row.oldest, zone, "minute")}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Policies({ policies }: { policies: StorageSummary["policies"] }) {
  return (
    <table className="w-full text-sm">
      <caption className="sr-only">Retention policies</caption>
      <thead className="text-left text-xs text-muted">
        <tr className="border-b border-line">
          <th className="px-3 py-1.5 font-medium">For</th>
          <th className="px-3 py-1.5 font-medium">Kept</th>
          <th className="px-3 py-1.5 font-medium">Cold after</th>
        </tr>
      </thead>
      <tbody>
        {policies.map((policy) => {
          const parts = [
            policy.tenant && `tenant ${policy.tenant}`,
            policy.dataset,
            policy.classification,
            policy.retention_policy,
          ].filter(Boolean);
          const name = policy.default ? "everything else" : parts.join(", ");
          return (
            <tr key={name} className="border-b border-line/60 last:border-0">
              <td className="px-3 py-1.5">{name}</td>
              <td className="px-3 py-1.5">{policy.keep ?? "for ever"}</td>
              <td className="px-3 py-1.5">{policy.cold_after ?? "never"}</td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

function Server({ server }: { server: NonNullable<StorageSummary["server"]> }) {
  return (
    <Card title="Whole server">
      <div className="grid grid-cols-2 gap-4 sm:grid-cols-3">
        <Stat
          label="Records in segments"
          value={formatShort(server.rows)}
          hint={`${formatNumber(server.segments)} ${server.segments === 1 ? "segment" : "segments"}`}
        />
        <Stat
          label="On disk"
          value={formatBytes(server.bytes)}
          hint={server.rows > 0 ? `${(server.bytes / server.rows).toFixed(1)} B a record` : undefined}
        />
        <Stat label="In memory" value={formatShort(server.memory_rows)} hint={formatBytes(server.memory_bytes)} />
        <Stat label="Journal" value={formatBytes(server.journal_bytes)} />
        <Stat label="Tenants" value={formatNumber(server.tenants)} />
        <Stat
          label="Damaged"
          value={formatNumber(server.damaged_segments)}
          tone={server.damaged_segments > 0 ? "critical" : undefined}
        />
      </div>
    </Card>
  );
}

interface Segment {
  id: number;
  name: string;
  dataset: string;
  tier: string;
  level: number;
  rows: number;
  bytes: number;
  sidecar_bytes: number;
  min: string;
  max: string;
}

function Segments() {
  const zone = useZone((state) => state.zone);
  const { query, items, more } = usePages<Segment>("/api/v1/storage", { limit: 500 }, { refreshMs: 30_000 });
  if (query.isPending) return <Skeleton />;
  if (query.isError && items.length === 0) return <Failed error={query.error} onRetry={() => void query.refetch()} />;
  if (items.length === 0)
    return (
      <p className="p-3 text-sm text-muted">
        No segments: everything is in memory and in the journal; the first segment is written within a minute.
      </p>
    );
  return (
    <div className="flex max-h-96 flex-col" style={{ height: 34 + items.length * 32 }}>
      <Table<Segment>
        label="Segments"
        rows={items}
        keyOf={(segment) => String(segment.id)}
        onEnd={more}
        columns={[
          {
            id: "name",
            header: "File",
            width: "minmax(14rem,1.5fr)",
            cell: (segment) => (
              <code className="font-mono text-xs" title={segment.name}>
                {segment.name}
              </code>
            ),
          },
          { id: "tier", header: "Tier", width: "5rem", cell: (segment) => segment.tier },
          { id: "level", header: "Level", width: "4rem", align: "right", from: "md", cell: (segment) => segment.level },
          {
            id: "rows",
            header: "Records",
            width: "6rem",
            align: "right",
            cell: (segment) => formatShort(segment.rows),
          },
          {
            id: "bytes",
            header: "Bytes",
            width: "6.5rem",
            align: "right",
            from: "sm",
            cell: (segment) => formatBytes(segment.bytes),
          },
          {
            id: "sidecar",
            header: "Index",
            width: "6rem",
            align: "right",
            from: "md",
            cell: (segment) => formatBytes(segment.sidecar_bytes),
          },
          {
            id: "min",
            header: "From",
            width: "11.5rem",
            from: "sm",
            cell: (segment) => <span className="tnum text-muted">{formatTime(segment.min, zone, "second")}</span>,
          },
          {
            id: "max",
            header: "To",
            width: "11.5rem",
            from: "lg",
            cell: (segment) => <span className="tnum text-muted">{formatTime(segment.max, zone, "second")}</span>,
          },
        ]}
      />
    </div>
  );
}
