import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Check, FlaskConical, RotateCcw, X } from "lucide-react";
import { useState } from "react";
import { formatTime, useZone } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Card } from "@/ui/Card";
import { Dialog } from "@/ui/Dialog";
import { Field, TextArea } from "@/ui/Field";
import { Badge } from "@/ui/Severity";
import { Remote } from "@/ui/States";
import { toast } from "@/ui/Toasts";
import { actionWords, answerRun, getPlan, getRuns, type Plan, type Run, wouldDo } from "./plan";

const TONES: Record<string, "ok" | "warning" | "critical" | "info" | "quiet"> = {
  succeeded: "ok",
  failed: "critical",
  rolled_back: "warning",
  refused: "warning",
  awaiting_approval: "info",
  running: "info",
  verifying: "info",
  rolling_back: "warning",
  queued: "info",
};
const UNDER_WAY = new Set(["queued", "running", "verifying", "rolling_back"]);

/** What playbooks would do, did, and wait to be allowed. A plan is a dry run: it looks at the targets and touches nothing. */
export function Actions({ id, disabled }: { id: string; disabled: string | null }) {
  const [planned, setPlanned] = useState(false);
  const [asked, setAsked] = useState<{ run: Run; answer: "approve" | "reject" | "cancel" } | null>(null);
  const plan = useQuery({
    queryKey: ["plan", id],
    queryFn: ({ signal }) => getPlan(id, signal),
    enabled: planned,
    staleTime: 0,
  });
  const runs = useQuery({
    queryKey: ["runs", id],
    queryFn: ({ signal }) => getRuns(id, signal),
    refetchInterval: 10_000,
  });
  return (
    <Card
      title="Actions"
      padded={false}
      actions={
        <Button
          size="sm"
          icon={FlaskConical}
          busy={plan.isFetching}
          onClick={() => {
            if (planned) void plan.refetch();
            else setPlanned(true);
          }}
        >
          {planned ? "Plan again" : "Plan (dry run)"}
        </Button>
      }
    >
      <Remote of={runs}>
        {(items) =>
          items.length === 0 ? (
            <p className="px-3 py-2 text-sm text-muted">
              Nothing was done about it. A plan shows what playbooks would do; it touches nothing.
            </p>
          ) : (
            <ul className="divide-y divide-line/60">
              {items.map((run) => (
                <RunLine key={run.id} run={run} disabled={disabled} onAnswer={(answer) => setAsked({ run, answer })} />
              ))}
            </ul>
          )
        }
      </Remote>
      {planned ? (
        <div className="border-t border-line">
          <Remote
            of={plan}
            empty={{
              when: (plans) => plans.length === 0,
              show: <p className="p-3 text-sm text-muted">No playbook is about such an alert.</p>,
            }}
          >
            {(plans) => (
              <ul className="divide-y divide-line/60">
                {plans.map((each) => (
                  <PlanView key={each.playbook} plan={each} />
                ))}
              </ul>
            )}
          </Remote>
        </div>
      ) : null}
      {asked ? <Answer {...asked} onClose={() => setAsked(null)} alert={id} /> : null}
    </Card>
  );
}

function RunLine({
  run,
  disabled,
  onAnswer,
}: {
  run: Run;
  disabled: string | null;
  onAnswer: (answer: "approve" | "reject" | "cancel") => void;
}) {
  const zone = useZone((state) => state.zone);
  return (
    <li className="flex flex-wrap items-center gap-x-2 gap-y-1 px-3 py-2 text-sm">
      <Badge tone={TONES[run.state] ?? "quiet"}>{run.state.replaceAll("_", " ")}</Badge>
      <span className="font-medium">{run.playbook}</span>
      <span className="min-w-0 flex-1 text-muted" title={run.reason}>
        {run.actions.join(", ")}
      </span>
      <time dateTime={run.created_at} className="tnum text-xs text-faint">
        {formatTime(run.created_at, zone)}
      </time>
      <p className="w-full text-xs break-words text-muted">{run.reason}</p>
      {run.state === "awaiting_approval" ? (
        <span className="flex gap-1.5">
          <Button
            size="sm"
            icon={Check}
            disabled={disabled !== null}
            title={disabled ?? undefined}
            onClick={() => onAnswer("approve")}
          >
            Approve…
          </Button>
          <Button
            size="sm"
            icon={X}
            disabled={disabled !== null}
            title={disabled ?? undefined}
            onClick={() => onAnswer("reject")}
          >
            Reject…
          </Button>
        </span>
      ) : UNDER_WAY.has(run.state) ? (
        <Button
          size="sm"
          icon={X}
          disabled={disabled !== null}
          title={disabled ?? undefined}
          onClick={() => onAnswer("cancel")}
        >
          Cancel…
        </Button>
      ) : null}
    </li>
  );
}

function PlanView({ plan }: { plan: Plan }) {
  const would = wouldDo(plan);
  return (
    <li className="flex flex-col gap-1.5 px-3 py-2 text-sm">
      <div className="flex flex-wrap items-center gap-2">
        <span className="font-medium">{plan.title}</span>
        <span className="text-xs text-faint">
          {plan.playbook} v{plan.version}
        </span>
        <Badge tone={would.tone}>{would.text}</Badge>
      </div>
      <p className="text-xs text-muted">{plan.mode_reason}</p>
      {plan.looked.length > 0 ? (
        <ol className="flex flex-col gap-1">
          {plan.looked.map((looked) => (
            <li key={actionWords(looked.action)} className="rounded border border-line px-2 py-1">
              <code className="font-mono text-xs break-words">{actionWords(looked.action)}</code>
              {looked.effect ? (
                <p className="text-xs text-muted">
                  {looked.effect.summary}; touches {looked.effect.reach.touched}
                  {looked.effect.reach.instances > 0 ? ` of ${looked.effect.reach.instances}` : ""}
                </p>
              ) : null}
              {looked.effect?.inverse ? (
                <p className="flex items-center gap-1 text-xs text-muted">
                  <RotateCcw size={11} aria-hidden /> undone by {actionWords(looked.effect.inverse)}
                </p>
              ) : looked.effect ? (
                <p className="text-xs text-warning">cannot be undone</p>
              ) : null}
              {looked.against ? <p className="text-xs text-warning">{looked.against}</p> : null}
            </li>
          ))}
        </ol>
      ) : plan.script ? (
        <ol className="flex flex-col gap-1">
          {plan.script.steps.map((step) => (
            <li key={actionWords(step.action)}>
              <code className="font-mono text-xs">{actionWords(step.action)}</code>
            </li>
          ))}
        </ol>
      ) : null}
    </li>
  );
}

const WORDS = { approve: "Approve", reject: "Reject", cancel: "Cancel" } as const;

function Answer({
  run,
  answer,
  alert,
  onClose,
}: {
  run: Run;
  answer: "approve" | "reject" | "cancel";
  alert: string;
  onClose: () => void;
}) {
  const queries = useQueryClient();
  const [note, setNote] = useState("");
  const [busy, setBusy] = useState(false);
  // What is approved is looked at anew: it may have changed since the run began to wait.
  const plan = useQuery({
    queryKey: ["plan", alert],
    queryFn: ({ signal }) => getPlan(alert, signal),
    enabled: answer === "approve",
    staleTime: 0,
  });
  const send = (): void => {
    setBusy(true);
    answerRun(run.id, answer, note.trim())
      .then(() => {
        toast.ok(
          `${run.playbook}: ${answer === "approve" ? "approved" : answer === "reject" ? "rejected" : "cancelled"}`,
        );
        onClose();
      })
      .catch((error: unknown) => toast.failed(error))
      .finally(() => {
        setBusy(false);
        void queries.invalidateQueries({ queryKey: ["runs", alert] });
      });
  };
  const concerned = plan.data?.filter((each) => each.playbook === run.playbook) ?? [];
  return (
    <Dialog
      open
      onOpenChange={(open) => !open && onClose()}
      title={`${WORDS[answer]} ${run.playbook}`}
      description={run.actions.join(", ")}
      footer={
        <>
          <Button onClick={onClose}>Leave it</Button>
          <Button kind={answer === "approve" ? "primary" : "danger"} busy={busy} onClick={send}>
            {WORDS[answer]}
          </Button>
        </>
      }
    >
      <div className="flex flex-col gap-3">
        {answer === "approve" ? (
          <div className="rounded-md border border-line">
            <Remote of={plan}>
              {() =>
                concerned.length > 0 ? (
                  <ul>
                    {concerned.map((each) => (
                      <PlanView key={each.playbook} plan={each} />
                    ))}
                  </ul>
                ) : (
                  <p className="p-3 text-sm text-muted">The playbook no longer plans anything about this alert.</p>
                )
              }
            </Remote>
          </div>
        ) : null}
        <Field label="Note" hint="Kept with the run and in the audit trail.">
          {(ids) => (
            <TextArea
              {...ids}
              autoFocus
              rows={2}
              value={note}
              maxLength={1000}
              onChange={(event) => setNote(event.target.value)}
            />
          )}
        </Field>
      </div>
    </Dialog>
  );
}
