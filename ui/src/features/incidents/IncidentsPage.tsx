import { useInfiniteQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { RefreshCw, Siren } from "lucide-react";
import { type FormEvent, useMemo, useState } from "react";
import { useUrl } from "@/app/url";
import { formatNumber, formatSeconds } from "@/lib/format";
import { useShortcuts } from "@/lib/keys";
import { useWidth, WIDTHS } from "@/lib/width";
import { Button, IconButton } from "@/ui/Button";
import { PageHeader } from "@/ui/Card";
import { Input, Segmented, Select } from "@/ui/Field";
import { Badge, SeverityBadge, Sign } from "@/ui/Severity";
import { Empty, Remote, Spinner } from "@/ui/States";
import { Table, type TableColumn } from "@/ui/Table";
import { Ago, Assignee } from "../alerts/list/Cells";
import { SEVERITIES } from "../alerts/model";
import { INCIDENT_STATUSES, type Incident, type IncidentFilter, type IncidentPage, listIncidents } from "./api";
import { lasted } from "./steps";

const LIVE = "open,acknowledged";

export function IncidentsPage() {
  const { search, set } = useUrl();
  const navigate = useNavigate();
  const [active, setActive] = useState<string | null>(null);
  const narrow = useWidth() < WIDTHS.sm;
  const status = search.status ?? LIVE;
  const filter: IncidentFilter = useMemo(
    () => ({
      ...(status === "all" ? {} : { status }),
      ...(search.severity ? { severity: search.severity } : {}),
      ...(search.owner ? { owner: search.owner } : {}),
      ...(search.service ? { service: search.service } : {}),
    }),
    [status, search.severity, search.owner, search.service],
  );
  const query = useInfiniteQuery({
    queryKey: ["incidents", filter],
    queryFn: ({ pageParam, signal }) => listIncidents(filter, pageParam, signal),
    initialPageParam: null as string | null,
    getNextPageParam: (page: IncidentPage) => page.next,
    refetchInterval: 10_000,
    maxPages: 20,
  });
  const rows = useMemo(() => query.data?.pages.flatMap((page) => page.items) ?? [], [query.data]);
  const open = (incident: Incident): void => void navigate({ to: "/incidents/$id", params: { id: incident.id } });
  const refresh = (): void => void query.refetch();
  useShortcuts({ r: refresh });
  return (
    <div className="flex min-h-0 flex-1 flex-col">
      <PageHeader
        title="Incidents"
        hint={
          query.data ? (
            <span className="tnum">{`${formatNumber(rows.length)}${query.hasNextPage ? "+" : ""} shown`}</span>
          ) : null
        }
        actions={<IconButton icon={RefreshCw} label="Look again" keys="r" onClick={refresh} />}
      >
        <div className="flex flex-wrap items-center gap-1.5">
          <Segmented
            label="Status"
            value={status}
            onChange={(next) => set({ status: next === LIVE ? undefined : next })}
            options={[
              { value: LIVE, label: "Not over" },
              ...INCIDENT_STATUSES.map((each) => ({
                value: each.toLowerCase(),
                label: each.charAt(0) + each.slice(1).toLowerCase(),
              })),
              { value: "all", label: "All" },
            ]}
          />
          <Select
            aria-label="Severity"
            value={search.severity ?? ""}
            onChange={(event) => set({ severity: event.target.value || undefined })}
            options={[
              { value: "", label: "Any severity" },
              ...SEVERITIES.map((each) => ({
                value: each.toLowerCase(),
                label: each.charAt(0) + each.slice(1).toLowerCase(),
              })),
            ]}
          />
          <Text
            key={`owner ${search.owner}`}
            label="Owner"
            value={search.owner ?? ""}
            onChange={(owner) => set({ owner })}
          />
          <Text
            key={`service ${search.service}`}
            label="Service"
            value={search.service ?? ""}
            onChange={(service) => set({ service })}
          />
          {search.severity || search.owner || search.service ? (
            <Button
              kind="ghost"
              size="sm"
              onClick={() => set({ severity: undefined, owner: undefined, service: undefined })}
            >
              Clear filters
            </Button>
          ) : null}
        </div>
      </PageHeader>
      <div className="flex min-h-0 flex-1 flex-col border-t border-line bg-surface">
        <Remote
          of={query}
          empty={{
            when: () => rows.length === 0,
            show: (
              <Empty icon={Siren} title="No such incident">
                Alerts that come close in time and share a service, an entity or a trace become one, by themselves.
              </Empty>
            ),
          }}
        >
          {() => (
            <Table
              label="Incidents"
              columns={narrow ? NARROW : COLUMNS}
              rows={rows}
              keyOf={idOf}
              rowHeight={narrow ? 64 : 36}
              active={active}
              onActive={(row) => setActive(row.id)}
              onOpen={open}
              onEnd={query.hasNextPage && !query.isFetchingNextPage ? () => void query.fetchNextPage() : undefined}
              footer={
                query.isFetchingNextPage ? (
                  <p className="flex items-center gap-2 px-3 py-2 text-xs text-muted">
                    <Spinner /> More is on its way
                  </p>
                ) : null
              }
            />
          )}
        </Remote>
      </div>
    </div>
  );
}

const idOf = (row: Incident): string => row.id;

function Title({ row }: { row: Incident }) {
  return (
    <Link
      to="/incidents/$id"
      params={{ id: row.id }}
      preload={false}
      className="font-medium hover:underline"
      title={row.title}
    >
      {row.title}
    </Link>
  );
}

function Lasted({ row }: { row: Incident }) {
  return <span className="tnum">{formatSeconds(lasted(row, Date.now()))}</span>;
}

const COLUMNS: TableColumn<Incident>[] = [
  { id: "number", header: "No.", width: "3.5rem", align: "right", cell: (row) => row.number },
  { id: "severity", header: "Severity", width: "6.25rem", cell: (row) => <SeverityBadge of={row.severity} /> },
  { id: "priority", header: "Pri", width: "2.75rem", from: "md", cell: (row) => <Badge>{row.priority}</Badge> },
  { id: "title", header: "Incident", width: "minmax(14rem,1fr)", cell: (row) => <Title row={row} /> },
  { id: "status", header: "Status", width: "8.5rem", cell: (row) => <SeverityBadge of={row.status} soft={false} /> },
  {
    id: "services",
    header: "Services",
    width: "minmax(7rem,14rem)",
    from: "lg",
    cell: (row) => <span title={row.services.join(", ")}>{row.services.join(", ") || "–"}</span>,
  },
  { id: "owner", header: "Owner", width: "7rem", from: "md", cell: (row) => <Assignee name={row.owner ?? null} /> },
  { id: "alerts", header: "Alerts", width: "4rem", align: "right", cell: (row) => formatNumber(row.alert_count) },
  { id: "lasted", header: "Lasted", width: "5.5rem", align: "right", from: "md", cell: (row) => <Lasted row={row} /> },
  { id: "last", header: "Last", width: "4.5rem", align: "right", cell: (row) => <Ago time={row.last_at} /> },
];

const NARROW: TableColumn<Incident>[] = [
  {
    id: "title",
    header: "Incident",
    width: "minmax(0,1fr)",
    cell: (row) => (
      <span className="flex min-w-0 flex-col gap-0.5">
        <span className="flex min-w-0 items-center gap-1.5">
          <Sign of={row.severity} />
          <span className="truncate">
            <Title row={row} />
          </span>
          <span className="ml-auto shrink-0 text-xs text-muted">
            <Ago time={row.last_at} />
          </span>
        </span>
        <span className="truncate text-xs text-muted">
          #{row.number} · {row.status.toLowerCase()} · {row.priority} · {row.alert_count} alerts ·{" "}
          {row.owner ?? "nobody"}
        </span>
      </span>
    ),
  },
];

function Text({
  label,
  value,
  onChange,
}: {
  label: string;
  value: string;
  onChange: (value: string | undefined) => void;
}) {
  const [text, setText] = useState(value);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    if (text.trim() !== value) onChange(text.trim() || undefined);
  };
  return (
    <form onSubmit={submit} className="w-32">
      <Input
        aria-label={label}
        placeholder={label}
        value={text}
        onChange={(event) => setText(event.target.value)}
        onBlur={submit}
      />
    </form>
  );
}
