import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Inbox } from "lucide-react";
import { useMemo, useState } from "react";
import { useUrl } from "@/app/url";
import { formatSeconds } from "@/lib/format";
import { formatTime, useZone } from "@/lib/time";
import { useWidth, WIDTHS } from "@/lib/width";
import { Dialog } from "@/ui/Dialog";
import { Select } from "@/ui/Field";
import { Badge } from "@/ui/Severity";
import { Empty, Remote } from "@/ui/States";
import { Table, type TableColumn } from "@/ui/Table";
import { type Delivery, getDeliveries, getReceivers } from "./api";

const STATES = ["queued", "sent", "failed", "interrupted"];
const TONES: Record<string, "ok" | "critical" | "warning" | "info"> = {
  sent: "ok",
  failed: "critical",
  interrupted: "warning",
  queued: "info",
};
const LINKS_MAX = 50;

/** What was sent to whom, and what came of it. */
export function Deliveries() {
  const { search, set } = useUrl();
  const zone = useZone((state) => state.zone);
  const narrow = useWidth() < WIDTHS.sm;
  const [open, setOpen] = useState<Delivery | null>(null);
  const receivers = useQuery({
    queryKey: ["receivers"],
    queryFn: ({ signal }) => getReceivers(signal),
    staleTime: 10_000,
  });
  const filter = useMemo(
    () => ({
      ...(search.receiver ? { receiver: search.receiver } : {}),
      ...(search.delivery ? { state: search.delivery } : {}),
    }),
    [search.receiver, search.delivery],
  );
  const query = useInfiniteQuery({
    queryKey: ["deliveries", filter],
    queryFn: ({ pageParam, signal }) => getDeliveries(filter, pageParam, signal),
    initialPageParam: null as string | null,
    getNextPageParam: (page: { next: string | null }) => page.next,
    maxPages: 20,
  });
  const rows = useMemo(() => query.data?.pages.flatMap((page) => page.items) ?? [], [query.data]);
  const columns = useMemo(() => columnsOf(zone, narrow), [zone, narrow]);
  return (
    <div className="flex h-full min-h-80 flex-1 flex-col">
      <div className="flex flex-wrap gap-2 px-4 py-2">
        <Select
          aria-label="Receiver"
          value={search.receiver ?? ""}
          onChange={(event) => set({ receiver: event.target.value || undefined })}
          options={[
            { value: "", label: "Every receiver" },
            ...(receivers.data ?? []).map(({ name }) => ({ value: name, label: name })),
          ]}
        />
        <Select
          aria-label="What came of it"
          value={search.delivery ?? ""}
          onChange={(event) => set({ delivery: event.target.value || undefined })}
          options={[
            { value: "", label: "Whatever came of it" },
            ...STATES.map((state) => ({ value: state, label: state })),
          ]}
        />
      </div>
      <div className="flex min-h-0 flex-1 flex-col border-t border-line bg-surface">
        <Remote
          of={query}
          empty={{
            when: () => rows.length === 0,
            show: (
              <Empty icon={Inbox} title="Nothing was sent">
                Deliveries are kept for 30 days.
              </Empty>
            ),
          }}
        >
          {() => (
            <Table
              label="Deliveries"
              columns={columns}
              rows={rows}
              keyOf={idOf}
              rowHeight={narrow ? 56 : 34}
              active={open?.id ?? null}
              onOpen={setOpen}
              onEnd={query.hasNextPage && !query.isFetchingNextPage ? () => void query.fetchNextPage() : undefined}
            />
          )}
        </Remote>
      </div>
      {open ? <Detail delivery={open} onClose={() => setOpen(null)} /> : null}
    </div>
  );
}

const idOf = (row: Delivery): string => row.id;

function State({ state }: { state: string }) {
  return <Badge tone={TONES[state]}>{state}</Badge>;
}

function columnsOf(zone: string, narrow: boolean): TableColumn<Delivery>[] {
  if (narrow)
    return [
      {
        id: "delivery",
        header: "Delivery",
        width: "minmax(0,1fr)",
        cell: (row) => (
          <span className="flex min-w-0 flex-col gap-0.5">
            <span className="flex items-center gap-1.5">
              <State state={row.state} />
              <span className="truncate font-medium">{row.receiver}</span>
              <span className="tnum ml-auto shrink-0 text-xs text-muted">{formatTime(row.at, zone, "minute")}</span>
            </span>
            <span className="truncate text-xs text-muted">
              {row.kind}: {row.reason}
            </span>
          </span>
        ),
      },
    ];
  return [
    { id: "at", header: "At", width: "11rem", cell: (row) => <span className="tnum">{formatTime(row.at, zone)}</span> },
    { id: "state", header: "State", width: "7rem", cell: (row) => <State state={row.state} /> },
    {
      id: "receiver",
      header: "Receiver",
      width: "minmax(7rem,12rem)",
      cell: (row) => <span className="font-medium">{row.receiver}</span>,
    },
    { id: "kind", header: "Kind", width: "7.5rem", from: "md", cell: (row) => row.kind },
    {
      id: "alerts",
      header: "Alerts",
      width: "5rem",
      align: "right",
      cell: (row) => row.alerts.length.toLocaleString("en-US"),
    },
    {
      id: "reason",
      header: "Why",
      width: "minmax(12rem,1fr)",
      cell: (row) => {
        const error = row.channels.find((channel) => channel.error)?.error;
        return error ? <span className="text-critical">{error}</span> : row.reason;
      },
    },
    {
      id: "took",
      header: "Took",
      width: "5rem",
      align: "right",
      from: "lg",
      cell: (row) => (row.done_at ? formatSeconds((Date.parse(row.done_at) - Date.parse(row.at)) / 1000) : "–"),
    },
  ];
}

function Detail({ delivery, onClose }: { delivery: Delivery; onClose: () => void }) {
  const zone = useZone((state) => state.zone);
  return (
    <Dialog
      open
      onOpenChange={(open) => !open && onClose()}
      side
      title={`${delivery.kind} to ${delivery.receiver}`}
      description={`${formatTime(delivery.at, zone)}: ${delivery.reason}`}
    >
      <div className="flex flex-col gap-3 text-sm">
        <section>
          <h3 className="mb-1 text-xs font-medium text-muted">Channels</h3>
          <ul className="flex flex-col gap-1.5">
            {delivery.channels.map((channel) => (
              <li key={channel.channel} className="rounded-md border border-line px-2 py-1.5">
                <span className="flex items-center gap-2">
                  <State state={channel.state} />
                  <span className="font-medium">{channel.channel}</span>
                  <span className="text-muted">
                    {channel.attempts} {channel.attempts === 1 ? "attempt" : "attempts"}
                    {channel.to.length > 0 ? `, to ${channel.to.join(", ")}` : ""}
                  </span>
                </span>
                {channel.error ? <p className="break-words text-critical">{channel.error}</p> : null}
              </li>
            ))}
          </ul>
        </section>
        <section>
          <h3 className="mb-1 text-xs font-medium text-muted">
            {delivery.alerts.length.toLocaleString("en-US")} alerts it tells of
          </h3>
          <ul className="flex flex-col gap-0.5">
            {delivery.alerts.slice(0, LINKS_MAX).map((id) => (
              <li key={id}>
                <Link to="/alerts/$id" params={{ id }} className="font-mono text-xs text-accent hover:underline">
                  {id}
                </Link>
              </li>
            ))}
            {delivery.alerts.length > LINKS_MAX ? (
              <li className="text-muted">and {delivery.alerts.length - LINKS_MAX} more</li>
            ) : null}
          </ul>
        </section>
        <p className="font-mono text-xs break-all text-faint">{delivery.group_key}</p>
      </div>
    </Dialog>
  );
}
