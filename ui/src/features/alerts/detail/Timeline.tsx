import { useQuery } from "@tanstack/react-query";
import { Activity, BellOff, BellRing, type LucideIcon, MessageSquare, Scale, Shuffle } from "lucide-react";
import { type FormEvent, useState } from "react";
import { cx } from "@/lib/cx";
import { formatAgo, formatTime, useZone, zoneName } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Card } from "@/ui/Card";
import { Input } from "@/ui/Field";
import { Partial as PartialNotice } from "@/ui/States";
import { commentAlert, getDecisions } from "../api";
import type { AlertDetail } from "../model";
import { type EventKind, timelineOf } from "./timeline";
import type { Change } from "./types";

const SIGNS: Record<EventKind, { icon: LucideIcon; tone: string; name: string }> = {
  found: { icon: Activity, tone: "text-warning", name: "finding" },
  status: { icon: Shuffle, tone: "text-info", name: "status" },
  comment: { icon: MessageSquare, tone: "text-accent", name: "comment" },
  told: { icon: BellRing, tone: "text-ok", name: "notification" },
  untold: { icon: BellOff, tone: "text-faint", name: "no notification" },
  feedback: { icon: Scale, tone: "text-accent", name: "feedback" },
};

/** What happened: findings, steps, comments, who was told and why not. */
export function Timeline({ alert, change, disabled }: { alert: AlertDetail; change: Change; disabled: string | null }) {
  const zone = useZone((state) => state.zone);
  const decisions = useQuery({
    queryKey: ["decisions", alert.id],
    queryFn: ({ signal }) => getDecisions(alert.id, signal),
    refetchInterval: 15_000,
  });
  const events = timelineOf(alert, decisions.data ?? []);
  return (
    <Card title="Timeline" hint={zoneName(zone)} padded={false}>
      {decisions.isError ? <PartialNotice warnings={["who was told could not be asked"]} /> : null}
      <CommentBox alert={alert} change={change} disabled={disabled} />
      <ol className="max-h-120 overflow-auto px-3 pb-2">
        {events.map((event) => {
          const sign = SIGNS[event.kind];
          return (
            <li
              key={`${event.at}${event.kind}${event.text}`}
              className="flex gap-x-2.5 py-1.5 text-sm max-sm:flex-wrap"
            >
              <sign.icon size={14} role="img" aria-label={sign.name} className={cx("mt-0.5 shrink-0", sign.tone)} />
              <div className="min-w-0 flex-1">
                <p className="break-words">
                  {event.by ? <span className="font-medium">{event.by} </span> : null}
                  <span className={event.kind === "comment" ? "" : "text-muted"}>{event.text}</span>
                </p>
                {event.detail ? <p className="text-xs break-words text-muted">{event.detail}</p> : null}
              </div>
              <time
                dateTime={event.at}
                title={`${formatAgo(event.at)} ago`}
                className="tnum shrink-0 text-xs text-faint max-sm:w-full max-sm:pl-6"
              >
                {formatTime(event.at, zone)}
              </time>
            </li>
          );
        })}
      </ol>
    </Card>
  );
}

function CommentBox({ alert, change, disabled }: { alert: AlertDetail; change: Change; disabled: string | null }) {
  const [text, setText] = useState("");
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    const said = text.trim();
    if (!said) return;
    setText("");
    void change({}, () => commentAlert(alert.id, said)).then((taken) => {
      if (!taken) setText(said);
    });
  };
  return (
    <form onSubmit={submit} className="flex gap-2 border-b border-line p-2">
      <Input
        aria-label="Comment"
        placeholder="Write what you know"
        value={text}
        maxLength={2000}
        disabled={disabled !== null}
        title={disabled ?? undefined}
        onChange={(event) => setText(event.target.value)}
      />
      <Button type="submit" disabled={disabled !== null || !text.trim()}>
        Comment
      </Button>
    </form>
  );
}
