import { useQuery } from "@tanstack/react-query";
import { DoorOpen } from "lucide-react";
import { client, requestJson, unwrap } from "@/api/client";
import { useUrl } from "@/app/url";
import { formatBytes, formatNumber } from "@/lib/format";
import { formatAgo, formatTime, useZone } from "@/lib/time";
import { Empty, Remote } from "@/ui/States";
import { Table } from "@/ui/Table";

/** What one program sent through one door. */
interface Shipper {
  door: string;
  shipper?: string;
  peer?: string;
  batches: number;
  accepted: number;
  deduplicated: number;
  rejected: number;
  quarantined: number;
  dropped: number;
  bytes: number;
  last_seen: string;
  last_reason?: string;
}

/** Where records come in, and who sends. */
export function Doors() {
  const zone = useZone((state) => state.zone);
  const { set } = useUrl();
  const doors = useQuery({
    queryKey: ["doors"],
    queryFn: ({ signal }) => unwrap(client.GET("/api/v1/doors", { signal })),
  });
  const shippers = useQuery({
    queryKey: ["receipts", "summary"],
    queryFn: ({ signal }) => requestJson<{ items: Shipper[] }>("/api/v1/receipts/summary", { signal }),
    refetchInterval: 10_000,
  });
  return (
    <div className="flex h-full min-h-0 flex-col gap-3">
      <Remote of={doors}>
        {(page) => (
          <ul aria-label="Open doors" className="flex flex-wrap gap-1.5 px-4 pt-3">
            {page.items.map((door) => (
              <li key={`${door.name} ${door.address}`}>
                <span className="rounded-md border border-line px-2 py-1 text-sm">
                  {door.name} <span className="font-mono text-xs text-muted">{door.address ?? "fetches"}</span>
                </span>
              </li>
            ))}
          </ul>
        )}
      </Remote>
      <Remote of={shippers}>
        {(page) =>
          page.items.length === 0 ? (
            <Empty icon={DoorOpen} title="Nobody has sent anything since the start">
              The first steps on the overview have a working configuration for each door.
            </Empty>
          ) : (
            <Table<Shipper>
              label="Shippers"
              rows={page.items}
              keyOf={(row) => `${row.door} ${row.shipper ?? ""} ${row.peer ?? ""}`}
              onOpen={(row) => set({ tab: "receipts", door: row.door })}
              columns={[
                { id: "door", header: "Door", width: "9rem", cell: (row) => row.door },
                {
                  id: "shipper",
                  header: "Shipper",
                  width: "minmax(8rem,1fr)",
                  cell: (row) => row.shipper ?? <span className="text-muted">does not say</span>,
                },
                {
                  id: "peer",
                  header: "Last from",
                  width: "9rem",
                  from: "md",
                  cell: (row) => <span className="font-mono text-xs">{row.peer ?? "–"}</span>,
                },
                {
                  id: "accepted",
                  header: "Accepted",
                  width: "7rem",
                  align: "right",
                  cell: (row) => formatNumber(row.accepted),
                },
                {
                  id: "dedup",
                  header: "Seen before",
                  width: "7rem",
                  align: "right",
                  from: "md",
                  cell: (row) => formatNumber(row.deduplicated),
                },
                {
                  id: "rejected",
                  header: "Not taken",
                  width: "6rem",
                  align: "right",
                  cell: (row) => (
                    <span
                      title={row.last_reason}
                      className={row.rejected + row.quarantined > 0 ? "text-critical" : "text-muted"}
                    >
                      {formatNumber(row.rejected + row.quarantined)}
                    </span>
                  ),
                },
                {
                  id: "bytes",
                  header: "Size",
                  width: "6rem",
                  align: "right",
                  from: "md",
                  cell: (row) => formatBytes(row.bytes),
                },
                {
                  id: "seen",
                  header: "Last seen",
                  width: "6rem",
                  from: "sm",
                  cell: (row) => (
                    <time dateTime={row.last_seen} title={formatTime(row.last_seen, zone, "ms")} className="text-muted">
                      {formatAgo(row.last_seen)} ago
                    </time>
                  ),
                },
              ]}
            />
          )
        }
      </Remote>
    </div>
  );
}
