import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { client, type Schemas, unwrap } from "@/api/client";
import { formatBytes, formatNumber, formatShare, formatShort } from "@/lib/format";
import { Input, Segmented } from "@/ui/Field";
import { Empty, Partial, Remote } from "@/ui/States";
import { Table } from "@/ui/Table";

type FieldView = Schemas["FieldView"];
type Order = "bytes" | "distinct" | "count" | "name";

/** What each field costs: bytes before compression, how many values differ, how many records have it. */
export function FieldCosts() {
  const [dataset, setDataset] = useState<"logs" | "metrics" | "spans">("logs");
  const [text, setText] = useState("");
  const [order, setOrder] = useState<Order>("bytes");
  const fields = useQuery({
    queryKey: ["fields", dataset],
    queryFn: ({ signal }) => unwrap(client.GET("/api/v1/fields", { params: { query: { dataset } }, signal })),
    staleTime: 30_000,
  });
  return (
    <div className="flex h-full min-h-0 flex-col">
      <div className="flex flex-wrap items-center gap-2 border-b border-line px-3 py-2">
        <Segmented
          label="Dataset"
          value={dataset}
          onChange={setDataset}
          options={[
            { value: "logs", label: "Logs" },
            { value: "metrics", label: "Metrics" },
            { value: "spans", label: "Spans" },
          ]}
        />
        <Input
          aria-label="Field"
          placeholder="Field"
          className="max-w-56"
          value={text}
          onChange={(event) => setText(event.target.value)}
        />
      </div>
      <Remote
        of={fields}
        empty={{ when: (list) => list.items.length === 0, show: <Empty title="No records, no fields" /> }}
      >
        {(list) => <Fields list={list} text={text} order={order} onOrder={setOrder} />}
      </Remote>
    </div>
  );
}

function Fields({
  list,
  text,
  order,
  onOrder,
}: {
  list: Schemas["FieldList"];
  text: string;
  order: Order;
  onOrder: (order: Order) => void;
}) {
  const rows = useMemo(() => {
    const wanted = list.items.filter((field) => field.name.toLowerCase().includes(text.trim().toLowerCase()));
    return wanted.sort((a, b) => (order === "name" ? a.name.localeCompare(b.name) : (b[order] ?? 0) - (a[order] ?? 0)));
  }, [list, text, order]);
  const all = list.items.reduce((sum, field) => sum + (field.bytes ?? 0), 0) || 1;
  const head = (id: Order) => ({
    sort: order === id ? (id === "name" ? ("asc" as const) : ("desc" as const)) : null,
    onSort: () => onOrder(id),
  });
  return (
    <>
      <Partial warnings={list.warnings ?? []} />
      <Table<FieldView>
        label="Cost of fields"
        rows={rows}
        keyOf={(field) => field.name}
        columns={[
          {
            id: "name",
            header: "Field",
            width: "minmax(10rem,1fr)",
            ...head("name"),
            cell: (field) => <code className="font-mono text-xs">{field.name}</code>,
          },
          {
            id: "types",
            header: "Types",
            width: "8rem",
            from: "md",
            cell: (field) => <span className="text-muted">{(field.types ?? []).join(", ")}</span>,
          },
          {
            id: "count",
            header: "Records",
            width: "7rem",
            align: "right",
            from: "sm",
            ...head("count"),
            cell: (field) => formatShort(field.count),
          },
          {
            id: "distinct",
            header: "Distinct",
            width: "7rem",
            align: "right",
            ...head("distinct"),
            cell: (field) =>
              field.distinct === null || field.distinct === undefined
                ? "–"
                : `${field.distinct_is_estimate ? "≈ " : ""}${formatShort(field.distinct)}`,
          },
          {
            id: "bytes",
            header: "Bytes",
            width: "7rem",
            align: "right",
            ...head("bytes"),
            cell: (field) => <span title={formatNumber(field.bytes ?? 0)}>{formatBytes(field.bytes ?? 0)}</span>,
          },
          {
            id: "share",
            header: "Share",
            width: "minmax(7rem,.6fr)",
            from: "sm",
            cell: (field) => {
              const share = (field.bytes ?? 0) / all;
              return (
                <span className="flex items-center gap-2">
                  <span aria-hidden className="h-1.5 flex-1 overflow-hidden rounded-full bg-hover">
                    <span className="block h-full bg-accent" style={{ width: `${share * 100}%` }} />
                  </span>
                  <span className="tnum w-14 text-right text-xs text-muted">{formatShare(share)}</span>
                </span>
              );
            },
          },
        ]}
      />
    </>
  );
}
