import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { useCan } from "@/app/whoami";
import { formatMs } from "@/lib/format";
import { formatTime, useZone } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Badge } from "@/ui/Severity";
import { Remote } from "@/ui/States";
import { isLive, type RunDetail, runLook, useRun, useRunStep } from "./api";

/** One run: what it would do or did, step by step, and the proof that it helped. */
export function RunPanel({ id, onClose }: { id: string | null; onClose: () => void }) {
  const run = useRun(id);
  const step = useRunStep();
  const can = useCan("alerts:write");
  const [sure, setSure] = useState(false);
  const data = run.data;
  const waits = data?.state === "awaiting_approval";
  return (
    <Dialog
      side
      open={id !== null}
      onOpenChange={(open) => !open && onClose()}
      title={data ? `${data.playbook} v${data.version}` : "Run"}
      description={data ? data.reason : undefined}
      footer={
        data && isLive(data.state) ? (
          sure ? (
            <>
              <span className="mr-auto text-sm text-muted">
                {waits ? "It will act at once." : "What has begun is ended or undone as the playbook says."}
              </span>
              <Button onClick={() => setSure(false)}>Back</Button>
              <Button
                kind={waits ? "primary" : "danger"}
                busy={step.isPending}
                onClick={() =>
                  step.mutate(
                    { id: data.id, step: waits ? "approve" : "cancel", note: "" },
                    { onSuccess: () => setSure(false) },
                  )
                }
              >
                {waits ? "Approve it" : "Cancel it"}
              </Button>
            </>
          ) : (
            <>
              {waits ? (
                <Button disabled={!can} onClick={() => step.mutate({ id: data.id, step: "reject", note: "" })}>
                  Reject
                </Button>
              ) : null}
              <Button kind={waits ? "primary" : "danger"} disabled={!can} onClick={() => setSure(true)}>
                {waits ? "Approve" : "Cancel the run"}
              </Button>
            </>
          )
        ) : null
      }
    >
      <Remote of={run}>{(detail) => <Body run={detail} />}</Remote>
    </Dialog>
  );
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
          <Link to="/alerts/$id" params={{ id: run.alert.id }} className="text-accent hover:underline">
            {run.alert.title}
          </Link>
        </span>
      </div>
      <section>
        <h3 className="mb-1.5 font-semibold">
          {legs.some((leg) => leg.steps.some((one) => one.attempts.length > 0)) ? "What it did" : "What it would do"}
        </h3>
        <ol className="flex flex-col gap-2">
          {run.script.steps.map((planned, index) => {
            const tried = legs.find((leg) => leg.branch === "main")?.steps[index]?.attempts ?? [];
            const seen = tried.at(-1)?.effect ?? run.looked?.[index]?.effect;
            return (
              // biome-ignore lint/suspicious/noArrayIndexKey: steps are told apart by their place
              <li key={index} className="rounded-md border border-line bg-surface p-2.5">
                <code className="font-mono">
                  {planned.action.kind} {planned.action.target}
                </code>
                <p className="text-muted">{seen?.summary ?? "nothing was looked at yet"}</p>
                <p className="text-xs text-faint">
                  {seen
                    ? `touches ${seen.reach.touched} · ${seen.inverse ? "can be undone" : "has no inverse"} · ${seen.is_idempotent ? "safe to repeat" : "not safe to repeat"} · `
                    : ""}
                  timeout {planned.timeout ?? "default"} · {planned.retries} retries · on failure {planned.on_failure}
                </p>
                {tried.map((attempt) => (
                  <p key={attempt.begun_at} className="mt-1 text-xs">
                    <span className="tnum text-faint">{formatTime(attempt.begun_at, zone, "clock-ms")}</span>{" "}
                    {attempt.end ? `${attempt.end.kind}: ${attempt.end.summary ?? ""}` : "under way"}
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
              {leg.verified.is_healed ? "It helped" : "Not yet"}: {leg.verified.detail} (looked {leg.verified.count}{" "}
              times)
            </p>
          </section>
        ) : null,
      )}
      <section>
        <h3 className="mb-1.5 font-semibold">Timeline</h3>
        <ol className="flex flex-col gap-1">
          {run.timeline.map((entry) => (
            <li key={`${entry.at}${entry.text}`} className="flex gap-3">
              <time dateTime={entry.at} className="tnum shrink-0 text-faint" title={entry.at}>
                {formatTime(entry.at, zone, "clock-ms")}
              </time>
              <span>{entry.text}</span>
            </li>
          ))}
        </ol>
      </section>
    </div>
  );
}
