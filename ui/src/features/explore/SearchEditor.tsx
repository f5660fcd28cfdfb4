/** Where a question is written, in any language: colours, completion, mistakes underlined, earlier questions by arrow-up.
 * The editor itself is a chunk of its own; until it is there the text is shown as it is. */
import { lazy, Suspense } from "react";
import type { Language } from "@/api/query";

/** What is wrong with a text and where: line and column count from 1, in characters. */
export interface Mistake {
  line?: number;
  column: number;
  length: number;
  message: string;
}

export interface SearchEditorProps {
  language: Language;
  value: string;
  onChange: (value: string) => void;
  /** Enter: run it. Without it, Enter makes a new line. */
  onSubmit?: (value: string) => void;
  mistake?: Mistake | null;
  autoFocus?: boolean;
  /** Its accessible name. */
  label: string;
  placeholder?: string;
  minLines?: number;
}

const Editor = lazy(() => import("./editor/Editor").then((module) => ({ default: module.Editor })));

export function SearchEditor(props: SearchEditorProps) {
  const rows = props.minLines ?? 1;
  return (
    <div
      data-search
      className="min-w-0 flex-1 rounded-md border border-line bg-surface focus-within:border-accent hover:border-line-strong focus-within:hover:border-accent"
    >
      <Suspense
        fallback={
          <pre
            className="overflow-hidden px-2.5 py-[5px] font-mono text-sm leading-5 text-muted"
            style={{ minHeight: rows * 20 + 10 }}
          >
            {props.value || " "}
          </pre>
        }
      >
        <Editor {...props} />
      </Suspense>
    </div>
  );
}

export type { Language };
