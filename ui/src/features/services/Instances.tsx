import { Server } from "lucide-react";
import { useMemo, useState } from "react";
import { columnIndex, useAnswer } from "@/api/query";
import { useRange } from "@/app/url";
import { formatMs, formatNumber, formatShare } from "@/lib/format";
import { formatAgo, formatTime, useZone } from "@/lib/time";
import { Card } from "@/ui/Card";
import { Empty, Remote } from "@/ui/States";
import { Table } from "@/ui/Table";
import { refreshOf } from "./api";
import { serviceIs } from "./line";
import { num } from "./series";

interface Instance {
  host: string;
  instance: string;
  region: string;
  records: number;
  errors: number;
  p95: number | null;
  last: string;
}

/** Where a service runs. */
export function Instances({ service }: { service: string }) {
  const { range } = useRange();
  const zone = useZone((state) => state.zone);
  const [active, setActive] = useState<string | null>(null);
  const refreshMs = refreshOf(range);
  const of = serviceIs(service);
  const all = useAnswer(
    {
      query: `${of} | stats count() as n, p95(duration_ms) as p95, max(timestamp) as last by host, instance, region | sort -n | limit 200`,
      ...range,
    },
    { refreshMs },
  );
  const wrong = useAnswer(
    { query: `${of} level>=error | stats count() as n by host, instance, region`, ...range },
    { refreshMs },
  );
  const rows = useMemo(() => {
    const key = (cells: unknown[]): string => JSON.stringify(cells.slice(0, 3));
    const errors = new Map(wrong.data?.rows.map((row) => [key(row), num(row[3])]) ?? []);
    return (
      all.data?.rows.map((row): Instance => {
        const cell = (name: string) => row[columnIndex(all.data, name)];
        const p95 = cell("p95");
        return {
          host: String(cell("host") ?? ""),
          instance: String(cell("instance") ?? ""),
          region: String(cell("region") ?? ""),
          records: num(cell("n")),
          errors: errors.get(key(row)) ?? 0,
          p95: typeof p95 === "number" ? p95 : null,
          last: String(cell("last") ?? ""),
        };
      }) ?? []
    );
  }, [all.data, wrong.data]);
  return (
    <Card title="Hosts and instances" hint={rows.length > 0 ? String(rows.length) : undefined} padded={false}>
      <Remote
        of={all}
        empty={{
          when: ({ rows: found }) => found.length === 0,
          show: <Empty icon={Server} title="No record in this range" className="py-6" />,
        }}
      >
        {() => (
          <Table
            label="Hosts and instances"
            className="max-h-72"
            rows={rows}
            keyOf={(row) => JSON.stringify([row.host, row.instance, row.region])}
            active={active}
            onActive={(row) => setActive(JSON.stringify([row.host, row.instance, row.region]))}
            columns={[
              {
                id: "host",
                header: "Host",
                width: "minmax(9rem,1.3fr)",
                cell: (row) => <span title={row.host}>{row.host || "–"}</span>,
              },
              { id: "instance", header: "Instance", width: "minmax(7rem,1fr)", cell: (row) => row.instance || "–" },
              {
                id: "records",
                header: "Records",
                align: "right",
                width: "5rem",
                cell: (row) => formatNumber(row.records),
              },
              {
                id: "errors",
                header: "Errors",
                align: "right",
                width: "4.5rem",
                cell: (row) => formatShare(row.errors / Math.max(1, row.records)),
              },
              {
                id: "p95",
                header: "p95",
                align: "right",
                width: "4.5rem",
                cell: (row) => (row.p95 === null ? "–" : formatMs(row.p95)),
              },
              {
                id: "last",
                header: "Last",
                align: "right",
                width: "3.5rem",
                cell: (row) => <span title={formatTime(row.last, zone)}>{formatAgo(row.last)}</span>,
              },
            ]}
          />
        )}
      </Remote>
    </Card>
  );
}
