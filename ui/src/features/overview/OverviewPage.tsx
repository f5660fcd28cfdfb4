/** What is wrong now, in one look. */
import { useQueryClient } from "@tanstack/react-query";
import { CircleCheck, OctagonAlert, Plug, TriangleAlert } from "lucide-react";
import { useEffect, useMemo, useState } from "react";
import type { Schemas } from "@/api/client";
import { useSummary } from "@/app/Shell";
import { TimePicker } from "@/app/TimePicker";
import { useRange, useUrl } from "@/app/url";
import { useAlerts, useAnnotations, useOpenIncidents, useServices } from "@/features/services/api";
import { GoldenSignals } from "@/features/services/GoldenSignals";
import { marksFrom } from "@/features/services/marks";
import { cx } from "@/lib/cx";
import { useShortcuts } from "@/lib/keys";
import { isRelative } from "@/lib/time";
import { Button } from "@/ui/Button";
import { PageHeader } from "@/ui/Card";
import { Remote } from "@/ui/States";
import { AnomalyCalendar } from "./AnomalyCalendar";
import { FirstSteps } from "./FirstSteps";
import { HealthGrid } from "./HealthGrid";
import { healthOf, troublesOf, type Verdict, verdictOf } from "./health";
import { OpenNow, useOrder } from "./OpenNow";
import { Plumbing, useStatus } from "./Plumbing";
import { useLiveRefresh } from "./useLiveRefresh";

export function OverviewPage() {
  const summary = useSummary();
  const queries = useQueryClient();
  const { search, set } = useUrl();
  const empty = summary.data ? summary.data.logs.total + summary.data.samples.total === 0 : null;
  // Whoever began on an empty system stays with the first steps until they leave them.
  const [guided, setGuided] = useState<boolean | null>(null);
  useEffect(() => {
    if (empty !== null) setGuided((before) => before ?? empty);
  }, [empty]);
  const refresh = (): void => void queries.invalidateQueries({ refetchType: "active" });
  useShortcuts({ r: refresh });
  const guide = search.guide === "1" || guided === true;
  return (
    <>
      <PageHeader
        title="Overview"
        actions={
          guide ? null : (
            <>
              <Button kind="ghost" icon={Plug} onClick={() => set({ guide: "1" })}>
                Add a source
              </Button>
              <TimePicker onRefresh={refresh} />
            </>
          )
        }
      />
      <Remote of={summary}>
        {(data) =>
          guide ? (
            <FirstSteps
              any={empty === false}
              onDone={() => {
                setGuided(false);
                set({ guide: undefined, way: undefined });
              }}
            />
          ) : (
            <Now summary={data} />
          )
        }
      </Remote>
    </>
  );
}

function Now({ summary }: { summary: Schemas["Summary"] }) {
  useLiveRefresh();
  const { range } = useRange();
  const [order] = useOrder();
  const alerts = useAlerts({
    status: "open",
    limit: 100,
    sort: order === "worst" ? "worst" : "newest",
  });
  const incidents = useOpenIncidents();
  const services = useServices(range);
  const status = useStatus();
  const annotations = useAnnotations(range);
  const health = useMemo(
    () => healthOf(summary.services, alerts.data?.items ?? [], isRelative(range) ? (services.data?.items ?? []) : []),
    [summary.services, alerts.data, services.data, range],
  );
  const verdict = verdictOf({
    health,
    incidents: incidents.data?.items ?? null,
    moreIncidents: Boolean(incidents.data?.next),
    troubles: status.data ? troublesOf(status.data) : [],
    now: Date.parse(summary.time),
  });
  const marks = useMemo(
    () => marksFrom(annotations.data ?? [], incidents.data?.items ?? []),
    [annotations.data, incidents.data],
  );
  return (
    <div className="flex flex-col gap-3 px-4 pb-6">
      <Says verdict={verdict} />
      <div className="grid items-start gap-3 max-md:grid-cols-[minmax(0,1fr)] md:grid-cols-[minmax(0,1fr)_20rem] lg:grid-cols-[minmax(0,1fr)_24rem]">
        {/* On a phone there is one column: what waits for somebody comes right after the services. */}
        <div className="min-w-0 flex-col gap-3 max-md:contents md:flex">
          <div className="min-w-0 max-md:order-1">
            <HealthGrid health={health} />
          </div>
          <div className="min-w-0 max-md:order-3">
            <GoldenSignals marks={marks} />
          </div>
          <div className="min-w-0 max-md:order-4">
            <AnomalyCalendar />
          </div>
        </div>
        <div className="min-w-0 flex-col gap-3 max-md:contents md:flex">
          <div className="min-w-0 max-md:order-2">
            <OpenNow incidents={incidents} alerts={alerts} openAlerts={summary.alerts.by_status.OPEN ?? 0} />
          </div>
          <div className="min-w-0 max-md:order-5">
            <Plumbing summary={summary} />
          </div>
        </div>
      </div>
    </div>
  );
}

const TONES = {
  critical: { icon: OctagonAlert, text: "text-critical", box: "border-critical/40" },
  warning: { icon: TriangleAlert, text: "text-warning", box: "border-warning/40" },
  ok: { icon: CircleCheck, text: "text-ok", box: "border-line" },
} as const;

function Says({ verdict }: { verdict: Verdict }) {
  const tone = TONES[verdict.tone];
  return (
    <section
      aria-label="Verdict"
      className={cx("flex items-start gap-3 rounded-lg border bg-surface px-4 py-3", tone.box)}
    >
      <tone.icon size={24} aria-hidden className={cx("mt-0.5 shrink-0", tone.text)} />
      <div className="min-w-0">
        <p role="status" className="text-xl font-semibold text-balance">
          {verdict.sentence}
        </p>
        <p className="text-sm text-muted">{verdict.detail.join(" · ")}</p>
      </div>
    </section>
  );
}
