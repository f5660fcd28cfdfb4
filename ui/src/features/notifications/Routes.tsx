import { useQuery } from "@tanstack/react-query";
import { Check, Minus, Route as RouteIcon, X } from "lucide-react";
import { type FormEvent, useState } from "react";
import { useUrl } from "@/app/url";
import { cx } from "@/lib/cx";
import { Button } from "@/ui/Button";
import { Card } from "@/ui/Card";
import { Input } from "@/ui/Field";
import { Badge, Sign } from "@/ui/Severity";
import { Empty, Remote } from "@/ui/States";
import { getDecisions, listAlerts } from "../alerts/api";
import { decided } from "../alerts/detail/timeline";
import { filterOf } from "../alerts/filter";
import { getRoutes } from "./api";

const ID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/i;

/** Where would this alert go? Route by route, and what was decided so far. */
export function Routes() {
  const { search, set } = useUrl();
  const chosen = search.alert ?? null;
  const [text, setText] = useState("");
  const [asked, setAsked] = useState("");
  const found = useQuery({
    queryKey: ["alerts", "routes", asked],
    queryFn: ({ signal }) =>
      listAlerts(filterOf({ status: "all", ...(asked ? { text: asked } : {}) }), null, signal, 12),
  });
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    const id = ID.exec(text)?.[0];
    if (id) set({ alert: id });
    else setAsked(text.trim());
  };
  return (
    <div className="grid gap-3 p-4 md:grid-cols-2">
      <Card title="Which alert" padded={false}>
        <form onSubmit={submit} className="flex gap-2 border-b border-line p-2">
          <Input
            aria-label="Alert to try"
            placeholder="Words of an alert, its id or its address"
            value={text}
            onChange={(event) => setText(event.target.value)}
          />
          <Button type="submit">Find</Button>
        </form>
        <Remote
          of={found}
          empty={{
            when: (page) => page.rows.length === 0,
            show: <p className="p-3 text-sm text-muted">No alert says so.</p>,
          }}
        >
          {(page) => (
            <ul className="divide-y divide-line/60">
              {page.rows.map((row) => (
                <li key={row.id}>
                  <button
                    type="button"
                    aria-pressed={row.id === chosen}
                    onClick={() => set({ alert: row.id })}
                    className={cx(
                      "flex w-full items-center gap-2 px-3 py-1.5 text-left text-sm hover:bg-hover",
                      row.id === chosen && "bg-selected",
                    )}
                  >
                    <Sign of={row.severity} />
                    <span className="min-w-0 flex-1 truncate">
                      {row.title} <span className="text-muted">{row.service ?? row.entity.value}</span>
                    </span>
                    <Sign of={row.status} />
                  </button>
                </li>
              ))}
            </ul>
          )}
        </Remote>
      </Card>
      <div className="flex min-w-0 flex-col gap-3">
        {chosen ? (
          <>
            <Steps alert={chosen} />
            <Decided alert={chosen} />
          </>
        ) : (
          <Empty icon={RouteIcon} title="Choose an alert">
            You see every route that is looked at, whether it matches, and who is told.
          </Empty>
        )}
      </div>
    </div>
  );
}

function Steps({ alert }: { alert: string }) {
  const routes = useQuery({ queryKey: ["routes", alert], queryFn: ({ signal }) => getRoutes(alert, signal) });
  return (
    <Card title="Where it goes" padded={false}>
      <Remote
        of={routes}
        empty={{
          when: (steps) => steps.length === 0,
          show: <p className="p-3 text-sm text-muted">No receiver is configured: nobody is told.</p>,
        }}
      >
        {(steps) => (
          <ol className="divide-y divide-line/60">
            {steps.map((step) => (
              <li
                key={step.path}
                className={cx("flex items-start gap-2 px-3 py-1.5 text-sm", !step.is_match && "text-muted")}
                style={{ paddingLeft: `${0.75 + depth(step.path) * 1.1}rem` }}
              >
                {step.is_taken ? (
                  <Check size={15} role="img" aria-label="taken" className="mt-0.5 shrink-0 text-ok" />
                ) : step.is_match ? (
                  <Minus
                    size={15}
                    role="img"
                    aria-label="matches, another is taken"
                    className="mt-0.5 shrink-0 text-info"
                  />
                ) : (
                  <X size={15} role="img" aria-label="does not match" className="mt-0.5 shrink-0 text-faint" />
                )}
                <span className="flex min-w-0 flex-1 flex-wrap items-center gap-1">
                  {step.matchers.length > 0 ? (
                    step.matchers.map((matcher) => (
                      <code key={matcher} className="rounded bg-hover px-1.5 font-mono text-xs break-all">
                        {matcher}
                      </code>
                    ))
                  ) : (
                    <span className="text-xs">every alert</span>
                  )}
                </span>
                <Badge tone={step.is_taken ? "ok" : "quiet"}>{step.receiver}</Badge>
              </li>
            ))}
          </ol>
        )}
      </Remote>
    </Card>
  );
}

function depth(path: string): number {
  return Math.min(8, path.split("}/{").length - 1);
}

function Decided({ alert }: { alert: string }) {
  const decisions = useQuery({ queryKey: ["decisions", alert], queryFn: ({ signal }) => getDecisions(alert, signal) });
  return (
    <Card title="What was decided so far" padded={false}>
      <Remote
        of={decisions}
        empty={{
          when: (items) => items.length === 0,
          show: <p className="p-3 text-sm text-muted">Nothing yet, or more than 7 days ago.</p>,
        }}
      >
        {(items) => (
          <ul className="max-h-80 divide-y divide-line/60 overflow-auto">
            {items.map((decision) => (
              <li key={`${decision.at}${decision.receiver}${decision.outcome}`} className="px-3 py-1.5 text-sm">
                {decided(decision)}
                <p className="text-xs break-words text-muted">{decision.detail}</p>
              </li>
            ))}
          </ul>
        )}
      </Remote>
    </Card>
  );
}
