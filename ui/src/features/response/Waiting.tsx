import { Link } from "@tanstack/react-router";
import { Check, CheckCheck, X } from "lucide-react";
import { useState } from "react";
import { useCan } from "@/app/whoami";
import { formatAgo, formatTime, useZone } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Empty, Remote } from "@/ui/States";
import { Answer } from "./Answer";
import { type Run, useWaiting } from "./api";

/** Runs that ask a person: what they would do, why, until when. */
export function Waiting({ onOpen }: { onOpen: (id: string) => void }) {
  const waiting = useWaiting();
  const [asked, setAsked] = useState<{ run: Run; step: "approve" | "reject" } | null>(null);
  return (
    <div className="p-3">
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
      {asked ? (
        <Answer id={asked.run.id} actions={asked.run.actions} step={asked.step} onClose={() => setAsked(null)} />
      ) : null}
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
  const why = can ? undefined : "Needs the scope alerts:write";
  return (
    <li className="flex flex-wrap items-center gap-3 rounded-lg border border-line bg-surface p-3">
      <div className="min-w-60 flex-1">
        <p className="font-medium">
          {run.actions.map((action) => (
            <code key={action} className="mr-2 font-mono text-sm">
              {action}
            </code>
          ))}
        </p>
        <p className="text-sm text-muted">
          because of{" "}
          <Link to="/alerts/$id" params={{ id: run.alert.id }} className="text-accent underline">
            {run.alert.title}
          </Link>{" "}
          · {run.playbook} v{run.version} · {run.approval?.why ?? run.reason}
        </p>
        <p className="text-xs text-faint">
          asked {formatAgo(run.created_at)} ago
          {run.approval?.expires_at
            ? ` · counts as a no ${formatAgo(run.approval.expires_at)} (${formatTime(run.approval.expires_at, zone, "clock")})`
            : ""}
          {run.approval?.by?.some((who) => who !== "*") ? ` · may be answered by ${run.approval.by.join(", ")}` : ""}
        </p>
      </div>
      <div className="flex gap-1.5">
        <Button onClick={() => onOpen(run.id)} title="What was found at its targets">
          Look
        </Button>
        <Button icon={X} disabled={!can} title={why} onClick={() => onAnswer("reject")}>
          Reject
        </Button>
        <Button kind="primary" icon={Check} disabled={!can} title={why} onClick={() => onAnswer("approve")}>
          Approve
        </Button>
      </div>
    </li>
  );
}
