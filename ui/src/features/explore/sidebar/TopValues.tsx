/** Values of a field with the most records among those found, exact, with their share; asked for when opened. */
import { CircleMinus, CirclePlus } from "lucide-react";
import { useState } from "react";
import { type Cell, useAnswer } from "@/api/query";
import { formatNumber, formatShare, formatShort } from "@/lib/format";
import type { TimeRange } from "@/lib/time";
import { Failed, Skeleton } from "@/ui/States";
import { topLine } from "../line/shape";
import { text } from "../rows/record";
import { UNIQUE } from "./figures";

const SHOWN = 8;
const SHOWN_MORE = 40;

interface Props {
  line: string;
  span: TimeRange;
  field: string;
  inHand: ReadonlyMap<string, number> | null;
  onFilter: (value: Cell, exclude: boolean) => void;
}

export function TopValues({ line, span, field, inHand, onFilter }: Props) {
  const [count, setCount] = useState(SHOWN);
  const isUnique = UNIQUE.has(field);
  const answer = useAnswer(isUnique ? null : { query: topLine(line, field, count), ...span });
  const known = answer.data;
  if (isUnique) {
    return (
      <p className="pr-2 text-2xs text-muted">
        Nearly every record has its own{field === "message" ? "; the Patterns view counts the kinds of messages" : ""}.
        {inHand ? ` ${formatNumber(inHand.size)} in the rows at hand.` : ""}
      </p>
    );
  }
  if (!known) {
    if (answer.isError)
      return <Failed error={answer.error} onRetry={() => void answer.refetch()} className="px-0 py-2" />;
    return <Skeleton rows={4} className="p-1" />;
  }
  // Shares are of all records found, not of the values shown.
  const total = known.stats.rows_matched ?? 0;
  const most = Number(known.rows[0]?.[1] ?? 1);
  if (known.rows.length === 0) return <p className="text-2xs text-muted">No record found has it.</p>;
  return (
    <div>
      <ul className="flex flex-col gap-px">
        {known.rows.map(([value, records]) => {
          const name = value === null ? "absent" : text(value);
          return (
            <li key={name} className="group relative flex h-6 items-center gap-1.5 pr-1 text-2xs">
              <span
                aria-hidden
                className="absolute inset-y-0.5 left-0 rounded-sm bg-accent-soft"
                style={{ width: `${(Number(records) / most) * 100}%`, opacity: 0.8 }}
              />
              <span
                className={
                  value === null ? "relative truncate pl-1 text-faint italic" : "relative truncate pl-1 font-mono"
                }
                title={name}
              >
                {name}
              </span>
              <span className="tnum relative ml-auto shrink-0 text-muted" title={formatNumber(Number(records))}>
                {total > 0 ? formatShare(Number(records) / total) : formatShort(Number(records))}
              </span>
              <span className="relative flex shrink-0">
                <FilterButton kind="in" name={name} field={field} onPress={() => onFilter(value ?? null, false)} />
                <FilterButton kind="out" name={name} field={field} onPress={() => onFilter(value ?? null, true)} />
              </span>
            </li>
          );
        })}
      </ul>
      {count === SHOWN && known.rows.length === SHOWN ? (
        <button
          type="button"
          className="pt-0.5 text-2xs text-accent hover:underline"
          onClick={() => setCount(SHOWN_MORE)}
        >
          More values
        </button>
      ) : null}
    </div>
  );
}

/** Filters by a value: only records with it, or only those without. */
export function FilterButton({
  kind,
  field,
  name,
  onPress,
}: {
  kind: "in" | "out";
  field: string;
  name: string;
  onPress: () => void;
}) {
  const Icon = kind === "in" ? CirclePlus : CircleMinus;
  const words = kind === "in" ? `Only ${field} ${name}` : `Without ${field} ${name}`;
  return (
    <button
      type="button"
      aria-label={words}
      title={words}
      onClick={onPress}
      className="flex size-6 items-center justify-center rounded text-muted hover:bg-hover hover:text-fg"
    >
      <Icon size={13} aria-hidden />
    </button>
  );
}
