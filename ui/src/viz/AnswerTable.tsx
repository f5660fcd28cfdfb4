/** An answer as a table: any number of rows, sorted by any column, values to filter by. */
import { useMemo, useState } from "react";
import type { Answer, Cell, Column } from "@/api/query";
import { cx } from "@/lib/cx";
import { useZone } from "@/lib/time";
import { SeverityBadge } from "@/ui/Severity";
import { Table } from "@/ui/Table";
import { formatCell, isNumberType, toMs, toNumber } from "./cells";
import { tableColumnsOf, toneOf } from "./shape";
import type { VizSpec } from "./Visualisation";

/** Order of two cells: numbers by number (exact ones too), times by time, nothing last. */
export function compareCells(a: Cell | undefined, b: Cell | undefined): number {
  const empty = (cell: Cell | undefined): boolean => cell === null || cell === undefined;
  if (empty(a) || empty(b)) return Number(empty(a)) - Number(empty(b));
  const [left, right] = [toNumber(a), toNumber(b)];
  if (left !== null && right !== null) {
    if (left !== right || typeof a !== "string" || typeof b !== "string") return left - right;
    const whole = /^-?\d+$/;
    if (whole.test(a) && whole.test(b)) return Number(BigInt(a) > BigInt(b)) - Number(BigInt(a) < BigInt(b));
  }
  return String(a) < String(b) ? -1 : String(a) > String(b) ? 1 : 0;
}

const WIDTHS: Record<string, string> = {
  time: "12.5rem",
  level: "6.5rem",
  bool: "5rem",
  int: "minmax(6.5rem,0.6fr)",
  float: "minmax(6.5rem,0.6fr)",
  json: "minmax(10rem,1.5fr)",
};

/** Columns that the unit and the thresholds are about: the only one with numbers, else those that are no counts. */
export function measuredColumns(columns: Column[]): Set<number> {
  const numbers = columns.map((_, index) => index).filter((index) => isNumberType(columns[index]?.type ?? ""));
  if (numbers.length < 2) return new Set(numbers);
  const measured = numbers.filter((index) => columns[index]?.type !== "int");
  return new Set(measured.length > 0 ? measured : numbers);
}

/** Columns of other datasets whose words have a sign: `OPEN`, `CRITICAL`. */
const WORDY = new Set(["severity", "status"]);

interface Line {
  row: Cell[];
  at: number;
}

export function AnswerTable({
  answer,
  spec,
  label,
  onSelectValue,
}: {
  answer: Pick<Answer, "columns" | "rows">;
  spec: VizSpec;
  label: string;
  onSelectValue?: (column: string, value: string) => void;
}) {
  const zone = useZone((state) => state.zone);
  const measured = useMemo(() => measuredColumns(answer.columns), [answer]);
  const [sort, setSort] = useState<{ column: number; down: boolean } | null>(null);
  const columns = useMemo(() => tableColumnsOf(answer, spec), [answer, spec]);
  const lines = useMemo(() => {
    const all = answer.rows.map((row, at): Line => ({ row, at }));
    if (!sort) return all;
    const factor = sort.down ? -1 : 1;
    return all.sort((a, b) => factor * compareCells(a.row[sort.column], b.row[sort.column]));
  }, [answer, sort]);
  return (
    <Table<Line>
      label={label}
      rows={lines}
      rowHeight={28}
      keyOf={(line) => String(line.at)}
      columns={columns.map((index) => {
        const column = answer.columns[index] ?? { name: "", type: "text" };
        const number = isNumberType(column.type);
        const measure = measured.has(index);
        return {
          id: column.name,
          header: column.name,
          align: number ? "right" : "left",
          width:
            column.name === "message" || column.name === "template"
              ? "minmax(18rem,4fr)"
              : (WIDTHS[column.type] ?? "minmax(8rem,1fr)"),
          sort: sort?.column === index ? (sort.down ? "desc" : "asc") : null,
          onSort: () =>
            setSort((now) =>
              now?.column !== index
                ? { column: index, down: number }
                : now.down === number
                  ? { column: index, down: !number }
                  : null,
            ),
          cell: ({ row }) => {
            const cell = row[index];
            if (
              typeof cell === "string" &&
              (column.type === "level" || (WORDY.has(column.name) && /^[A-Z]+$/.test(cell)))
            )
              return <SeverityBadge of={cell} soft={false} />;
            const text = formatCell(cell, column, { zone, unit: measure ? spec.unit : undefined });
            const tone = measure ? toneOf(toNumber(cell) ?? Number.NEGATIVE_INFINITY, spec.thresholds) : null;
            if (typeof cell === "string" && column.type === "text" && onSelectValue && column.name !== "message")
              return (
                <button
                  type="button"
                  title={text}
                  onClick={() => onSelectValue(column.name, cell)}
                  className="max-w-full truncate text-left hover:text-accent hover:underline"
                >
                  {text}
                </button>
              );
            return (
              <span
                title={column.type === "time" && toMs(cell) !== null ? String(cell) : text}
                className={cx(tone === "critical" && "text-critical", tone === "warning" && "text-warning")}
              >
                {text}
              </span>
            );
          },
        };
      })}
    />
  );
}
