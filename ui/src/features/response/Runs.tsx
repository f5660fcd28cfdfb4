import { Wrench } from "lucide-react";
import { useState } from "react";
import { usePages } from "@/api/pages";
import { useUrl } from "@/app/url";
import { formatAgo, formatTime, useZone } from "@/lib/time";
import { Select } from "@/ui/Field";
import { Badge } from "@/ui/Severity";
import { Empty, Failed, Skeleton } from "@/ui/States";
import { Table } from "@/ui/Table";
import { type Run, type RunState, runLook, usePlaybooks } from "./api";

const STATES: RunState[] = [
  "awaiting_approval",
  "queued",
  "running",
  "verifying",
  "rolling_back",
  "succeeded",
  "rehearsed",
  "refused",
  "rejected",
  "expired",
  "cancelled",
  "rolled_back",
  "failed",
];

/** Everything playbooks did, newest first. */
export function Runs({ active, onOpen }: { active: string | null; onOpen: (id: string) => void }) {
  const { search, set } = useUrl();
  const zone = useZone((state) => state.zone);
  const playbooks = usePlaybooks();
  const [inHand, setInHand] = useState<string | null>(active);
  const { query, items, more } = usePages<Run>(
    "/api/v1/actions",
    { state: search.state, playbook: search.playbook, limit: 100 },
    { refreshMs: 5000 },
  );
  return (
    <div className="flex h-full min-h-0 flex-col">
      <div className="flex flex-wrap gap-2 border-b border-line px-3 py-2">
        <Select
          aria-label="State"
          value={search.state ?? ""}
          onChange={(event) => set({ state: event.target.value || undefined }, { replace: true })}
          options={[
            { value: "", label: "Any state" },
            ...STATES.map((value) => ({ value, label: runLook(value).text })),
          ]}
        />
        <Select
          aria-label="Playbook"
          value={search.playbook ?? ""}
          onChange={(event) => set({ playbook: event.target.value || undefined }, { replace: true })}
          options={[
            { value: "", label: "Any playbook" },
            ...(playbooks.data?.items ?? []).map((one) => ({ value: one.id, label: one.title || one.id })),
          ]}
        />
      </div>
      {query.isPending ? (
        <Skeleton rows={6} />
      ) : query.isError && items.length === 0 ? (
        <Failed error={query.error} onRetry={() => void query.refetch()} />
      ) : items.length === 0 ? (
        <Empty icon={Wrench} title="No playbook has run">
          {search.state || search.playbook
            ? "None in this state or of this playbook: take the filter away."
            : "A playbook runs when an alert matches its trigger. In the mode dry_run, which is the default, it only says what it would do."}
        </Empty>
      ) : (
        <Table<Run>
          label="Runs of playbooks"
          rows={items}
          keyOf={(run) => run.id}
          active={active ?? inHand}
          onActive={(run) => setInHand(run.id)}
          onOpen={(run) => onOpen(run.id)}
          onEnd={more}
          columns={[
            {
              id: "state",
              header: "State",
              width: "10rem",
              cell: (run) => <Badge tone={runLook(run.state).tone}>{runLook(run.state).text}</Badge>,
            },
            {
              id: "when",
              header: "When",
              width: "5rem",
              cell: (run) => (
                <time
                  dateTime={run.created_at}
                  title={formatTime(run.created_at, zone, "ms")}
                  className="tnum text-muted"
                >
                  {formatAgo(run.created_at)}
                </time>
              ),
            },
            {
              id: "actions",
              header: "Action",
              width: "minmax(12rem,1.2fr)",
              cell: (run) => <code className="font-mono text-xs">{run.actions.join(" · ")}</code>,
            },
            {
              id: "alert",
              header: "Because of",
              width: "minmax(10rem,1fr)",
              from: "sm",
              cell: (run) => run.alert.title,
            },
            {
              id: "playbook",
              header: "Playbook",
              width: "11rem",
              from: "md",
              cell: (run) => <span className="text-muted">{run.playbook}</span>,
            },
            {
              id: "reason",
              header: "Why it stands so",
              width: "minmax(12rem,1.4fr)",
              from: "lg",
              cell: (run) => (
                <span className="text-muted" title={run.reason}>
                  {run.reason}
                </span>
              ),
            },
          ]}
        />
      )}
    </div>
  );
}
