import { Link } from "@tanstack/react-router";
import { Check, CheckCheck, X } from "lucide-react";
import { useState } from "react";
import { useCan } from "@/app/whoami";
import { formatAgo, formatTime, useZone } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Field, Input } from "@/ui/Field";
import { Empty, Remote } from "@/ui/States";
import { type Run, useRunStep, useWaiting } from "./api";

/** Runs that ask a person: what they would do, why, until when. */
export function Waiting({ onOpen }: { onOpen: (id: string) => void }) {
  const waiting = useWaiting();
  const [asked, setAsked] = useState<{ run: Run; step: "approve" | "reject" } | null>(null);
  return (
    <div className="h-full overflow-auto p-3">
      <Remote
        of={waiting}
        empty={{
          when: (page) => page.items.length === 0,
          show: (
            <Empty icon={CheckCheck} title="Nothing waits for you">
              A playbook in the mode <code className="font-mono">approve</code> asks here before it acts.
            </Empty>
          ),
        }}
      >
        {(page) => (
          <ul className="flex flex-col gap-2">
            {page.items.map((run) => (
              <Question key={run.id} run={run} onOpen={onOpen} onAnswer={(step) => setAsked({ run, step })} />
            ))}
          </ul>
        )}
      </Remote>
      {asked ? <Answer {...asked} onClose={() => setAsked(null)} /> : null}
    </div>
  );
}

function Question({
  run,
  onOpen,
  onAnswer,
}: {
  run: Run;
  onOpen: (id: string) => void;
  onAnswer: (step: "approve" | "reject") => void;
}) {
  const zone = useZone((state) => state.zone);
  const can = useCan("alerts:write");
  return (
    <li className="flex flex-wrap items-center gap-3 rounded-lg border border-line bg-surface p-3">
      <div className="min-w-0 flex-1">
        <p className="font-medium">
          {run.actions.map((action) => (
            <code key={action} className="mr-2 font-mono text-sm">
              {action}
            </code>
          ))}
        </p>
        <p className="text-sm text-muted">
          because of{" "}
          <Link to="/alerts/$id" params={{ id: run.alert.id }} className="text-accent hover:underline">
            {run.alert.title}
          </Link>{" "}
          · {run.playbook} v{run.version} · {run.approval?.why ?? run.reason}
        </p>
        <p className="text-xs text-faint">
          asked {formatAgo(run.created_at)} ago
          {run.approval?.expires_at ? ` · until ${formatTime(run.approval.expires_at, zone, "second")}` : ""}
          {run.approval?.by?.length ? ` · of ${run.approval.by.join(", ")}` : ""}
        </p>
      </div>
      <div className="flex gap-1.5">
        <Button onClick={() => onOpen(run.id)}>Dry run</Button>
        <Button icon={X} disabled={!can} onClick={() => onAnswer("reject")}>
          Reject
        </Button>
        <Button kind="primary" icon={Check} disabled={!can} onClick={() => onAnswer("approve")}>
          Approve
        </Button>
      </div>
    </li>
  );
}

function Answer({ run, step, onClose }: { run: Run; step: "approve" | "reject"; onClose: () => void }) {
  const [note, setNote] = useState("");
  const answer = useRunStep();
  const approve = step === "approve";
  return (
    <Dialog
      open
      onOpenChange={(open) => !open && onClose()}
      title={approve ? "Let it act?" : "Reject it?"}
      description={run.actions.join(" · ")}
      footer={
        <>
          <Button onClick={onClose}>Back</Button>
          <Button
            kind={approve ? "primary" : "danger"}
            busy={answer.isPending}
            onClick={() => answer.mutate({ id: run.id, step, note }, { onSuccess: onClose })}
          >
            {approve ? "Approve" : "Reject"}
          </Button>
        </>
      }
    >
      <Field label="Note" hint="Stands in the run and in the audit trail.">
        {(ids) => (
          <Input {...ids} autoFocus value={note} onChange={(event) => setNote(event.target.value)} maxLength={500} />
        )}
      </Field>
    </Dialog>
  );
}
