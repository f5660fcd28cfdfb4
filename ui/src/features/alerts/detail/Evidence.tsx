import { useQuery } from "@tanstack/react-query";
import { Fragment, useState } from "react";
import { ask, type Cell } from "@/api/query";
import { cx } from "@/lib/cx";
import { formatUnit } from "@/lib/format";
import { formatTime, toRfc3339, useZone } from "@/lib/time";
import { Card } from "@/ui/Card";
import { Sign } from "@/ui/Severity";
import { Empty, Remote } from "@/ui/States";
import type { AlertDetail } from "../model";
import { type DataQuery, quoted, unitOf } from "./band";
import { ExploreLink } from "./ExploreLink";

type Line = Record<string, Cell>;

const MEASURED = new Set(["zscore", "baseline", "threshold"]);
const DAY_MS = 86_400_000;
const AROUND_MS = 60_000;

/** The records an alert rests on: log records, samples of metrics, or both. The other kind is asked for what one does not have. */
async function evidenceOf(alert: AlertDetail, signal: AbortSignal): Promise<Line[]> {
  const ids = alert.evidence.filter((id) => /^[0-9a-f-]{36}$/i.test(id));
  const question: DataQuery = {
    query: `id:(${ids.join(" OR ")}) | sort timestamp`,
    from: toRfc3339(Date.parse(alert.first_seen) - DAY_MS),
    to: toRfc3339(Date.parse(alert.last_seen) + DAY_MS),
    limit: ids.length,
  };
  const datasets = MEASURED.has(alert.detector) ? (["metrics", "logs"] as const) : (["logs", "metrics"] as const);
  const lines: Line[] = [];
  for (const dataset of datasets) {
    const answer = await ask({ ...question, dataset } as DataQuery, signal);
    for (const row of answer.rows)
      lines.push(Object.fromEntries(answer.columns.map((column, at) => [column.name, row[at] ?? null])));
    if (lines.length >= ids.length) break;
  }
  return lines.sort((a, b) => (String(a.timestamp) < String(b.timestamp) ? -1 : 1));
}

export function Evidence({ alert }: { alert: AlertDetail }) {
  const evidence = useQuery({
    queryKey: ["evidence", alert.id, alert.evidence.join()],
    queryFn: ({ signal }) => evidenceOf(alert, signal),
    enabled: alert.evidence.length > 0,
    staleTime: 60_000,
    placeholderData: (before) => before,
  });
  if (alert.evidence.length === 0)
    return (
      <Card title="Evidence">
        <p className="text-sm text-muted">
          {alert.source_url ? (
            <>
              It was posted by another system:{" "}
              <a
                href={safeUrl(alert.source_url)}
                rel="noreferrer noopener"
                target="_blank"
                className="text-accent hover:underline"
              >
                see it there
              </a>
              .
            </>
          ) : (
            "It names no records."
          )}
        </p>
      </Card>
    );
  return (
    <Card title="Evidence" hint={`${alert.evidence.length} records it rests on`} padded={false}>
      <Remote
        of={evidence}
        empty={{
          when: (lines) => lines.length === 0,
          show: (
            <Empty title="The records are no longer kept" className="py-6">
              The alert remembers their ids; retention has deleted them.
            </Empty>
          ),
        }}
      >
        {(lines) => (
          <ul className="max-h-96 divide-y divide-line/60 overflow-auto">
            {lines.map((line) => (
              <EvidenceLine key={String(line.id)} line={line} />
            ))}
          </ul>
        )}
      </Remote>
    </Card>
  );
}

function EvidenceLine({ line }: { line: Line }) {
  const zone = useZone((state) => state.zone);
  const [open, setOpen] = useState(false);
  const at = Date.parse(String(line.timestamp));
  const service = typeof line.service === "string" ? line.service : null;
  const level = typeof line.level === "string" ? line.level : null;
  const isSample = line.message === undefined || line.message === null;
  const text = isSample
    ? `${String(line.name)} = ${formatUnit(Number(line.value), unitOf(String(line.name)))}`
    : String(line.message);
  const fields = Object.entries(line).filter(
    ([name, value]) => value !== null && name !== "message" && name !== "template_id",
  );
  return (
    <li className="text-sm">
      <div className="flex items-start gap-2 px-3 py-1 hover:bg-hover">
        <button
          type="button"
          aria-expanded={open}
          onClick={() => setOpen(!open)}
          className="flex min-w-0 flex-1 items-start gap-2 text-left"
        >
          <span className="tnum shrink-0 text-xs leading-5 text-muted" title={formatTime(at, zone, "ms")}>
            {formatTime(at, zone, "clock-ms")}
          </span>
          {level ? <Sign of={level} className="mt-0.5" /> : null}
          <span
            className={cx(
              "min-w-0 flex-1 font-mono text-xs leading-5",
              open ? "break-words whitespace-pre-wrap" : "truncate",
            )}
          >
            {text}
          </span>
        </button>
        <ExploreLink
          q={service ? `service:${quoted(service)}` : "*"}
          from={at - AROUND_MS}
          to={at + AROUND_MS}
          label="Around"
          name={`Explore the records around ${formatTime(at, zone)}`}
          className="shrink-0"
        />
      </div>
      {open ? (
        <dl className="grid grid-cols-[max-content_1fr] gap-x-3 gap-y-0.5 px-3 pb-2 text-xs">
          {fields.map(([name, value]) => (
            <Fragment key={name}>
              <dt className="text-muted">{name}</dt>
              <dd className="font-mono break-all">
                {typeof value === "object" ? JSON.stringify(value) : String(value)}
              </dd>
            </Fragment>
          ))}
        </dl>
      ) : null}
    </li>
  );
}

/** The address, where it is one a browser may safely open. */
export function safeUrl(url: string): string | undefined {
  return /^https?:\/\//i.test(url) ? url : undefined;
}
