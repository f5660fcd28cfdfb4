/** Above the records: which view, in what order and shape, and the figures of the run. */
import {
  AlignJustify,
  ArrowDownNarrowWide,
  ArrowDownWideNarrow,
  ChartColumn,
  Layers,
  List,
  PanelLeft,
  Radio,
  Rows3,
  SlidersHorizontal,
  WrapText,
} from "lucide-react";
import { Button, IconButton } from "@/ui/Button";
import { Segmented } from "@/ui/Field";
import { Menu } from "@/ui/Menu";
import { usePrefs } from "./prefs";
import type { Asked, View } from "./question";
import { RunFigures } from "./RunStrip";
import type { Run } from "./run/useRun";

interface Props {
  run: Run;
  view: View;
  asked: Asked;
  /** The answer is a table: there are no records to list. */
  isTable: boolean;
  fieldsShown: boolean;
  onFields: () => void;
  onView: (view: View) => void;
  onChange: (changes: Partial<Asked>, options?: { replace?: boolean }) => void;
  onTail: () => void;
}

const THRESHOLDS: [string, number | null][] = [
  ["1 second", 1_000],
  ["3 seconds", 3_000],
  ["15 seconds", 15_000],
  ["Never", null],
];

export function Toolbar({ run, view, asked, isTable, fieldsShown, onFields, onView, onChange, onTail }: Props) {
  const prefs = usePrefs();
  const isRecords = view === "records";
  return (
    <div className="flex min-h-10 shrink-0 flex-wrap items-center gap-x-2 gap-y-1 border-b border-line px-3 py-1">
      <IconButton
        icon={PanelLeft}
        label="Fields"
        keys="f"
        size="sm"
        pressed={fieldsShown && asked.language !== "sql"}
        disabled={asked.language === "sql"}
        onClick={onFields}
      />
      <Segmented<View>
        label="View"
        value={view}
        onChange={onView}
        options={
          isTable
            ? [{ value: "chart", label: <Tab icon={ChartColumn} text="Answer" /> }]
            : [
                { value: "records", label: <Tab icon={List} text="Records" /> },
                { value: "patterns", label: <Tab icon={Layers} text="Patterns" /> },
                { value: "chart", label: <Tab icon={ChartColumn} text="Visualise" /> },
              ]
        }
      />
      <div className="order-last min-w-0 flex-1 max-sm:basis-full sm:order-none">
        <RunFigures run={run} />
      </div>
      <div className="ml-auto flex items-center gap-0.5">
        {isRecords ? (
          <>
            <IconButton
              icon={asked.order === "newest" ? ArrowDownWideNarrow : ArrowDownNarrowWide}
              label={
                asked.order === "newest"
                  ? "Newest first; press for oldest first"
                  : "Oldest first; press for newest first"
              }
              size="sm"
              onClick={() => onChange({ order: asked.order === "newest" ? "oldest" : "newest" })}
            />
            <IconButton
              icon={WrapText}
              label="Wrap long lines"
              keys="v"
              size="sm"
              pressed={asked.wrap}
              onClick={() => onChange({ wrap: !asked.wrap }, { replace: true })}
            />
            <IconButton
              icon={prefs.density === "dense" ? AlignJustify : Rows3}
              label={
                prefs.density === "dense" ? "Dense rows; press for roomy ones" : "Roomy rows; press for dense ones"
              }
              size="sm"
              onClick={() => prefs.set({ density: prefs.density === "dense" ? "roomy" : "dense" })}
            />
          </>
        ) : null}
        <Menu
          trigger={<IconButton icon={SlidersHorizontal} label="Options of this page" size="sm" />}
          items={[
            {
              label: "Histogram",
              checked: prefs.histogram,
              onSelect: () => prefs.set({ histogram: !prefs.histogram }),
            },
            {
              label: "Usual columns",
              onSelect: () => onChange({ columns: ["service", "message"] }, { replace: true }),
            },
            null,
            { label: "Ask before what takes longer than:", disabled: true, onSelect: () => {} },
            ...THRESHOLDS.map(([label, askAboveMs]) => ({
              label,
              checked: prefs.askAboveMs === askAboveMs,
              onSelect: () => prefs.set({ askAboveMs }),
            })),
          ]}
        />
        {isTable || asked.language === "sql" ? null : (
          <Button size="sm" icon={Radio} onClick={onTail} title="t">
            Live tail
          </Button>
        )}
      </div>
    </div>
  );
}

function Tab({ icon: Icon, text }: { icon: typeof List; text: string }) {
  return (
    <>
      <Icon size={13} aria-hidden />
      {text}
    </>
  );
}
