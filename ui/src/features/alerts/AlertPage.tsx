import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { ArrowLeft, SearchX } from "lucide-react";
import { useState } from "react";
import { asApiError } from "@/api/problem";
import { useCan } from "@/app/whoami";
import { useShortcuts } from "@/lib/keys";
import { formatAgo, formatTime, useZone } from "@/lib/time";
import { Button } from "@/ui/Button";
import { PageHeader } from "@/ui/Card";
import { Badge, SeverityBadge } from "@/ui/Severity";
import { Empty, Failed, Partial as PartialNotice, Skeleton } from "@/ui/States";
import { stepAlert } from "./api";
import { Actions } from "./detail/Actions";
import { BaselineChart } from "./detail/BaselineChart";
import { Evidence } from "./detail/Evidence";
import { Facts } from "./detail/Facts";
import { Judge } from "./detail/Judge";
import { Mitigation } from "./detail/Mitigation";
import { Related } from "./detail/Related";
import { Timeline } from "./detail/Timeline";
import { Why } from "./detail/Why";
import type { AlertDetail } from "./model";
import { SuppressDialog } from "./SuppressDialog";
import { leads, STEP_NAMES, STEPS, type Step, type StepWords } from "./steps";
import { useAlert, useAlertChange } from "./useAlert";

export function AlertPage() {
  const { id = "" } = useParams({ strict: false }) as { id?: string };
  const query = useAlert(id);
  if (!query.data) {
    if (!query.isError) return <Skeleton rows={10} />;
    return query.error.status === 404 || query.error.status === 400 ? (
      <>
        <PageHeader title="Alert" />
        <Empty
          icon={SearchX}
          title="There is no such alert"
          action={
            <Link to="/alerts" className="text-accent hover:underline">
              All alerts
            </Link>
          }
        >
          Resolved alerts are deleted after 90 days.
        </Empty>
      </>
    ) : (
      <>
        <PageHeader title="Alert" />
        <Failed error={query.error} onRetry={() => void query.refetch()} />
      </>
    );
  }
  return (
    <>
      {query.isError ? <PartialNotice warnings={[`not up to date: ${asApiError(query.error).detail}`]} /> : null}
      <Loaded key={id} alert={query.data} />
    </>
  );
}

function Loaded({ alert }: { alert: AlertDetail }) {
  const { change, busy } = useAlertChange(alert.id);
  const navigate = useNavigate();
  const [suppress, setSuppress] = useState(false);
  const can = useCan("alerts:write");
  const disabled = can ? null : "It needs a token with the scope alerts:write";
  const take = (step: Step, words: StepWords = {}): void => {
    if (!can || busy || !leads(step, alert.status)) return;
    void change({ status: STEPS[step].to }, () => stepAlert(alert.id, step, words), `The alert is ${STEPS[step].done}`);
  };
  const press = (step: Step): void => {
    if (step === "suppress") {
      if (can && leads(step, alert.status)) setSuppress(true);
    } else take(step);
  };
  const leave = (): void => void navigate({ to: "/alerts" });
  useShortcuts({
    a: () => press("acknowledge"),
    s: () => press("suppress"),
    e: () => press("resolve"),
    o: () => press("reopen"),
    Escape: leave,
  });
  return (
    <div className="flex min-w-0 flex-col">
      <PageHeader
        title={
          <span className="flex flex-wrap items-center gap-2">
            <Link to="/alerts" aria-label="All alerts" className="rounded p-1 text-muted hover:bg-hover hover:text-fg">
              <ArrowLeft size={16} aria-hidden />
            </Link>
            {alert.title}
          </span>
        }
        hint={<Standing alert={alert} />}
        actions={STEP_NAMES.filter((step) => leads(step, alert.status)).map((step) => (
          <Button
            key={step}
            icon={STEPS[step].icon}
            kind={step === "acknowledge" ? "primary" : "plain"}
            disabled={disabled !== null || busy}
            title={disabled ?? `${STEPS[step].label} (${STEPS[step].keys})`}
            onClick={() => press(step)}
          >
            {STEPS[step].label}
          </Button>
        ))}
      />
      <div className="grid min-w-0 gap-3 px-4 pb-6 md:grid-cols-[minmax(0,1fr)_20rem] lg:grid-cols-[minmax(0,1fr)_24rem]">
        <div className="flex min-w-0 flex-col gap-3">
          <Why alert={alert} />
          <BaselineChart alert={alert} />
          <Mitigation alert={alert} />
          <Evidence alert={alert} />
          <Actions id={alert.id} disabled={disabled} />
          <Timeline alert={alert} change={change} disabled={disabled} />
        </div>
        <div className="flex min-w-0 flex-col gap-3">
          <Facts alert={alert} change={change} disabled={disabled} />
          <Judge alert={alert} change={change} disabled={disabled} />
          <Related alert={alert} />
        </div>
      </div>
      {suppress ? (
        <SuppressDialog
          count={1}
          subject={alert.title}
          onClose={() => setSuppress(false)}
          onSuppress={(words) => {
            setSuppress(false);
            take("suppress", words);
          }}
        />
      ) : null}
    </div>
  );
}

function Standing({ alert }: { alert: AlertDetail }) {
  const zone = useZone((state) => state.zone);
  return (
    <span className="flex flex-wrap items-center gap-1.5">
      <SeverityBadge of={alert.severity} />
      <SeverityBadge of={alert.status} />
      <Badge>{alert.priority}</Badge>
      {alert.status === "SUPPRESSED" && alert.suppressed_until ? (
        <span className="text-xs">until {formatTime(alert.suppressed_until, zone, "minute")}</span>
      ) : null}
      {alert.muted ? <Badge title={alert.muted.reason}>kept quiet: {alert.muted.kind}</Badge> : null}
      <span className="text-xs" title={formatTime(alert.raised_at, zone)}>
        raised {formatAgo(alert.raised_at)} ago
      </span>
    </span>
  );
}
