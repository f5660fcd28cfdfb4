/** Every service at a glance, worst first. */
import { Link } from "@tanstack/react-router";
import { useMemo } from "react";
import { useRange } from "@/app/url";
import { useSparks } from "@/features/services/api";
import { byName, wholeBuckets } from "@/features/services/series";
import { cx } from "@/lib/cx";
import { formatShort } from "@/lib/format";
import { resolveRange } from "@/lib/time";
import { useWidth, WIDTHS } from "@/lib/width";
import { Card } from "@/ui/Card";
import { lookOf, Sign } from "@/ui/Severity";
import { Sparkline } from "@/viz/Sparkline";
import { rankOf, type ServiceHealth } from "./health";

/** Tiles shown; the rest is in the list of services. */
const TILES_MAX = 60;
/** On a phone: what waits below is not far away. */
const TILES_NARROW = 8;

export function HealthGrid({ health }: { health: ServiceHealth[] }) {
  const { range } = useRange();
  const { records, bucket } = useSparks(range);
  const lines = useMemo(() => {
    if (!records.data) return null;
    const { from, to } = resolveRange(range);
    const starts = wholeBuckets(from, to, bucket.ms);
    return byName(records.data, { name: "service", time: "timestamp", value: "n" }, starts);
  }, [records.data, range, bucket.ms]);
  const shown = health.slice(0, useWidth() < WIDTHS.sm ? TILES_NARROW : TILES_MAX);
  const well = health.filter((entry) => rankOf(entry.state) === 0).length;
  return (
    <Card
      title="Services"
      hint={`${health.length} in all, ${well} well; worst first`}
      padded={false}
      actions={
        <Link to="/services" className="text-xs text-accent hover:underline">
          All services
        </Link>
      }
    >
      <ul className="grid grid-cols-[repeat(auto-fill,minmax(min(100%,13.5rem),1fr))] gap-2 p-2">
        {shown.map((entry) => (
          <li key={entry.service} className="flex min-w-0">
            <Tile entry={entry} values={lines?.get(entry.service)} />
          </li>
        ))}
      </ul>
      {health.length > shown.length ? (
        <p className="px-3 pb-3 text-xs text-muted">
          {health.length - shown.length} more in the{" "}
          <Link to="/services" className="text-accent hover:underline">
            list of services
          </Link>
        </p>
      ) : null}
    </Card>
  );
}

function Tile({ entry, values }: { entry: ServiceHealth; values: number[] | undefined }) {
  const ill = rankOf(entry.state) > 0;
  const look = lookOf(entry.state);
  return (
    <Link
      to="/services/$service"
      params={{ service: entry.service }}
      className={cx(
        "flex min-w-0 flex-1 flex-col gap-0.5 rounded-md border border-line px-2 py-1.5 hover:border-line-strong hover:bg-hover",
        ill ? "bg-surface" : "bg-bg",
      )}
      style={ill ? { boxShadow: `inset 2px 0 0 var(${look.token})` } : undefined}
    >
      <span className="flex min-w-0 items-center gap-1.5">
        <Sign of={entry.state} size={13} />
        <span className="truncate text-sm font-medium" title={entry.service}>
          {entry.service}
        </span>
        {entry.alerts > 0 ? (
          <span className={cx("tnum ml-auto shrink-0 rounded px-1 text-2xs font-semibold", look.soft)}>
            {entry.alerts}
            <span className="sr-only"> {entry.alerts === 1 ? "alert" : "alerts"}</span>
          </span>
        ) : null}
      </span>
      <span className="truncate text-xs text-muted" title={entry.why || undefined}>
        {entry.why || "As usual"}
      </span>
      <span className="mt-0.5 flex items-end gap-2">
        <span className="tnum text-xs whitespace-nowrap text-muted">
          {formatShort(entry.recordsPerSecond)}/s
          {entry.errorsPerSecond > 0 ? (
            <span className={entry.errorsPerSecond > 0.02 * entry.recordsPerSecond ? "text-critical" : undefined}>
              {" "}
              {formatShort(round(entry.errorsPerSecond))} err/s
            </span>
          ) : null}
        </span>
        <span className="ml-auto">
          {values ? (
            <Sparkline
              values={values}
              label={`Records of ${entry.service} over the range`}
              width={72}
              height={18}
              tone={ill ? look.token : "--accent"}
            />
          ) : null}
        </span>
      </span>
    </Link>
  );
}

function round(value: number): number {
  return Number(value.toPrecision(2));
}
