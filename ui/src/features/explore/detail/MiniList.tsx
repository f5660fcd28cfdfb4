/** A short list of records inside the panel of one. */
import type { ReactNode } from "react";
import { cx } from "@/lib/cx";
import { formatTime, useZone } from "@/lib/time";
import { Sign } from "@/ui/Severity";
import { fieldOf, idOf, type LogRow, text } from "../rows/record";

interface Props {
  rows: LogRow[];
  label: string;
  /** Id of the record the panel is about. */
  self: string;
  onAsk: (query: string) => void;
  /** Pixels a row is moved to the right. */
  indent?: (index: number) => number;
  /** What stands in place of the time. */
  lead?: (row: LogRow, index: number) => ReactNode;
  showService?: boolean;
}

export function MiniList({ rows, label, self, onAsk, indent, lead, showService = true }: Props) {
  const zone = useZone((state) => state.zone);
  return (
    <ol aria-label={label} className="font-mono text-2xs">
      {rows.map((row, index) => {
        const id = idOf(row);
        const isSelf = id === self;
        return (
          <li
            key={id}
            aria-current={isSelf || undefined}
            className={cx("border-b border-line/50", isSelf && "bg-selected")}
          >
            <button
              type="button"
              onClick={() => onAsk(`id:${id}`)}
              title="Find this record"
              className="flex min-h-6 w-full items-start gap-1.5 px-3 py-0.5 text-left hover:bg-hover"
              style={indent ? { paddingLeft: 12 + indent(index) } : undefined}
            >
              <Sign of={text(fieldOf(row, "level")) || "unknown"} size={11} className="mt-0.5" />
              <span className="tnum shrink-0 text-muted">
                {lead ? lead(row, index) : formatTime(text(fieldOf(row, "timestamp")), zone, "clock-ms")}
              </span>
              {showService ? (
                <span className="max-w-32 shrink-0 truncate text-accent">{text(fieldOf(row, "service"))}</span>
              ) : null}
              <span className="line-clamp-3 min-w-0 break-all">{text(fieldOf(row, "message"))}</span>
            </button>
          </li>
        );
      })}
    </ol>
  );
}
