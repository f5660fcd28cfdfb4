import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { MailX, RotateCcw, Trash2 } from "lucide-react";
import { useState } from "react";
import { requestJson } from "@/api/client";
import { usePages, withQuery } from "@/api/pages";
import { useWhoAmI } from "@/app/whoami";
import { formatNumber } from "@/lib/format";
import { formatAgo, formatTime, useZone } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Empty, Failed, Remote, Skeleton } from "@/ui/States";
import { Table } from "@/ui/Table";

/** A record that was not taken, as it came. */
interface Letter {
  id: string;
  outcome: "rejected" | "quarantined";
  door: string;
  dataset: string;
  receipt: string;
  index: number;
  field: string;
  reason: string;
  time: string;
  is_cut?: boolean;
  raw?: string;
  encoding?: "base64";
}

interface Replayed {
  accepted: number;
  deduplicated: number;
  dropped: number;
  failed: { id: string; reason: string }[];
}

const PATH = "/api/v1/dead-letters";

/** What was refused or kept aside: to be looked at, tried again, or removed. */
export function DeadLetters() {
  const zone = useZone((state) => state.zone);
  const [open, setOpen] = useState<string | null>(null);
  const { query, items, more } = usePages<Letter>(PATH, { limit: 200 }, { refreshMs: 15_000 });
  if (query.isPending) return <Skeleton rows={8} />;
  if (query.isError && items.length === 0) return <Failed error={query.error} onRetry={() => void query.refetch()} />;
  if (items.length === 0) {
    return (
      <Empty icon={MailX} title="No dead letters">
        Records that are refused, or that a pipeline keeps aside, are kept here for a while as they came.
      </Empty>
    );
  }
  return (
    <div className="flex h-full min-h-0 flex-col">
      <Table<Letter>
        label="Dead letters"
        rows={items}
        keyOf={(letter) => letter.id}
        onOpen={(letter) => setOpen(letter.id)}
        onEnd={more}
        columns={[
          {
            id: "time",
            header: "When",
            width: "5.5rem",
            cell: (letter) => (
              <time dateTime={letter.time} title={formatTime(letter.time, zone, "ms")} className="text-muted">
                {formatAgo(letter.time)} ago
              </time>
            ),
          },
          { id: "door", header: "Door", width: "8rem", cell: (letter) => letter.door },
          { id: "dataset", header: "Dataset", width: "6rem", from: "md", cell: (letter) => letter.dataset },
          { id: "outcome", header: "Why kept", width: "7rem", from: "sm", cell: (letter) => letter.outcome },
          {
            id: "reason",
            header: "Reason",
            width: "minmax(10rem,1fr)",
            cell: (letter) => (
              <>
                {letter.field ? <code className="font-mono text-xs">{letter.field}</code> : null} {letter.reason}
              </>
            ),
          },
        ]}
      />
      <Dialog
        side
        open={open !== null}
        onOpenChange={(shown) => !shown && setOpen(null)}
        title="Dead letter"
        description={open ?? ""}
      >
        {open ? <Detail id={open} onGone={() => setOpen(null)} /> : null}
      </Dialog>
    </div>
  );
}

function Detail({ id, onGone }: { id: string; onGone: () => void }) {
  const { data: who } = useWhoAmI();
  const queries = useQueryClient();
  const one = useQuery({
    queryKey: ["dead-letter", id],
    queryFn: ({ signal }) => requestJson<Letter>(`${PATH}/${id}`, { signal }),
    retry: false,
  });
  const gone = () => {
    void queries.invalidateQueries({ queryKey: ["pages", PATH] });
  };
  const replay = useMutation({
    mutationFn: () => requestJson<Replayed>(`${PATH}/replay`, { method: "POST", json: { ids: [id] } }),
    onSuccess: gone,
  });
  const remove = useMutation({
    mutationFn: (receipt: string) => requestJson<unknown>(withQuery(PATH, { receipt }), { method: "DELETE" }),
    onSuccess: () => {
      gone();
      onGone();
    },
  });
  const may = who?.scopes.includes("admin") ?? false;
  return (
    <Remote of={one}>
      {(letter) => (
        <div className="flex flex-col gap-4 text-sm">
          <p>
            Record {formatNumber(letter.index)} of its batch through <strong>{letter.door}</strong>:{" "}
            {letter.field ? <code className="font-mono text-xs">{letter.field}</code> : null} {letter.reason}.
          </p>
          {letter.encoding === "base64" ? <p className="text-muted">Bytes that are no text, in base64:</p> : null}
          {/* biome-ignore lint/a11y/noNoninteractiveTabindex: text that scrolls must be reachable by keyboard */}
          <pre tabIndex={0} className="max-h-96 overflow-auto rounded-md bg-bg p-3 font-mono text-xs leading-5">
            {letter.raw}
            {letter.is_cut ? " …" : ""}
          </pre>
          <div className="flex gap-2">
            <Button icon={RotateCcw} disabled={!may || replay.isPending} onClick={() => replay.mutate()}>
              Try again
            </Button>
            <Button icon={Trash2} disabled={!may || remove.isPending} onClick={() => remove.mutate(letter.receipt)}>
              Remove all of this batch
            </Button>
          </div>
          {may ? null : <p className="text-muted">Trying again and removing need the scope admin.</p>}
          <p role="status">
            {replay.isSuccess ? outcome(replay.data) : null}
            {replay.isError ? <span className="text-critical">{String(replay.error)}</span> : null}
          </p>
        </div>
      )}
    </Remote>
  );
}

/** What became of a letter that was tried again. */
function outcome({ accepted, deduplicated, failed }: Replayed): string {
  const [still] = failed;
  if (still) return `Tried again, and still not taken: ${still.reason}.`;
  if (accepted > 0) return "Taken: it is a record now, and gone from here.";
  if (deduplicated > 0) return "An earlier try had been taken: it is gone from here.";
  return "A pipeline dropped it: it is gone from here.";
}
