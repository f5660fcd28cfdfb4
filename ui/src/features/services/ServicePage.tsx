/** One service: how it is, why, what it writes, where it runs, whom it depends on. */
import { useQueryClient } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { FileSearch, OctagonX } from "lucide-react";
import { useMemo } from "react";
import { TimePicker } from "@/app/TimePicker";
import { useRange } from "@/app/url";
import { cx } from "@/lib/cx";
import { formatMs, formatNumber, formatShare, formatShort } from "@/lib/format";
import { useShortcuts } from "@/lib/keys";
import { formatAgo, formatTime, useZone } from "@/lib/time";
import { PageHeader, Stat } from "@/ui/Card";
import { lookOf, SeverityBadge, Sign } from "@/ui/Severity";
import { Empty, Failed, Skeleton } from "@/ui/States";
import { type Service, useAnnotations, useServiceIncidents, useServices } from "./api";
import { GoldenSignals } from "./GoldenSignals";
import { Instances } from "./Instances";
import { exploreSearch, serviceIs } from "./line";
import { marksFrom } from "./marks";
import { Dependencies, Deployments, Troubles } from "./ServiceParts";
import { Templates } from "./Templates";

export function ServicePage() {
  const { service = "" } = useParams({ strict: false }) as { service?: string };
  const { range } = useRange();
  const queries = useQueryClient();
  const services = useServices(range);
  const annotations = useAnnotations(range, service);
  const incidents = useServiceIncidents(service);
  const refresh = (): void => void queries.invalidateQueries({ refetchType: "active" });
  useShortcuts({ r: refresh });
  const found = services.data?.items.find((entry) => entry.service === service);
  const marks = useMemo(
    () => marksFrom(annotations.data ?? [], incidents.data?.items ?? []),
    [annotations.data, incidents.data],
  );
  const link =
    "inline-flex h-8 items-center gap-1.5 rounded-md border border-line bg-surface px-3 text-sm font-medium hover:border-line-strong hover:bg-hover";
  return (
    <>
      <PageHeader
        title={
          <span className="flex items-center gap-2">
            <Link to="/services" className="font-normal text-muted hover:text-accent hover:underline">
              Services
            </Link>
            <span aria-hidden className="text-faint">
              /
            </span>
            <span className="break-all">{service}</span>
          </span>
        }
        hint={found ? <SeverityBadge of={found.state} /> : null}
        actions={
          <>
            <Link to="/explore" search={exploreSearch(serviceIs(service), range) as never} className={link}>
              <FileSearch size={15} aria-hidden /> Records
            </Link>
            <Link
              to="/explore"
              search={exploreSearch(`${serviceIs(service)} level>=error`, range) as never}
              className={link}
            >
              <OctagonX size={15} aria-hidden /> Errors
            </Link>
            <TimePicker onRefresh={refresh} />
          </>
        }
      />
      <div className="flex flex-col gap-3 px-4 pb-6">
        {services.isError && !services.data ? (
          <section aria-label="State" className="rounded-lg border border-line bg-surface">
            <Failed error={services.error} onRetry={() => void services.refetch()} className="py-4" />
          </section>
        ) : services.data === undefined ? (
          <Skeleton rows={2} />
        ) : found ? (
          <How service={found} />
        ) : (
          <Empty
            title={`${service} wrote nothing in this range`}
            className="rounded-lg border border-line bg-surface py-6"
          >
            Choose a longer range, or look whether the name is right.
          </Empty>
        )}
        <GoldenSignals service={service} marks={marks} wide />
        <div className="grid items-start gap-3 md:grid-cols-2">
          <div className="flex min-w-0 flex-col gap-3">
            <Troubles service={service} />
            <Templates service={service} />
          </div>
          <div className="flex min-w-0 flex-col gap-3">
            <Dependencies service={service} />
            <Instances service={service} />
            <Deployments service={service} found={found} />
          </div>
        </div>
      </div>
    </>
  );
}

function How({ service }: { service: Service }) {
  const zone = useZone((state) => state.zone);
  const ill = service.why.length > 0;
  return (
    <section
      aria-label="State"
      className={cx(
        "grid gap-x-6 gap-y-3 rounded-lg border border-line bg-surface px-4 py-3",
        "md:grid-cols-[minmax(0,1fr)_minmax(0,1.3fr)]",
      )}
      style={ill ? { boxShadow: `inset 3px 0 0 var(${lookOf(service.state).token})` } : undefined}
    >
      <div className="min-w-0">
        {ill ? (
          <ul aria-label="Why" className="flex flex-col gap-1">
            {service.why.map((reason) => (
              <li
                key={`${reason.kind}${reason.alert ?? ""}${reason.text}`}
                className="flex min-h-6 items-center gap-2 text-sm"
              >
                <Sign of={reason.state} />
                {reason.alert ? (
                  <Link
                    to="/alerts/$id"
                    params={{ id: reason.alert }}
                    className="py-0.5 hover:text-accent hover:underline"
                  >
                    {reason.text}
                  </Link>
                ) : (
                  <span>{reason.text}</span>
                )}
              </li>
            ))}
          </ul>
        ) : (
          <p className="flex items-center gap-2 text-sm">
            <Sign of={service.state} /> As usual: no alert is open, and errors are few.
          </p>
        )}
      </div>
      <div className="grid grid-cols-2 gap-3 sm:grid-cols-4">
        <Stat
          label="Requests"
          value={`${formatShort(Number(service.requests_per_second.toPrecision(3)))}/s`}
          hint={`${formatNumber(service.records)} records`}
        />
        <Stat
          label="Errors"
          value={service.error_rate === null ? "–" : formatShare(service.error_rate)}
          hint={formatNumber(service.errors)}
          tone={service.error_rate !== null && service.error_rate >= 0.05 ? "critical" : undefined}
        />
        <Stat
          label="p95"
          value={service.p95_ms === null ? "–" : formatMs(service.p95_ms)}
          hint={
            service.p50_ms === null || service.p99_ms === null
              ? undefined
              : `p50 ${formatMs(service.p50_ms)}, p99 ${formatMs(service.p99_ms)}`
          }
        />
        <Stat
          label="Last record"
          value={service.last_seen ? formatAgo(service.last_seen) : "–"}
          hint={<span title={formatTime(service.last_seen, zone)}>{service.hosts.length} hosts</span>}
        />
      </div>
    </section>
  );
}
