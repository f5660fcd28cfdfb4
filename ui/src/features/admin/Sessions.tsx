import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Plug } from "lucide-react";
import { useState } from "react";
import { requestJson, type Schemas } from "@/api/client";
import { usePages } from "@/api/pages";
import { useCan } from "@/app/whoami";
import { formatAgo, formatTime, useZone } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Badge } from "@/ui/Severity";
import { Empty, Failed, Skeleton } from "@/ui/States";
import { Table } from "@/ui/Table";
import { toast } from "@/ui/Toasts";

type LiveSession = Schemas["Session"];

const KINDS: Record<string, string> = {
  ws_alerts: "alerts in the browser",
  tail: "live tail",
  technician: "technician",
};
const PATH = "/api/v1/sessions";

/** Who is connected live right now; each can be cut. */
export function Sessions() {
  const queries = useQueryClient();
  const can = useCan("admin");
  const zone = useZone((state) => state.zone);
  const [cutting, setCutting] = useState<LiveSession | null>(null);
  const { query, items, more } = usePages<LiveSession>(PATH, {}, { refreshMs: 5000 });
  const cut = useMutation({
    mutationFn: (id: string) => requestJson<unknown>(`${PATH}/${id}`, { method: "DELETE" }),
    onSuccess: () => {
      toast.ok("Cut");
      setCutting(null);
      void queries.invalidateQueries({ queryKey: ["pages", PATH] });
    },
    onError: (error) => {
      toast.failed(error);
      // It may have ended by itself.
      void queries.invalidateQueries({ queryKey: ["pages", PATH] });
    },
  });
  if (query.isPending) return <Skeleton />;
  if (query.isError && items.length === 0) return <Failed error={query.error} onRetry={() => void query.refetch()} />;
  if (items.length === 0) {
    return (
      <Empty icon={Plug} title="Nobody is connected live">
        Live tails, this app's alert stream and technicians on the watch port appear here.
      </Empty>
    );
  }
  return (
    <div className="flex h-full min-h-0 flex-col">
      <Table<LiveSession>
        label="Live sessions"
        rows={items}
        keyOf={(session) => session.id}
        onEnd={more}
        rowHeight={36}
        columns={[
          {
            id: "kind",
            header: "What",
            width: "minmax(8rem,1fr)",
            cell: (session) => <Badge tone="info">{KINDS[session.kind] ?? session.kind}</Badge>,
          },
          { id: "who", header: "Who", width: "minmax(5.5rem,1fr)", cell: (session) => session.principal },
          { id: "tenant", header: "Tenant", width: "8rem", from: "md", cell: (session) => session.tenant },
          {
            id: "remote",
            header: "From",
            width: "10rem",
            from: "sm",
            cell: (session) => <span className="font-mono text-xs">{session.remote || "–"}</span>,
          },
          {
            id: "since",
            header: "Since",
            width: "4.5rem",
            cell: (session) => <span title={formatTime(session.since, zone)}>{formatAgo(session.since)}</span>,
          },
          {
            id: "do",
            header: <span className="sr-only">Actions</span>,
            width: "5rem",
            align: "right",
            cell: (session) => (
              <Button
                size="sm"
                kind="danger"
                disabled={!can}
                title={can ? undefined : "Needs the scope admin"}
                aria-label={`Cut the session of ${session.principal}`}
                onClick={() => setCutting(session)}
              >
                Cut
              </Button>
            ),
          },
        ]}
      />
      <Dialog
        open={cutting !== null}
        onOpenChange={(open) => !open && setCutting(null)}
        title={cutting ? `Cut the session of ${cutting.principal}?` : "Cut"}
        description={
          cutting
            ? `${KINDS[cutting.kind] ?? cutting.kind}, from ${cutting.remote || "an unknown address"}, since ${formatTime(cutting.since, zone)}`
            : undefined
        }
        footer={
          <>
            <Button onClick={() => setCutting(null)}>Leave it</Button>
            <Button kind="danger" busy={cut.isPending} onClick={() => cutting && cut.mutate(cutting.id)}>
              Cut it
            </Button>
          </>
        }
      >
        <p className="text-sm text-muted">
          The connection ends at once. Who holds a valid token can connect again: revoke the token to keep them out.
        </p>
      </Dialog>
    </div>
  );
}
