/** One record in full: its fields, its message with what varies marked, its trace, the lines around it, its like. */
import { ArrowDown, ArrowUp, ClipboardCopy, Link2, X } from "lucide-react";
import { useState } from "react";
import type { Cell } from "@/api/query";
import { formatAgo, formatTime, type TimeRange, toRfc3339, useZone } from "@/lib/time";
import { useWidth, WIDTHS } from "@/lib/width";
import { IconButton } from "@/ui/Button";
import { SeverityBadge } from "@/ui/Severity";
import { type Tab, Tabs } from "@/ui/Tabs";
import { toast } from "@/ui/Toasts";
import { fieldOf, idOf, type LogRow, msOf, objectOf, text } from "../rows/record";
import { AroundTab } from "./AroundTab";
import { FieldsTab } from "./FieldsTab";
import { MessageBox } from "./MessageBox";
import { SimilarTab } from "./SimilarTab";
import { TraceTab } from "./TraceTab";

export interface RecordPanelProps {
  row: LogRow;
  line: string;
  span: TimeRange;
  columns: readonly string[];
  onColumn: (name: string) => void;
  onFilter: (field: string, value: Cell, exclude: boolean) => void;
  onAsk: (query: string) => void;
  onClose: () => void;
  onStep: (by: number) => void;
  canStep: { back: boolean; on: boolean };
}

const HOUR = 3_600_000;

/** The time around a record within which what belongs to it is looked for. */
export function around(row: LogRow, hours: number): TimeRange {
  const at = msOf(row);
  return { from: toRfc3339(at - hours * HOUR), to: toRfc3339(at + hours * HOUR) };
}

export async function copy(what: string, words: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(what);
    toast.ok(words);
  } catch {
    toast.calm("The browser does not let this page copy; select the text instead.");
  }
}

export function RecordPanel(props: RecordPanelProps) {
  const { row, onAsk, onClose, onStep, canStep } = props;
  const zone = useZone((state) => state.zone);
  // On a small screen the panel is a dialog, which closes itself.
  const isDialog = useWidth() < WIDTHS.md;
  const [tab, setTab] = useState("fields");
  const time = text(fieldOf(row, "timestamp"));
  const level = text(fieldOf(row, "level"));
  const trace = text(fieldOf(row, "trace_id"));
  const template = fieldOf(row, "template_id");
  const json = JSON.stringify(objectOf(row), null, 2);
  const id = idOf(row);
  const link = (): string => {
    const { from, to } = around(row, 1);
    const url = new URL("/explore", location.href);
    url.search = new URLSearchParams({ q: `id:${id}`, from, to }).toString();
    return url.href;
  };
  const tabs: (Tab | null)[] = [
    { value: "fields", label: "Fields", content: <FieldsTab {...props} /> },
    id ? { value: "around", label: "Around", content: <AroundTab row={row} onAsk={onAsk} /> } : null,
    trace ? { value: "trace", label: "Trace", content: <TraceTab row={row} trace={trace} onAsk={onAsk} /> } : null,
    template === null
      ? null
      : {
          value: "similar",
          label: "Similar",
          content: <SimilarTab row={row} template={Number(template)} span={props.span} onAsk={onAsk} />,
        },
    {
      value: "json",
      label: "JSON",
      content: (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
        <pre tabIndex={0} className="h-full overflow-auto p-3 font-mono text-xs break-all whitespace-pre-wrap">
          {json}
        </pre>
      ),
    },
  ];
  const shown = tabs.filter((one) => one !== null);
  return (
    <>
      <header className="flex items-center gap-1.5 border-b border-line py-1.5 pr-2 pl-3">
        {level ? <SeverityBadge of={level} /> : null}
        <h2 className="tnum shrink-0 text-sm font-semibold" title={`${time} (${formatAgo(time)} ago)`}>
          {formatTime(time, zone, isDialog ? "clock-ms" : "ms")}
        </h2>
        <span className="min-w-0 truncate text-sm text-accent">{text(fieldOf(row, "service"))}</span>
        <span className="ml-auto flex shrink-0">
          <IconButton
            icon={ArrowUp}
            label="Record before"
            keys="k"
            size="sm"
            disabled={!canStep.back}
            onClick={() => onStep(-1)}
          />
          <IconButton
            icon={ArrowDown}
            label="Next record"
            keys="j"
            size="sm"
            disabled={!canStep.on}
            onClick={() => onStep(1)}
          />
          <IconButton
            icon={ClipboardCopy}
            label="Copy as JSON"
            size="sm"
            onClick={() => void copy(json, "The record is copied")}
          />
          <IconButton
            icon={Link2}
            label="Copy a link to this record"
            size="sm"
            onClick={() => void copy(link(), "The link is copied")}
          />
          {isDialog ? null : <IconButton icon={X} label="Close the record" keys="Esc" size="sm" onClick={onClose} />}
        </span>
      </header>
      <MessageBox row={row} onAsk={onAsk} />
      <Tabs
        label="About this record"
        value={shown.some((one) => one.value === tab) ? tab : "fields"}
        onChange={setTab}
        tabs={shown}
      />
    </>
  );
}
