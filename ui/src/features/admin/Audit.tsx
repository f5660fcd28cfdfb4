import { useMutation } from "@tanstack/react-query";
import { ScrollText, ShieldCheck } from "lucide-react";
import { useDeferredValue, useState } from "react";
import { requestJson } from "@/api/client";
import { usePages } from "@/api/pages";
import { formatNumber } from "@/lib/format";
import { formatTime, useZone } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Input } from "@/ui/Field";
import { Empty, Failed, Skeleton } from "@/ui/States";
import { Table } from "@/ui/Table";
import { toast } from "@/ui/Toasts";

export interface AuditLine {
  seq: number;
  at: string;
  principal: string;
  tenant: string;
  action: string;
  target: string;
  outcome: string;
  detail: string | null;
  source_ip: string | null;
  prev_hash: string;
  hash: string;
}

/** Who did what. Each line holds the hash of the one before: `verify` walks the chain. */
export function Audit() {
  const zone = useZone((state) => state.zone);
  const [principal, setPrincipal] = useState("");
  const [action, setAction] = useState("");
  const parameters = {
    principal: useDeferredValue(principal.trim()),
    action: useDeferredValue(action.trim()),
    limit: 200,
  };
  const { query, items, more } = usePages<AuditLine>("/api/v1/audit", parameters, { refreshMs: 15_000 });
  const [open, setOpen] = useState<AuditLine | null>(null);
  const verify = useMutation({
    mutationFn: () =>
      requestJson<{ ok: boolean; lines: number; broken_at?: number | null; detail?: string | null }>(
        "/api/v1/audit/verify",
      ),
    onSuccess: (found) =>
      found.ok
        ? toast.ok(`${formatNumber(found.lines)} lines, unbroken`)
        : toast.failed(new Error(found.detail ?? `the chain is broken at line ${found.broken_at}`)),
    onError: toast.failed,
  });
  return (
    <div className="flex h-full min-h-0 flex-col">
      <div className="flex flex-wrap gap-2 border-b border-line px-3 py-2">
        <Input
          aria-label="Who"
          placeholder="Who"
          className="max-w-48"
          value={principal}
          onChange={(event) => setPrincipal(event.target.value)}
        />
        <Input
          aria-label="What"
          placeholder="What, such as token.issue"
          className="max-w-56"
          value={action}
          onChange={(event) => setAction(event.target.value)}
        />
        <Button icon={ShieldCheck} className="ml-auto" busy={verify.isPending} onClick={() => verify.mutate()}>
          Verify the chain
        </Button>
      </div>
      {query.isPending ? (
        <Skeleton rows={8} />
      ) : query.isError && items.length === 0 ? (
        <Failed error={query.error} onRetry={() => void query.refetch()} />
      ) : items.length === 0 ? (
        <Empty icon={ScrollText} title="Nothing of that kind was done" />
      ) : (
        <Table<AuditLine>
          label="Audit trail"
          rows={items}
          keyOf={(line) => String(line.seq)}
          active={open ? String(open.seq) : null}
          onOpen={setOpen}
          onEnd={more}
          columns={[
            {
              id: "at",
              header: "When",
              width: "10.5rem",
              cell: (line) => (
                <time dateTime={line.at} className="tnum text-muted">
                  {formatTime(line.at, zone)}
                </time>
              ),
            },
            { id: "who", header: "Who", width: "9rem", cell: (line) => line.principal },
            {
              id: "action",
              header: "What",
              width: "11rem",
              cell: (line) => <code className="font-mono text-xs">{line.action}</code>,
            },
            {
              id: "target",
              header: "On",
              width: "minmax(8rem,1fr)",
              from: "sm",
              cell: (line) => <span title={line.target}>{line.target}</span>,
            },
            {
              id: "outcome",
              header: "Outcome",
              width: "7rem",
              cell: (line) => (
                <span className={line.outcome === "done" || line.outcome === "ok" ? "" : "text-warning"}>
                  {line.outcome}
                </span>
              ),
            },
            {
              id: "detail",
              header: "Detail",
              width: "minmax(10rem,1.5fr)",
              from: "md",
              cell: (line) => (
                <span className="text-muted" title={line.detail ?? undefined}>
                  {line.detail}
                </span>
              ),
            },
          ]}
        />
      )}
      <Dialog
        side
        open={open !== null}
        onOpenChange={(shown) => !shown && setOpen(null)}
        title={open ? `Line ${open.seq}` : "Line"}
        description={open?.action}
      >
        {open ? (
          <dl className="grid grid-cols-[7rem_1fr] gap-y-1.5 text-sm">
            {Object.entries({ ...open, at: formatTime(open.at, zone, "ms") }).map(([name, value]) => (
              <div key={name} className="contents">
                <dt className="text-muted">{name}</dt>
                <dd className="font-mono text-xs break-all">{value === null || value === "" ? "–" : String(value)}</dd>
              </div>
            ))}
          </dl>
        ) : null}
      </Dialog>
    </div>
  );
}
