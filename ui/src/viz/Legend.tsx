/** Names of series with their colours: the swatch shows or hides one, the name shows it alone. */
import { Check } from "lucide-react";
import { cx } from "@/lib/cx";

export interface LegendEntry {
  name: string;
  colour: string;
  dash?: "solid" | "dashed" | "dotted";
  value?: string;
}

/** What is hidden after one series is shown or hidden. */
export function toggled(hidden: Set<string>, name: string): Set<string> {
  const next = new Set(hidden);
  if (!next.delete(name)) next.add(name);
  return next;
}

/** What is hidden after one series is asked for alone; asking again shows all. */
export function isolated(hidden: Set<string>, names: string[], name: string): Set<string> {
  const others = names.filter((other) => other !== name);
  const alone = !hidden.has(name) && others.every((other) => hidden.has(other));
  return alone ? new Set() : new Set(others);
}

export function Legend({
  entries,
  hidden,
  onHidden,
  note,
}: {
  entries: LegendEntry[];
  hidden: Set<string>;
  onHidden: (hidden: Set<string>) => void;
  /** Said after the last: what was left out. */
  note?: string;
}) {
  const names = entries.map((entry) => entry.name);
  return (
    <ul
      aria-label="Series"
      // biome-ignore lint/a11y/noNoninteractiveTabindex: a list that scrolls must be reachable
      tabIndex={0}
      className="flex max-h-15 shrink-0 flex-wrap gap-x-3 overflow-auto px-1 pt-1 text-xs @2xl:max-h-none @2xl:w-52 @2xl:flex-col @2xl:flex-nowrap @2xl:pl-3"
    >
      {entries.map((entry) => {
        const off = hidden.has(entry.name);
        return (
          <li key={entry.name} className="flex max-w-full min-w-0 items-center gap-1">
            {/* biome-ignore lint/a11y/useSemanticElements: a swatch that is its own check mark */}
            <button
              type="button"
              role="checkbox"
              aria-checked={!off}
              aria-label={`Show ${entry.name}`}
              onClick={() => onHidden(toggled(hidden, entry.name))}
              className="flex size-6 shrink-0 items-center justify-center"
            >
              <span
                className="flex size-3 items-center justify-center rounded-xs border"
                style={{
                  borderColor: entry.colour,
                  background: off ? "transparent" : entry.colour,
                  borderStyle: entry.dash,
                }}
              >
                {off ? null : <Check size={9} aria-hidden className="text-surface" strokeWidth={3.5} />}
              </span>
            </button>
            <button
              type="button"
              title={`${entry.name}: show it alone`}
              onClick={() => onHidden(isolated(hidden, names, entry.name))}
              className={cx(
                "min-h-6 min-w-0 flex-1 truncate text-left hover:underline",
                off ? "text-faint line-through" : "text-muted",
              )}
            >
              {entry.name}
            </button>
            {entry.value ? <span className="tnum text-fg">{entry.value}</span> : null}
          </li>
        );
      })}
      {note ? <li className="text-faint">{note}</li> : null}
    </ul>
  );
}
