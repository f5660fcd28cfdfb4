import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { formatAgo, formatTime, useZone } from "@/lib/time";
import { Card } from "@/ui/Card";
import { Badge, Sign } from "@/ui/Severity";
import { Remote } from "@/ui/States";
import { listAlerts } from "../api";
import { filterOf } from "../filter";
import type { AlertDetail } from "../model";

const SAME: Record<string, string> = { finding: "same finding", rule: "same rule", entity: "same entity" };

/** What belongs to it: the others of its incident, and what was before. */
export function Related({ alert }: { alert: AlertDetail }) {
  return (
    <>
      {alert.incident ? <OfIncident alert={alert} incident={alert.incident} /> : null}
      <Earlier alert={alert} />
    </>
  );
}

function OfIncident({ alert, incident }: { alert: AlertDetail; incident: string }) {
  const zone = useZone((state) => state.zone);
  const others = useQuery({
    queryKey: ["alerts", "incident", incident],
    queryFn: ({ signal }) => listAlerts(filterOf({ incident, status: "all", sort: "worst" }), null, signal, 20),
    refetchInterval: 30_000,
  });
  return (
    <Card
      title="In the same incident"
      padded={false}
      actions={
        <Link
          to="/incidents/$id"
          params={{ id: incident }}
          className="px-1 text-xs font-medium text-accent hover:underline"
        >
          Incident
        </Link>
      }
    >
      <Remote
        of={others}
        empty={{
          when: (page) => page.rows.length < 2,
          show: <p className="p-3 text-sm text-muted">It is the only one.</p>,
        }}
      >
        {(page) => (
          <ul className="max-h-72 divide-y divide-line/60 overflow-auto">
            {page.rows
              .filter((row) => row.id !== alert.id)
              .map((row) => (
                <li key={row.id} className="flex items-center gap-2 px-3 py-1.5 text-sm">
                  <Sign of={row.severity} />
                  <Link
                    to="/alerts/$id"
                    params={{ id: row.id }}
                    className="min-w-0 flex-1 truncate hover:underline"
                    title={row.summary}
                  >
                    {row.title} <span className="text-muted">{row.service ?? row.entity.value}</span>
                  </Link>
                  <Sign of={row.status} />
                  <time
                    dateTime={row.raised_at}
                    title={formatTime(row.raised_at, zone)}
                    className="tnum text-xs text-faint"
                  >
                    {formatAgo(row.raised_at)}
                  </time>
                </li>
              ))}
          </ul>
        )}
      </Remote>
    </Card>
  );
}

function Earlier({ alert }: { alert: AlertDetail }) {
  const zone = useZone((state) => state.zone);
  const similar = alert.similar ?? [];
  return (
    <Card title="Earlier, alike" hint="and what was done then" padded={similar.length === 0}>
      {similar.length === 0 ? (
        <p className="text-sm text-muted">Nothing like it is remembered.</p>
      ) : (
        <ul className="divide-y divide-line/60">
          {similar.map((each) => (
            <li key={each.id} className="px-3 py-1.5 text-sm">
              <div className="flex items-center gap-2">
                <Sign of={each.status} />
                <Link to="/alerts/$id" params={{ id: each.id }} className="min-w-0 flex-1 truncate hover:underline">
                  {each.title} <span className="text-muted">{each.entity.value}</span>
                </Link>
                <Badge>{SAME[each.same] ?? each.same}</Badge>
                <time
                  dateTime={each.raised_at}
                  title={formatTime(each.raised_at, zone)}
                  className="tnum text-xs text-faint"
                >
                  {formatAgo(each.raised_at)}
                </time>
              </div>
              {each.note || each.feedback ? (
                <p className="mt-0.5 text-xs break-words text-muted">
                  {each.note ? `${each.by ?? "somebody"}: ${each.note}` : ""}
                  {each.feedback
                    ? ` ${each.feedback.verdict === "true_positive" ? "It was right." : "It was a false positive."}`
                    : ""}
                </p>
              ) : null}
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}
