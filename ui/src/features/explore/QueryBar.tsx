/** The question: its language, its text, and what is wrong with it while it is written. */
import { CornerDownLeft, Square } from "lucide-react";
import { useEffect, useMemo, useState } from "react";
import { type ApiError, asApiError } from "@/api/problem";
import { explain, type Language } from "@/api/query";
import type { TimeRange } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Segmented } from "@/ui/Field";
import { type Mistake, SearchEditor } from "./SearchEditor";

const HINTS: Record<Language, string> = {
  search: 'level>=error service:payment "connection refused" | stats count() by service',
  sql: "select service, count(*) as errors from logs where level = 'error' group by 1 order by 2 desc",
  ask: "errors from the payment service in the last hour",
};
/** A line is checked when writing has paused this long. */
const CHECK_MS = 700;

/** Where a refused question is wrong; null where the server does not say. */
export function mistakeOf(error: ApiError | null): Mistake | null {
  const column = Number(error?.extra.column);
  if (!error || !Number.isFinite(column) || column < 1) return null;
  const reason = error.errors[0]?.reason ?? error.detail;
  const hint = typeof error.extra.hint === "string" ? `; ${error.extra.hint}` : "";
  const line = Number(error.extra.line);
  return {
    ...(Number.isFinite(line) ? { line } : {}),
    column,
    length: Number(error.extra.length ?? 1),
    message: `${reason}${hint}`,
  };
}

interface Props {
  language: Language;
  query: string;
  range: TimeRange;
  error: ApiError | null;
  isRunning: boolean;
  onAsk: (query: string) => void;
  onLanguage: (language: Language, draft: string) => void;
  onCancel: () => void;
}

export function QueryBar({ language, query, range, error, isRunning, onAsk, onLanguage, onCancel }: Props) {
  const [draft, setDraft] = useState(query);
  // Another question from outside (a filter, the back button) replaces what is being written.
  const [shown, setShown] = useState(query);
  if (shown !== query) {
    setShown(query);
    setDraft(query);
  }
  const isWritten = draft.trim() === query.trim();
  const checked = useCheck(isWritten ? null : draft, language, range);
  const mistake = useMemo(() => (isWritten ? mistakeOf(error) : checked), [isWritten, error, checked]);
  return (
    <div className="flex flex-col gap-1">
      <div className="flex flex-wrap items-start gap-1.5">
        <Segmented<Language>
          label="Language of the question"
          value={language}
          onChange={(next) => onLanguage(next, draft)}
          options={[
            { value: "search", label: "Search", title: "A search line: conditions and pipes" },
            { value: "sql", label: "SQL", title: "One SQL statement over logs, metrics and alerts" },
            { value: "ask", label: "Ask", title: "A question in words; how it was understood is shown" },
          ]}
        />
        <div className="flex min-w-0 flex-1 basis-80 max-sm:order-3 max-sm:basis-full">
          <SearchEditor
            language={language}
            value={draft}
            onChange={setDraft}
            onSubmit={onAsk}
            mistake={mistake}
            label={language === "ask" ? "Question" : language === "sql" ? "SQL statement" : "Search line"}
            placeholder={HINTS[language]}
            minLines={language === "sql" ? 2 : 1}
          />
        </div>
        {isRunning ? (
          <Button icon={Square} className="max-sm:ml-auto" onClick={onCancel}>
            Cancel
          </Button>
        ) : (
          <Button
            kind="primary"
            icon={CornerDownLeft}
            className="max-sm:ml-auto"
            onClick={() => onAsk(draft)}
            title="Enter"
          >
            Run
          </Button>
        )}
      </div>
      {mistake ? (
        <p role="alert" className="text-xs text-critical">
          <span className="tnum text-muted">
            {mistake.line && mistake.line > 1 ? `Line ${mistake.line}, column` : "Column"} {mistake.column}:
          </span>{" "}
          {mistake.message}
        </p>
      ) : null}
    </div>
  );
}

/** Has a half-written line read by the server once writing pauses; only a place that is wrong is of interest. */
function useCheck(draft: string | null, language: Language, range: TimeRange): Mistake | null {
  const [mistake, setMistake] = useState<Mistake | null>(null);
  const { from, to } = range;
  useEffect(() => {
    setMistake(null);
    if (draft === null || !draft.trim() || language === "ask") return;
    const abort = new AbortController();
    const timer = setTimeout(() => {
      explain({ query: draft, language, from, to }, abort.signal).catch((error: unknown) => {
        if (!abort.signal.aborted) setMistake(mistakeOf(asApiError(error)));
      });
    }, CHECK_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [draft, language, from, to]);
  return mistake;
}
