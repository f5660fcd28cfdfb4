/** Some of what was found: alerts that would have been raised, records that matched. */
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { Schemas } from "@/api/client";
import { formatTime, useZone } from "@/lib/time";
import { Badge, SeverityBadge } from "@/ui/Severity";

type WouldBe = Schemas["WouldBeAlert"] & { raised?: string };

/** Alerts that are no alerts: when, about what, in one sentence. `badge` says more of one. */
export function AlertSample({ items, badge }: { items: WouldBe[]; badge?: (alert: WouldBe) => ReactNode }) {
  const zone = useZone((state) => state.zone);
  if (items.length === 0) return null;
  return (
    <ul className="flex flex-col divide-y divide-line/60 text-sm" aria-label="Some of the alerts">
      {items.map((alert, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: a sample does not change
        <li key={index} className="flex flex-col gap-0.5 py-1.5">
          <div className="flex flex-wrap items-center gap-2">
            <SeverityBadge of={alert.severity} />
            <span className="font-medium">{alert.title}</span>
            <code className="font-mono text-xs text-muted">{alert.entity.value}</code>
            {badge?.(alert)}
            <time dateTime={alert.time} className="tnum ml-auto text-xs text-muted">
              {formatTime(alert.time, zone)}
            </time>
          </div>
          <p className="text-xs break-words text-muted">{alert.summary}</p>
        </li>
      ))}
    </ul>
  );
}

/** Records that matched, each with a way to what stands around it. */
export function RecordSample({ items }: { items: Schemas["MatchedRecord"][] }) {
  const zone = useZone((state) => state.zone);
  if (items.length === 0) return null;
  return (
    <ul className="flex flex-col divide-y divide-line/60 text-xs" aria-label="Some of the records">
      {items.map((record) => (
        <li key={`${record.id}${record.rule}`} className="flex flex-wrap items-baseline gap-x-2 py-1">
          <Link
            to="/explore"
            search={aroundOf(record) as never}
            className="tnum text-accent hover:underline"
            title="Show what stands around it"
          >
            {formatTime(record.time, zone, "ms")}
          </Link>
          {record.service ? <Badge>{record.service}</Badge> : null}
          <span className="min-w-0 flex-1 font-mono break-words">{record.message ?? "no message"}</span>
        </li>
      ))}
    </ul>
  );
}

/** The minute before and after a record, of its service. */
function aroundOf({ time, service }: { time: string; service?: string | null }): Record<string, string> {
  const at = Date.parse(time);
  return {
    ...(service ? { q: `service:${JSON.stringify(service)}` } : {}),
    from: new Date(at - 60_000).toISOString(),
    to: new Date(at + 60_000).toISOString(),
  };
}

/** The words of a record that say most. */
export function headline(item: Record<string, unknown>): string {
  const words = ["service", "title", "summary", "message"]
    .map((name) => item[name])
    .filter((value) => typeof value === "string");
  return words.length > 0 ? words.join("  ") : JSON.stringify(item);
}
