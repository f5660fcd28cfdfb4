/** A text editor with line numbers and marks on mistakes. Heavy: import it lazily (`React.lazy`). */
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { yaml } from "@codemirror/lang-yaml";
import { bracketMatching, foldGutter, HighlightStyle, indentOnInput, syntaxHighlighting } from "@codemirror/language";
import { type Diagnostic, lintGutter, setDiagnostics } from "@codemirror/lint";
import { Compartment, EditorState, type Extension } from "@codemirror/state";
import { drawSelection, EditorView, highlightActiveLine, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { useEffect, useRef } from "react";
import { cspNonce } from "@/lib/nonce";

export interface Mistake {
  /** From 1. */
  line: number;
  /** From 1. */
  column?: number | null;
  severity: "error" | "warning" | "info";
  message: string;
}

interface Props {
  /** Its accessible name. */
  label: string;
  value: string;
  onChange?: (value: string) => void;
  mistakes?: Mistake[];
  language?: "yaml" | "text";
  height?: string;
}

const colours = HighlightStyle.define([
  { tag: [tags.propertyName, tags.definition(tags.propertyName)], color: "var(--accent)" },
  { tag: [tags.string, tags.content], color: "var(--fg)" },
  { tag: [tags.number, tags.bool, tags.null, tags.atom], color: "var(--info)" },
  { tag: [tags.comment, tags.lineComment], color: "var(--faint)", fontStyle: "italic" },
  { tag: [tags.keyword, tags.operator, tags.punctuation, tags.separator], color: "var(--muted)" },
]);

const looks = EditorView.theme({
  "&": { fontSize: "12.5px", height: "100%", backgroundColor: "var(--bg)", color: "var(--fg)" },
  "&.cm-focused": { outline: "2px solid var(--accent)", outlineOffset: "-1px" },
  ".cm-content": { fontFamily: "var(--font-mono)", caretColor: "var(--fg)" },
  ".cm-cursor": { borderLeftColor: "var(--fg)" },
  ".cm-gutters": { backgroundColor: "var(--surface)", color: "var(--faint)", borderRight: "1px solid var(--line)" },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "var(--hover)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    backgroundColor: "var(--selected)",
  },
  ".cm-tooltip": { backgroundColor: "var(--raised)", border: "1px solid var(--line)", color: "var(--fg)" },
});

/** A text that cannot be written can still be scrolled with the keys, and is a text box that says so. */
function written(readOnly: boolean): Extension {
  return [
    EditorState.readOnly.of(readOnly),
    EditorView.editable.of(!readOnly),
    EditorView.contentAttributes.of({ tabindex: "0", ...(readOnly ? { "aria-readonly": "true" } : {}) }),
  ];
}

export function CodeEditor({ label, value, onChange, mistakes = [], language = "yaml", height = "20rem" }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const changed = useRef(onChange);
  changed.current = onChange;
  const writable = useRef(new Compartment());
  const readOnly = onChange === undefined;

  // biome-ignore lint/correctness/useExhaustiveDependencies: made once; what changes is dispatched below
  useEffect(() => {
    if (!box.current) return;
    const made = new EditorView({
      parent: box.current,
      state: EditorState.create({
        doc: value,
        extensions: [
          lineNumbers(),
          foldGutter(),
          lintGutter(),
          history(),
          drawSelection(),
          indentOnInput(),
          bracketMatching(),
          highlightActiveLine(),
          // Tab leaves the editor, as everywhere on the page; indenting is done with Ctrl-].
          keymap.of([...defaultKeymap, ...historyKeymap]),
          language === "yaml" ? yaml() : [],
          syntaxHighlighting(colours),
          looks,
          EditorView.cspNonce.of(cspNonce()),
          EditorView.contentAttributes.of({ "aria-label": label }),
          writable.current.of(written(readOnly)),
          EditorView.updateListener.of((update) => {
            if (update.docChanged) changed.current?.(update.state.doc.toString());
          }),
        ],
      }),
    });
    view.current = made;
    return () => {
      made.destroy();
      view.current = null;
    };
  }, []);

  useEffect(() => {
    const made = view.current;
    if (made && made.state.doc.toString() !== value)
      made.dispatch({ changes: { from: 0, to: made.state.doc.length, insert: value } });
  }, [value]);

  useEffect(() => {
    view.current?.dispatch({
      effects: writable.current.reconfigure(written(readOnly)),
    });
  }, [readOnly]);

  useEffect(() => {
    const made = view.current;
    if (!made) return;
    const found = mistakes.map((mistake): Diagnostic => {
      const line = made.state.doc.line(Math.min(Math.max(1, mistake.line), made.state.doc.lines));
      const from = Math.min(line.to, line.from + Math.max(0, (mistake.column ?? 1) - 1));
      return { from, to: line.to, severity: mistake.severity, message: mistake.message };
    });
    made.dispatch(setDiagnostics(made.state, found));
  }, [mistakes]);

  return <div ref={box} className="overflow-hidden rounded-md border border-line" style={{ height }} />;
}
