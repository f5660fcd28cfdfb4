/** The records found, in every state they can be in. */
import { FilterX, SearchX, Square } from "lucide-react";
import { type Ref, useMemo, useSyncExternalStore } from "react";
import { useAnswer } from "@/api/query";
import { formatNumber } from "@/lib/format";
import { resolveRange, type TimeRange, toRfc3339 } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Empty, Skeleton } from "@/ui/States";
import { conjuncts, withoutCondition } from "../line/filters";
import { parts } from "../line/tokens";
import { RunFailed } from "../RunFailed";
import { markerOf } from "../rows/highlight";
import { type ListHandle, LogList } from "../rows/LogList";
import type { Run } from "../run/useRun";

interface Props {
  ref?: Ref<ListHandle>;
  run: Run;
  columns: readonly string[];
  onColumns: (columns: string[]) => void;
  isWrapped: boolean;
  active: number | null;
  onActive: (index: number) => void;
  onOpen: (index: number) => void;
  onSeen: (from: number, to: number) => void;
  onLine: (line: string) => void;
  onRange: (range: TimeRange) => void;
  onRetry: () => void;
}

export function RecordsView({ ref, run, onLine, onRange, onRetry, ...list }: Props) {
  const { rows } = run;
  const marker = useMemo(() => markerOf(run.line), [run.line]);
  useSyncExternalStore(rows?.subscribe ?? never, () => rows?.version ?? 0);
  if (run.phase === "failed") return <RunFailed error={run.error} onRetry={onRetry} onAsk={onLine} />;
  if (run.phase === "held") {
    return (
      <Empty icon={Square} title="Not run yet">
        The question is heavy; see above what it would read.
      </Empty>
    );
  }
  if (!rows) return <Skeleton rows={14} className="flex-1" />;
  if (rows.total === 0 && run.phase !== "running") return <Nothing run={run} onLine={onLine} onRange={onRange} />;
  if (rows.total === 0) return <Skeleton rows={14} className="flex-1" />;
  return (
    <LogList
      ref={ref}
      label="Records"
      rows={rows}
      marker={marker}
      {...list}
      footer={
        rows.error ? (
          <div className="sticky left-0 flex items-center gap-3 border-t border-line bg-critical-soft px-4 py-2 text-sm text-critical">
            These rows could not be read: {rows.error.detail}
            <Button size="sm" onClick={() => rows.retry()}>
              Try again
            </Button>
          </div>
        ) : rows.isWhole ? (
          <p className="sticky left-0 inline-block px-4 py-3 text-xs text-faint">
            The end: {formatNumber(rows.total)} records.
          </p>
        ) : null
      }
    />
  );
}

function never(): () => void {
  return () => {};
}

const WIDER: [string, number][] = [
  ["24 hours", 24 * 3_600_000],
  ["7 days", 7 * 86_400_000],
  ["30 days", 30 * 86_400_000],
];

/** Nothing was found: which condition is to blame, and whether there is more outside the time. */
function Nothing({
  run,
  onLine,
  onRange,
}: {
  run: Run;
  onLine: (line: string) => void;
  onRange: (range: TimeRange) => void;
}) {
  const { conditions } = parts(run.line);
  const held = conjuncts(conditions).slice(0, 6);
  const wider = WIDER.filter(([, ms]) => ms > (run.to - run.from) * 1.5);
  return (
    <Empty icon={SearchX} title="No record fits" className="flex-1">
      <div className="flex flex-col items-center gap-3 pt-1">
        {wider.length > 0 ? (
          <p className="flex flex-wrap items-center justify-center gap-1.5">
            Look further back:
            {wider.map(([label, ms]) => (
              <Button key={label} size="sm" onClick={() => onRange({ from: `now-${ms / 3_600_000}h`, to: "now" })}>
                {label}
              </Button>
            ))}
          </p>
        ) : null}
        {held.length > 0 ? (
          <div className="w-full">
            <p className="pb-1">Records there would be without one of the conditions:</p>
            <ul className="flex flex-col gap-1">
              {held.map((one) => (
                <Blame
                  key={one.text}
                  text={one.text}
                  line={withoutCondition(run.line, one.text)}
                  run={run}
                  onLine={onLine}
                />
              ))}
            </ul>
          </div>
        ) : null}
      </div>
    </Empty>
  );
}

function Blame({ text, line, run, onLine }: { text: string; line: string; run: Run; onLine: (line: string) => void }) {
  const { conditions } = parts(line);
  const range = { from: toRfc3339(run.from), to: toRfc3339(run.to) };
  const answer = useAnswer({ query: `${conditions} | stats count()`, ...range });
  const count = answer.data ? Number(answer.data.rows[0]?.[0] ?? 0) : null;
  return (
    <li className="flex items-center gap-2 rounded border border-line px-2 py-1 text-left">
      <code className="min-w-0 flex-1 truncate font-mono text-xs line-through decoration-faint">{text}</code>
      <span className="tnum text-xs">{count === null ? "…" : formatNumber(count)}</span>
      <Button size="sm" icon={FilterX} onClick={() => onLine(line)} disabled={count === 0}>
        Leave it out
      </Button>
    </li>
  );
}

/** The range of a run as text. */
export function spanOf(run: Pick<Run, "from" | "to">): TimeRange {
  if (run.from === 0) {
    const { from, to } = resolveRange({ from: "now-1h", to: "now" });
    return { from: toRfc3339(from), to: toRfc3339(to) };
  }
  return { from: toRfc3339(run.from), to: toRfc3339(run.to) };
}
