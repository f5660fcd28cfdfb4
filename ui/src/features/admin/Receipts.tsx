import { useQuery } from "@tanstack/react-query";
import { PackageCheck } from "lucide-react";
import { useState } from "react";
import { client, type Schemas, unwrap } from "@/api/client";
import { usePages } from "@/api/pages";
import { useUrl } from "@/app/url";
import { formatBytes, formatNumber } from "@/lib/format";
import { formatAgo, formatTime, useZone } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Empty, Failed, Remote, Skeleton } from "@/ui/States";
import { Table } from "@/ui/Table";

type Receipt = Schemas["Receipt"];

/** What can become of a record. */
const OUTCOMES = ["accepted", "deduplicated", "coerced", "redacted", "quarantined", "dropped", "rejected"];

/** One receipt: it need not be among those listed. */
function useReceipt(id: string | null) {
  return useQuery({
    queryKey: ["receipt", id],
    queryFn: ({ signal }) =>
      unwrap(client.GET("/api/v1/receipts/{id}", { params: { path: { id: id ?? "" } }, signal })),
    enabled: id !== null,
    staleTime: Number.POSITIVE_INFINITY,
    retry: false,
  });
}

/** What arrived, batch by batch, and what became of each record. */
export function Receipts() {
  const zone = useZone((state) => state.zone);
  const { search, set } = useUrl();
  const { query, items, more } = usePages<Receipt>(
    "/api/v1/receipts",
    { limit: 200, door: search.door, outcome: search.outcome },
    { refreshMs: 10_000 },
  );
  const [inHand, setInHand] = useState<string | null>(null);
  const one = useReceipt(search.receipt ?? null);
  if (query.isPending) return <Skeleton rows={8} />;
  if (query.isError && items.length === 0) return <Failed error={query.error} onRetry={() => void query.refetch()} />;
  const isFiltered = search.door !== undefined || search.outcome !== undefined;
  if (items.length === 0 && !isFiltered) {
    return (
      <Empty icon={PackageCheck} title="Nothing has arrived yet">
        Every batch gets a receipt that says what was accepted, changed and refused, and why.
      </Empty>
    );
  }
  const some = (count: number, tone: string) => (
    <span className={count > 0 ? tone : "text-muted"}>{formatNumber(count)}</span>
  );
  return (
    <div className="flex h-full min-h-0 flex-col">
      <div className="flex flex-wrap items-center gap-2 px-4 py-2 text-sm">
        <label className="flex items-center gap-2">
          <span className="text-muted">What became of it</span>
          <select
            value={search.outcome ?? ""}
            onChange={(event) => set({ outcome: event.target.value || undefined }, { replace: true })}
            className="h-8 rounded-md border border-line bg-bg px-2"
          >
            <option value="">anything</option>
            {OUTCOMES.map((outcome) => (
              <option key={outcome} value={outcome}>
                {outcome}
              </option>
            ))}
          </select>
        </label>
        {search.door ? (
          <Button size="sm" onClick={() => set({ door: undefined }, { replace: true })}>
            Door {search.door} ×
          </Button>
        ) : null}
      </div>
      <Table<Receipt>
        label="Receipts"
        rows={items}
        keyOf={(receipt) => receipt.receipt}
        active={search.receipt ?? inHand}
        onActive={(receipt) => setInHand(receipt.receipt)}
        onOpen={(receipt) => set({ receipt: receipt.receipt })}
        onEnd={more}
        columns={[
          {
            id: "time",
            header: "When",
            width: "5.5rem",
            cell: (receipt) => (
              <time dateTime={receipt.time} title={formatTime(receipt.time, zone, "ms")} className="text-muted">
                {formatAgo(receipt.time)} ago
              </time>
            ),
          },
          { id: "door", header: "Door", width: "7rem", cell: (receipt) => receipt.door },
          {
            id: "peer",
            header: "From",
            width: "minmax(8rem,1fr)",
            from: "sm",
            cell: (receipt) => <span className="font-mono text-xs">{receipt.peer ?? "–"}</span>,
          },
          {
            id: "accepted",
            header: "Accepted",
            width: "6rem",
            align: "right",
            cell: (receipt) => formatNumber(receipt.accepted),
          },
          {
            id: "dedup",
            header: "Seen before",
            width: "7rem",
            align: "right",
            from: "md",
            cell: (receipt) => some(receipt.deduplicated, "text-info"),
          },
          {
            id: "coerced",
            header: "Changed",
            width: "6rem",
            align: "right",
            from: "sm",
            cell: (receipt) => some(receipt.coerced_total, "text-warning"),
          },
          {
            id: "rejected",
            header: "Refused",
            width: "6rem",
            align: "right",
            cell: (receipt) => some(receipt.rejected_total, "text-critical"),
          },
          {
            id: "bytes",
            header: "Size",
            width: "6rem",
            align: "right",
            from: "md",
            cell: (receipt) => formatBytes(receipt.bytes),
          },
        ]}
      />
      <Dialog
        side
        open={search.receipt !== undefined}
        onOpenChange={(shown) => !shown && set({ receipt: undefined })}
        title="Receipt"
        description={search.receipt}
      >
        <Remote of={one}>{(receipt) => <Detail receipt={receipt} />}</Remote>
      </Dialog>
    </div>
  );
}

function Detail({ receipt }: { receipt: Receipt }) {
  const zone = useZone((state) => state.zone);
  const rows: [string, string][] = [
    ["Arrived", formatTime(receipt.time, zone, "ms")],
    ["Door", `${receipt.door}${receipt.peer ? `, from ${receipt.peer}` : ""}`],
    ["Shipper", receipt.shipper ?? "many, added up"],
    ["Tenant", receipt.tenant],
    ["Accepted", formatNumber(receipt.accepted)],
    ["Seen before, not stored again", formatNumber(receipt.deduplicated)],
    ["Got their arrival time", formatNumber(receipt.timestamps_assigned)],
    ["Personal data replaced", formatNumber(receipt.redacted)],
    ["Kept aside", formatNumber(receipt.quarantined)],
    ["Dropped by a pipeline", formatNumber(receipt.dropped)],
    ["Size", formatBytes(receipt.bytes)],
  ];
  return (
    <div className="flex flex-col gap-5 text-sm">
      <dl className="grid grid-cols-[auto_1fr] gap-x-4 gap-y-1">
        {rows.map(([name, value]) => (
          <div key={name} className="contents">
            <dt className="text-muted">{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      <Faults title="Refused" all={receipt.rejected_total} items={receipt.rejected} />
      <Faults title="Changed" all={receipt.coerced_total} items={receipt.coerced} />
    </div>
  );
}

function Faults({
  title,
  all,
  items,
}: {
  title: string;
  all: number;
  items: { index?: number | null; field?: string | null; reason: string }[];
}) {
  if (all === 0) return null;
  return (
    <section>
      <h3 className="mb-1 font-semibold">
        {title}: {formatNumber(all)}
        {all > items.length ? <span className="font-normal text-muted">, the first {items.length}</span> : null}
      </h3>
      <ul className="flex flex-col gap-0.5">
        {items.map((item) => (
          <li key={`${item.index}${item.field}${item.reason}`}>
            <span className="text-faint">record {item.index ?? "?"}</span>{" "}
            {item.field ? <code className="font-mono text-xs">{item.field}</code> : null} {item.reason}
          </li>
        ))}
      </ul>
    </section>
  );
}
