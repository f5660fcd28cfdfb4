/** Makes a panel: its query and how it is drawn, with the answer before one's eyes. */
import { Play } from "lucide-react";
import { useState } from "react";
import { SearchEditor } from "@/features/explore/SearchEditor";
import { useShortcuts } from "@/lib/keys";
import type { TimeRange } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Segmented, TextArea } from "@/ui/Field";
import type { Mark } from "@/viz/Visualisation";
import type { Chosen } from "./interpolate";
import { PanelFrame } from "./PanelFrame";
import { PanelOptions } from "./PanelOptions";
import { askedBy, usePanelAnswer } from "./panels";
import type { Panel, PanelLanguage } from "./spec";

interface Props {
  panel: Panel;
  fresh: boolean;
  range: TimeRange;
  variables: Record<string, Chosen>;
  names: string[];
  ready: boolean;
  tick: number;
  marks: Mark[];
  onApply: (panel: Panel) => void;
  onCancel: () => void;
  onSelectRange: (from: number, to: number) => void;
}

const STARTS: Record<PanelLanguage, string> = {
  search: "| timechart $__bucket count() by level",
  sql: "select date_bin($__bucket, timestamp) as time, level, count(*) as records\nfrom logs\ngroup by 1, 2\norder by 1",
};

export function PanelEditor({
  panel: given,
  fresh,
  range,
  variables,
  names,
  ready,
  tick,
  marks,
  onApply,
  onCancel,
  onSelectRange,
}: Props) {
  const [panel, setPanel] = useState(given);
  // What is asked follows the editor when it is run; how it is drawn follows at once.
  const [asked, setAsked] = useState({ query: given.query, language: given.language, nth: 0 });
  const shown: Panel = { ...panel, query: asked.query, language: asked.language };
  const run = (query = panel.query): void => setAsked({ query, language: panel.language, nth: asked.nth + 1 });
  const set = (changes: Partial<Panel>): void => setPanel({ ...panel, ...changes });
  const text = panel.viz === "text";
  const current = askedBy(shown, range, variables, true);
  const answer = usePanelAnswer(current.question, ready && current.mistakes.length === 0);
  const problem = answer.error;
  // The place of a mistake is one of the query as it was sent: only without variables is it the one that was written.
  const same = current.question?.query === panel.query && asked.query === panel.query;
  const column = Number(problem?.extra.column ?? 0);
  const mistake =
    problem && same && column > 0
      ? {
          line: Number(problem.extra.line ?? 1),
          column,
          length: Number(problem.extra.length ?? 1),
          message: problem.detail,
        }
      : null;
  const apply = (): void => onApply(panel);
  useShortcuts({ "mod+Enter": () => run(), "mod+s": apply });
  return (
    <div className="grid min-h-0 flex-1 gap-3 px-4 pb-4 md:grid-cols-[minmax(0,1fr)_20rem]">
      <div className="flex min-w-0 flex-col gap-3">
        <div className="h-80 shrink-0 md:h-96">
          <PanelFrame
            panel={shown}
            range={range}
            variables={variables}
            ready={ready}
            tick={tick + asked.nth}
            marks={marks}
            wide
            onSelectRange={onSelectRange}
          />
        </div>
        {text ? (
          <div className="flex flex-1 flex-col gap-1">
            <span aria-hidden className="text-xs font-medium text-muted">
              Text: Markdown, with variables as $name
            </span>
            <TextArea
              aria-label="Text of the panel"
              className="min-h-40 flex-1 font-mono"
              value={panel.text ?? ""}
              onChange={(event) => set({ text: event.target.value })}
            />
          </div>
        ) : (
          <div className="flex flex-col gap-2">
            <div className="flex flex-wrap items-center gap-2">
              <Segmented<PanelLanguage>
                label="Language"
                value={panel.language}
                onChange={(language) => {
                  const untouched = panel.query.trim() === "" || panel.query === STARTS[panel.language];
                  const query = untouched ? STARTS[language] : panel.query;
                  setPanel({ ...panel, language, query });
                  if (untouched) setAsked({ query, language, nth: asked.nth + 1 });
                }}
                options={[
                  { value: "search", label: "Search" },
                  { value: "sql", label: "SQL" },
                ]}
              />
              <span className="min-w-0 flex-1 truncate text-xs text-faint">
                {["$__bucket", ...names.map((name) => `$${name}`)].join("  ")}
              </span>
              <Button icon={Play} onClick={() => run()} busy={answer.isFetching} title="Ctrl Enter">
                Run
              </Button>
            </div>
            <SearchEditor
              language={panel.language}
              value={panel.query}
              onChange={(query) => set({ query })}
              onSubmit={panel.language === "search" ? run : undefined}
              mistake={mistake}
              label="Query of the panel"
              minLines={panel.language === "sql" ? 6 : 3}
            />
          </div>
        )}
      </div>
      <div className="flex min-w-0 flex-col gap-3">
        <PanelOptions panel={panel} columns={answer.data?.columns ?? []} onChange={setPanel} />
        <div className="sticky bottom-0 flex justify-end gap-2 border-t border-line bg-bg py-2">
          <Button onClick={onCancel}>Cancel</Button>
          <Button kind="primary" onClick={apply}>
            {fresh ? "Add panel" : "Apply"}
          </Button>
        </div>
      </div>
    </div>
  );
}

/** A panel to begin with. */
export function newPanel(id: string): Panel {
  return { id, title: "New panel", viz: "line", query: STARTS.search, language: "search" };
}
