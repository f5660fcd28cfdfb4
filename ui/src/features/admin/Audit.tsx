import { useMutation } from "@tanstack/react-query";
import { ScrollText, ShieldCheck } from "lucide-react";
import { useDeferredValue, useState } from "react";
import { client, type Schemas, unwrap } from "@/api/client";
import { usePages } from "@/api/pages";
import { useUrl } from "@/app/url";
import { formatNumber } from "@/lib/format";
import { formatAgo, formatTime, useZone } from "@/lib/time";
import { useWidth, WIDTHS } from "@/lib/width";
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
  const { search, set } = useUrl();
  const narrow = useWidth() < WIDTHS.sm;
  const parameters = {
    principal: useDeferredValue((search.who ?? "").trim()),
    action: useDeferredValue((search.what ?? "").trim()),
    limit: 200,
  };
  const { query, items, more } = usePages<AuditLine>("/api/v1/audit", parameters, { refreshMs: 15_000 });
  const [inHand, setInHand] = useState<string | null>(null);
  const open = items.find((line) => String(line.seq) === search.line) ?? null;
  const verify = useMutation({
    mutationFn: () => unwrap(client.GET("/api/v1/audit/verify")),
    onError: toast.failed,
  });
  return (
    <div className="flex h-full min-h-0 flex-col">
      <div className="flex flex-wrap gap-2 border-b border-line px-3 py-2">
        <Input
          aria-label="Who"
          placeholder="Who"
          className="min-w-32 flex-1 sm:max-w-48"
          value={search.who ?? ""}
          onChange={(event) => set({ who: event.target.value || undefined }, { replace: true })}
        />
        <Input
          aria-label="What"
          placeholder="What, such as token.issue"
          data-search
          className="min-w-32 flex-1 sm:max-w-56"
          value={search.what ?? ""}
          onChange={(event) => set({ what: event.target.value || undefined }, { replace: true })}
        />
        <span role="status" className="ml-auto self-center text-sm">
          {verify.data ? <Verified found={verify.data} /> : null}
        </span>
        <Button icon={ShieldCheck} busy={verify.isPending} onClick={() => verify.mutate()}>
          Verify the chain
        </Button>
      </div>
      {query.isPending ? (
        <Skeleton rows={8} />
      ) : query.isError && items.length === 0 ? (
        <Failed error={query.error} onRetry={() => void query.refetch()} />
      ) : items.length === 0 ? (
        <Empty
          icon={ScrollText}
          title={search.who || search.what ? "Nothing of that kind was done" : "Nothing was done yet"}
          action={
            search.who || search.what ? (
              <Button onClick={() => set({ who: undefined, what: undefined })}>Show all</Button>
            ) : undefined
          }
        >
          Who and what are compared as a whole: <code className="font-mono">token.issue</code>, not{" "}
          <code className="font-mono">token</code>.
        </Empty>
      ) : (
        <Table<AuditLine>
          label="Audit trail"
          rows={items}
          keyOf={(line) => String(line.seq)}
          active={search.line ?? inHand}
          onActive={(line) => setInHand(String(line.seq))}
          onOpen={(line) => set({ line: String(line.seq) })}
          onEnd={more}
          columns={[
            {
              id: "at",
              header: "When",
              width: narrow ? "5rem" : "10.5rem",
              cell: (line) => (
                <time dateTime={line.at} title={formatTime(line.at, zone, "ms")} className="tnum text-muted">
                  {narrow ? `${formatAgo(line.at)} ago` : formatTime(line.at, zone)}
                </time>
              ),
            },
            { id: "who", header: "Who", width: narrow ? "minmax(5rem,1fr)" : "9rem", cell: (line) => line.principal },
            {
              id: "action",
              header: "What",
              width: narrow ? "9.5rem" : "11rem",
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
              from: "sm",
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
        onOpenChange={(shown) => !shown && set({ line: undefined })}
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

function Verified({ found }: { found: Schemas["AuditVerification"] }) {
  const zone = useZone((state) => state.zone);
  return found.ok ? (
    <span className="text-ok">
      {formatNumber(found.lines)} lines, unbroken at {formatTime(found.time, zone, "clock")}
    </span>
  ) : (
    <span className="font-medium text-critical">the chain is broken at line {found.broken_at ?? "?"}</span>
  );
}
