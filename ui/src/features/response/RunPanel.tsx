import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { useCan } from "@/app/whoami";
import { formatMs } from "@/lib/format";
import { formatTime, useZone } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Badge } from "@/ui/Severity";
import { Remote } from "@/ui/States";
import { Answer } from "./Answer";
import { type Approval, type AttemptEnd, isLive, type RunDetail, type RunState, runLook, useRun } from "./api";

/** One run: what it would do or did, step by step, and the proof that it helped. */
export function RunPanel({ id, onClose }: { id: string | null; onClose: () => void }) {
  const run = useRun(id);
  const can = useCan("alerts:write");
  const why = can ? undefined : "Needs the scope alerts:write";
  const [asked, setAsked] = useState<"approve" | "reject" | "cancel" | null>(null);
  const data = run.data;
  const waits = data?.state === "awaiting_approval";
  return (
    <>
      <Dialog
        side
        open={id !== null}
        onOpenChange={(open) => !open && onClose()}
        title={data ? `${data.playbook} v${data.version}` : "Run"}
        description={data ? data.reason : undefined}
        footer={
          !data || !isLive(data.state) ? null : waits ? (
            <>
              <Button disabled={!can} title={why} onClick={() => setAsked("reject")}>
                Reject
              </Button>
              <Button kind="primary" disabled={!can} title={why} onClick={() => setAsked("approve")}>
                Approve
              </Button>
            </>
          ) : (
            <Button kind="danger" disabled={!can} title={why} onClick={() => setAsked("cancel")}>
              Cancel the run
            </Button>
          )
        }
      >
        <Remote of={run}>{(detail) => <Body run={detail} />}</Remote>
      </Dialog>
      {data && asked ? (
        <Answer
          id={data.id}
          actions={data.script.steps.map(({ action }) => `${action.kind} ${action.target}`)}
          step={asked}
          onClose={() => setAsked(null)}
        />
      ) : null}
    </>
  );
}

/** A line of the timeline, its state in words: `awaiting_approval: …` → `Waits for approval: …`. */
export function timelineText(text: string): string {
  return text.replace(/^([a-z_]+)(?=: )/, (state) => runLook(state as RunState).text);
}

/** How an attempt ended, in words. */
export function endText(end: AttemptEnd | null | undefined): string {
  if (!end) return "under way";
  const doubt = end.maybe_done ? "; it may have been done all the same" : "";
  switch (end.kind) {
    case "done":
      return end.summary ?? "done";
    case "failed":
      return `failed: ${end.reason ?? "nobody says why"}${doubt}`;
    case "refused":
      return `refused: ${end.reason ?? "nobody says why"}`;
    case "lost":
      return `cut short by a crash${doubt}`;
    default:
      return `nobody can tell whether it was done: ${end.reason ?? ""}`;
  }
}

function Body({ run }: { run: RunDetail }) {
  const zone = useZone((state) => state.zone);
  const look = runLook(run.state);
  const legs = run.legs ?? [];
  return (
    <div className="flex flex-col gap-5 text-sm">
      <div className="flex flex-wrap items-center gap-2">
        <Badge tone={look.tone}>{look.text}</Badge>
        <Badge>mode {run.mode}</Badge>
        <span className="text-muted">
          because of{" "}
          <Link to="/alerts/$id" params={{ id: run.alert.id }} className="text-accent underline">
            {run.alert.title}
          </Link>
        </span>
      </div>
      {run.approval ? <Asked approval={run.approval} /> : null}
      <section>
        <h3 className="mb-1.5 font-semibold">
          {legs.some((leg) => leg.steps.some((one) => one.attempts.length > 0)) ? "What it did" : "What it would do"}
        </h3>
        <ol className="flex flex-col gap-2">
          {run.script.steps.map((planned, index) => {
            const tried = legs.find((leg) => leg.branch === "main")?.steps[index]?.attempts ?? [];
            const looked = run.looked?.[index];
            const seen = tried.at(-1)?.effect ?? looked?.effect;
            return (
              // biome-ignore lint/suspicious/noArrayIndexKey: steps are told apart by their place
              <li key={index} className="rounded-md border border-line bg-surface p-2.5">
                <code className="font-mono break-all">
                  {planned.action.kind} {planned.action.target}
                </code>
                {planned.action.with && Object.keys(planned.action.with).length > 0 ? (
                  <p className="font-mono text-xs break-words text-muted">
                    {Object.entries(planned.action.with)
                      .map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`)
                      .join(" ")}
                  </p>
                ) : null}
                <p className="text-muted">{seen?.summary ?? "nothing was looked at yet"}</p>
                {looked?.against ? <p className="text-warning">speaks against it: {looked.against}</p> : null}
                <p className="text-xs text-faint">
                  {seen
                    ? `touches ${seen.reach.touched} · ${seen.inverse ? "can be undone" : "has no inverse"} · ${seen.is_idempotent ? "safe to repeat" : "not safe to repeat"} · `
                    : ""}
                  timeout {planned.timeout ?? "default"} · {planned.retries} retries · on failure {planned.on_failure}
                </p>
                {tried.map((attempt) => (
                  <p key={attempt.begun_at} className="mt-1 text-xs">
                    <span className="tnum text-faint">{formatTime(attempt.begun_at, zone, "clock-ms")}</span>{" "}
                    {endText(attempt.end)}
                    {attempt.ended_at ? (
                      <span className="text-faint">
                        {" "}
                        in {formatMs(Date.parse(attempt.ended_at) - Date.parse(attempt.begun_at))}
                      </span>
                    ) : null}
                  </p>
                ))}
              </li>
            );
          })}
        </ol>
      </section>
      {legs.map((leg) =>
        leg.verified ? (
          <section key={leg.branch}>
            <h3 className="mb-1 font-semibold">Proof</h3>
            <p className={leg.verified.is_healed ? "text-ok" : "text-warning"}>
              {leg.verified.is_healed ? "It helped" : "Not yet"}: {leg.verified.detail} (looked{" "}
              {leg.verified.count === 1 ? "once" : `${leg.verified.count} times`})
            </p>
          </section>
        ) : null,
      )}
      <section>
        <h3 className="mb-1.5 font-semibold">Timeline</h3>
        <ol className="flex flex-col gap-1">
          {run.timeline.map((entry, index) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: a timeline only grows
            <li key={index} className="flex gap-3">
              <time dateTime={entry.at} className="tnum shrink-0 text-faint" title={entry.at}>
                {formatTime(entry.at, zone, "clock-ms")}
              </time>
              <span className="min-w-0 break-words">{timelineText(entry.text)}</span>
            </li>
          ))}
        </ol>
      </section>
    </div>
  );
}

function Asked({ approval }: { approval: Approval }) {
  const zone = useZone((state) => state.zone);
  const { answer } = approval;
  return (
    <p className="text-muted">
      A person was asked: {approval.why}.{" "}
      {answer
        ? `${approval.is_approved ? "Approved" : "Rejected"} by ${answer.by} at ${formatTime(answer.at, zone)}${answer.note ? `: ${answer.note}` : ""}`
        : approval.expires_at
          ? `Without an answer until ${formatTime(approval.expires_at, zone)} it is a no.`
          : ""}
    </p>
  );
}
