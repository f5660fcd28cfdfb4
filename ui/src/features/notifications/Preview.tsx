import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { Sign } from "@/ui/Severity";
import { Remote } from "@/ui/States";
import { listAlerts } from "../alerts/api";
import { filterOf } from "../alerts/filter";
import { LIVE_STATUSES } from "../alerts/model";

const SHOWN = 100;
const TYPING_MS = 400;

/** The alerts these matchers pass now: what a silence would keep quiet. */
export function Preview({ matchers }: { matchers: readonly string[] }) {
  const wanted = matchers.join("\u001f");
  const [asked, setAsked] = useState(wanted);
  useEffect(() => {
    const timer = setTimeout(() => setAsked(wanted), TYPING_MS);
    return () => clearTimeout(timer);
  }, [wanted]);
  const list = asked ? asked.split("\u001f") : [];
  const preview = useQuery({
    queryKey: ["alerts", "preview", asked],
    queryFn: ({ signal }) =>
      listAlerts({ ...filterOf({ sort: "worst" }), statuses: LIVE_STATUSES, matchers: list }, null, signal, SHOWN),
    enabled: list.length > 0,
    placeholderData: (before) => before,
  });
  if (list.length === 0) return <p className="text-sm text-muted">Write a matcher to see what it would keep quiet.</p>;
  return (
    <div className="rounded-md border border-line">
      <Remote of={preview}>
        {(page) => (
          <>
            <p role="status" className="border-b border-line px-2 py-1 text-xs font-medium">
              {page.rows.length === 0
                ? "No alert passes now; those to come may"
                : `${page.rows.length}${page.next ? "+" : ""} ${page.rows.length === 1 ? "alert passes" : "alerts pass"} now`}
            </p>
            <ul className="max-h-44 overflow-auto">
              {page.rows.slice(0, 50).map((row) => (
                <li key={row.id} className="flex items-center gap-2 px-2 py-0.5 text-sm">
                  <Sign of={row.severity} />
                  <span className="min-w-0 flex-1 truncate">
                    {row.title} <span className="text-muted">{row.service ?? row.entity.value}</span>
                  </span>
                  <Sign of={row.status} />
                </li>
              ))}
            </ul>
          </>
        )}
      </Remote>
    </div>
  );
}
