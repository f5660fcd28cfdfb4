/** Fields of the records: find one, see its values, filter by them, show it as a column. */
import { useQuery } from "@tanstack/react-query";
import { ChevronDown, ChevronRight, Columns3, Search } from "lucide-react";
import { useMemo, useState } from "react";
import { client, unwrap } from "@/api/client";
import type { Cell } from "@/api/query";
import { cx } from "@/lib/cx";
import { formatNumber, formatShare, formatShort } from "@/lib/format";
import type { TimeRange } from "@/lib/time";
import { Input } from "@/ui/Field";
import { Empty, Failed, Skeleton } from "@/ui/States";
import { Tip } from "@/ui/Tip";
import type { RowWindow } from "../rows/window";
import { figuresOf, type SidebarField, sidebarFields } from "./figures";
import { TopValues } from "./TopValues";

const ROWS_LOOKED_AT = 1_000;

export interface FieldActions {
  columns: readonly string[];
  onColumn: (name: string) => void;
  onFilter: (name: string, value: Cell, exclude: boolean) => void;
  onExists: (name: string, exclude: boolean) => void;
}

interface Props extends FieldActions {
  line: string;
  /** The range as written: what the list of fields is asked with. */
  range: TimeRange;
  /** The range of the run: what values are counted in. */
  span: TimeRange;
  rows: RowWindow | null;
  version: number;
}

export function FieldSidebar({ line, range, span, rows, version, ...actions }: Props) {
  const [words, setWords] = useState("");
  const fields = useQuery({
    queryKey: ["fields", "logs", range.from, range.to],
    queryFn: ({ signal }) =>
      unwrap(client.GET("/api/v1/fields", { params: { query: { from: range.from, to: range.to } }, signal })),
    staleTime: 30_000,
  });
  // biome-ignore lint/correctness/useExhaustiveDependencies: the rows in hand change with the version
  const inHand = useMemo(() => figuresOf(rows?.loaded() ?? [], ROWS_LOOKED_AT).fields, [rows, version]);
  const all = useMemo(
    () => sidebarFields(fields.data?.items ?? [], fields.data?.records ?? 0, inHand),
    [fields.data, inHand],
  );
  const wanted = words.trim().toLowerCase();
  const found = all.filter((field) => field.name.toLowerCase().includes(wanted));
  const chosen = found.filter((field) => actions.columns.includes(field.name));
  const groups: [string, SidebarField[]][] = [
    ["Shown", chosen],
    ["Fields", found.filter((field) => !field.isAttribute && !chosen.includes(field))],
    ["Attributes", found.filter((field) => field.isAttribute && !chosen.includes(field))],
  ];
  return (
    <div className="flex min-h-0 flex-1 flex-col">
      <div className="relative p-2">
        <Search size={13} aria-hidden className="absolute top-1/2 left-4.5 -translate-y-1/2 text-faint" />
        <Input
          value={words}
          onChange={(event) => setWords(event.target.value)}
          placeholder={`Find among ${all.length} fields`}
          aria-label="Find a field"
          className="pl-7"
        />
      </div>
      <div className="min-h-0 flex-1 overflow-y-auto px-1 pb-2">
        {fields.isError && all.length === 0 ? (
          <Failed error={fields.error} onRetry={() => void fields.refetch()} className="px-3" />
        ) : fields.isPending && all.length === 0 ? (
          <Skeleton rows={10} />
        ) : found.length === 0 ? (
          <Empty title={wanted ? "No field of that name" : "No records, no fields"} className="px-3">
            {wanted ? "Any name can be asked for in the search line all the same." : null}
          </Empty>
        ) : (
          groups.map(([title, members]) =>
            members.length === 0 ? null : (
              <section key={title} aria-label={title} className="pb-1">
                <h2 className="px-2 pt-1.5 pb-0.5 text-2xs font-semibold tracking-wide text-faint uppercase">
                  {title}
                </h2>
                <ul>
                  {members.map((field) => (
                    <FieldItem
                      key={field.name}
                      field={field}
                      line={line}
                      span={span}
                      inHand={inHand.get(field.name)?.values ?? null}
                      {...actions}
                    />
                  ))}
                </ul>
              </section>
            ),
          )
        )}
      </div>
    </div>
  );
}

const TYPES: Record<string, string> = {
  text: "T",
  id: "#",
  int: "1",
  float: "1.",
  number: "1",
  bool: "?",
  time: "◷",
  level: "!",
  json: "{}",
  object: "{}",
  array: "[]",
  any: "·",
};

interface ItemProps extends FieldActions {
  field: SidebarField;
  line: string;
  span: TimeRange;
  inHand: ReadonlyMap<string, number> | null;
}

function FieldItem({ field, line, span, inHand, columns, onColumn, onFilter, onExists }: ItemProps) {
  const [open, setOpen] = useState(false);
  const isColumn = columns.includes(field.name);
  const distinct =
    field.distinct === null
      ? ""
      : `${field.isEstimate ? "about " : ""}${formatNumber(field.distinct)} different values`;
  return (
    <li>
      <div className={cx("group flex h-7 items-center rounded-md hover:bg-hover", open && "bg-hover")}>
        <button
          type="button"
          aria-expanded={open}
          onClick={() => setOpen(!open)}
          title={[field.doc, distinct].filter(Boolean).join(" ")}
          className="flex min-w-0 flex-1 items-center gap-1.5 self-stretch pl-1.5 text-left text-xs"
        >
          {open ? (
            <ChevronDown size={12} aria-hidden className="shrink-0 text-faint" />
          ) : (
            <ChevronRight size={12} aria-hidden className="shrink-0 text-faint" />
          )}
          <span
            title={field.type}
            className="w-4 shrink-0 text-center font-mono text-2xs text-muted"
            aria-label={`${field.type}, `}
            role="img"
          >
            {TYPES[field.type] ?? "·"}
          </span>
          <span className="truncate font-mono">{field.name}</span>
          <span className="tnum ml-auto pr-1 text-2xs text-faint">
            {field.distinct !== null ? formatShort(field.distinct) : ""}
          </span>
        </button>
        <Tip text={isColumn ? "Take this column away" : "Show as a column"}>
          <button
            type="button"
            aria-label={isColumn ? `Hide column ${field.name}` : `Show ${field.name} as a column`}
            aria-pressed={isColumn}
            onClick={() => onColumn(field.name)}
            className={cx(
              "flex size-6 shrink-0 items-center justify-center rounded hover:text-fg",
              isColumn
                ? "text-accent"
                : "text-muted opacity-0 group-focus-within:opacity-100 group-hover:opacity-100 max-sm:opacity-100",
            )}
          >
            <Columns3 size={13} aria-hidden />
          </button>
        </Tip>
      </div>
      {open ? (
        <div className="pt-0.5 pb-2 pl-6">
          {field.share !== null ? (
            <p className="pr-2 pb-1 text-2xs text-muted">
              In {formatShare(field.share)} of the stored records of this time{distinct ? `, ${distinct}` : ""}.
            </p>
          ) : null}
          <TopValues
            line={line}
            span={span}
            field={field.name}
            inHand={inHand}
            onFilter={(value, exclude) => onFilter(field.name, value, exclude)}
          />
          <div className="flex gap-2 pt-1 text-2xs">
            <button type="button" className="text-accent hover:underline" onClick={() => onExists(field.name, false)}>
              Only with it
            </button>
            <button type="button" className="text-accent hover:underline" onClick={() => onExists(field.name, true)}>
              Only without it
            </button>
          </div>
        </div>
      ) : null}
    </li>
  );
}
