import { useSummary } from "@/app/Shell";
import { cx } from "@/lib/cx";
import { formatNumber } from "@/lib/format";
import { lookOf } from "@/ui/Severity";
import { LIVE_STATUSES, STATUSES, type Status } from "../model";

const HINTS: Record<Status, string> = {
  OPEN: "nobody works on it",
  ACKNOWLEDGED: "somebody does",
  SUPPRESSED: "kept quiet",
  RESOLVED: "over, kept 90 days",
};

/** Counts by status; each is a filter. They are the server's own, so they say the same after a refresh. */
export function Cards({
  statuses,
  onChoose,
}: {
  statuses: readonly Status[];
  onChoose: (statuses: readonly Status[]) => void;
}) {
  const { data, isError } = useSummary();
  const counts = data?.alerts.by_status as Record<Status, number> | undefined;
  return (
    <fieldset className="grid grid-cols-2 gap-2 sm:grid-cols-4">
      <legend className="sr-only">Alerts by status</legend>
      {STATUSES.map((status) => {
        const look = lookOf(status);
        const chosen = statuses.length === 1 && statuses[0] === status;
        const name = status.charAt(0) + status.slice(1).toLowerCase();
        const count = counts?.[status];
        return (
          <button
            key={status}
            type="button"
            aria-pressed={chosen}
            aria-label={`${name}: ${count === undefined ? "not known yet" : formatNumber(count)}. ${chosen ? "Show all that are not over" : "Show only these"}`}
            onClick={() => onChoose(chosen ? LIVE_STATUSES : [status])}
            className={cx(
              "flex min-w-0 items-center gap-2.5 rounded-lg border bg-surface px-3 py-2 text-left transition-colors hover:border-line-strong",
              chosen ? "border-accent ring-1 ring-accent" : "border-line",
            )}
          >
            <look.icon size={18} aria-hidden className={cx("shrink-0", look.text)} />
            <span className="min-w-0 flex-1">
              <span className="block truncate text-xs text-muted">{name}</span>
              <span className="tnum block text-xl leading-6 font-semibold">
                {count === undefined ? (isError ? "?" : "–") : formatNumber(count)}
              </span>
            </span>
            <span className="hidden truncate text-xs text-faint lg:block">{HINTS[status]}</span>
          </button>
        );
      })}
    </fieldset>
  );
}
