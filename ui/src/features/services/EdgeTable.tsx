import { useState } from "react";
import { formatMs, formatNumber, formatShare } from "@/lib/format";
import { Table } from "@/ui/Table";
import type { MapEdge } from "./api";
import { correlationLook } from "./mapOption";
import { ServiceLink } from "./ServiceLink";

type Key = "requests" | "errors" | "p95" | "correlation";

const VALUES: Record<Key, (edge: MapEdge) => number> = {
  requests: (edge) => edge.requests,
  errors: (edge) => edge.errors / Math.max(1, edge.requests),
  p95: (edge) => edge.p95_ms ?? -1,
  correlation: (edge) => edge.error_correlation ?? -2,
};

/** Who calls whom, as rows: what the map and the flow show, for every reader. */
export function EdgeTable({ edges, label, className }: { edges: MapEdge[]; label: string; className?: string }) {
  const [sort, setSort] = useState<Key>("requests");
  const [active, setActive] = useState<string | null>(null);
  const rows = [...edges].sort((a, b) => VALUES[sort](b) - VALUES[sort](a));
  const by = (key: Key) => ({ sort: sort === key ? ("desc" as const) : null, onSort: () => setSort(key) });
  return (
    <Table
      label={label}
      className={className}
      rows={rows}
      keyOf={(edge) => JSON.stringify([edge.source, edge.target])}
      active={active}
      onActive={(edge) => setActive(JSON.stringify([edge.source, edge.target]))}
      columns={[
        {
          id: "source",
          header: "From",
          width: "minmax(9rem,1.4fr)",
          cell: (edge) => <ServiceLink service={edge.source} />,
        },
        {
          id: "target",
          header: "To",
          width: "minmax(9rem,1.4fr)",
          cell: (edge) => <ServiceLink service={edge.target} />,
        },
        {
          id: "requests",
          header: "Requests",
          align: "right",
          width: "minmax(5.5rem,.7fr)",
          cell: (edge) => formatNumber(edge.requests),
          ...by("requests"),
        },
        {
          id: "errors",
          header: "Errors",
          align: "right",
          width: "minmax(5rem,.7fr)",
          cell: (edge) => formatShare(edge.errors / Math.max(1, edge.requests)),
          ...by("errors"),
        },
        {
          id: "p95",
          header: "p95",
          align: "right",
          width: "minmax(5rem,.7fr)",
          cell: (edge) => (edge.p95_ms === null ? "–" : formatMs(edge.p95_ms)),
          ...by("p95"),
        },
        {
          id: "correlation",
          header: "Error correlation",
          width: "minmax(13rem,1.6fr)",
          ...by("correlation"),
          cell: (edge) => (
            <span>
              <span className="tnum">{edge.error_correlation === null ? "–" : edge.error_correlation.toFixed(2)}</span>{" "}
              <span className="text-muted">{correlationLook(edge.error_correlation).words}</span>
            </span>
          ),
        },
      ]}
    />
  );
}
