import { Link } from "@tanstack/react-router";
import {
  Activity,
  BellRing,
  Flag,
  type LucideIcon,
  MessageSquare,
  Shuffle,
  TrendingUp,
  UserRound,
  Wrench,
} from "lucide-react";
import { type FormEvent, useState } from "react";
import { formatAgo, formatTime, useZone, zoneName } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Card } from "@/ui/Card";
import { Input } from "@/ui/Field";
import type { IncidentDetail } from "./api";

const SIGNS: Record<string, LucideIcon> = {
  opened: Flag,
  raised: Activity,
  worse: TrendingUp,
  told: BellRing,
  notified: BellRing,
  assigned: UserRound,
  owner: UserRound,
  comment: MessageSquare,
  commented: MessageSquare,
  action: Wrench,
};

/** All that happened, newest first, and a place to say more. */
export function IncidentTimeline({
  incident,
  disabled,
  onComment,
}: {
  incident: IncidentDetail;
  disabled: string | null;
  onComment: (text: string) => Promise<boolean>;
}) {
  const zone = useZone((state) => state.zone);
  const [text, setText] = useState("");
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    const said = text.trim();
    if (!said) return;
    setText("");
    void onComment(said).then((taken) => {
      if (!taken) setText(said);
    });
  };
  // Comments that the timeline does not hold itself are put into it.
  const known = new Set(incident.timeline.map((event) => event.at));
  const events = [
    ...incident.timeline,
    ...incident.comments
      .filter((comment) => !known.has(comment.at))
      .map((comment) => ({ ...comment, kind: "comment", alert: undefined })),
  ].sort((a, b) => (a.at < b.at ? 1 : a.at > b.at ? -1 : 0));
  return (
    <Card title="Timeline" hint={zoneName(zone)} padded={false}>
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
      <ol className="max-h-140 overflow-auto px-3 pb-2">
        {events.map((event) => {
          const Icon = SIGNS[event.kind] ?? Shuffle;
          return (
            <li
              key={`${event.at}${event.kind}${event.text}`}
              className="flex gap-x-2.5 py-1.5 text-sm max-sm:flex-wrap"
            >
              <Icon size={14} role="img" aria-label={event.kind} className="mt-0.5 shrink-0 text-muted" />
              <p className="min-w-0 flex-1 break-words">
                <span className="font-medium">{event.by}</span>{" "}
                {event.alert ? (
                  <Link to="/alerts/$id" params={{ id: event.alert }} className="text-muted hover:underline">
                    {event.text}
                  </Link>
                ) : (
                  <span className={event.kind.startsWith("comment") ? "" : "text-muted"}>{event.text}</span>
                )}
              </p>
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
        {incident.timeline_dropped > 0 ? (
          <li className="py-1.5 text-xs text-warning">
            {incident.timeline_dropped.toLocaleString("en-US")} older entries are no longer kept.
          </li>
        ) : null}
      </ol>
    </Card>
  );
}
