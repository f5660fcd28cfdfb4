/** The editor behind `SearchEditor`: CodeMirror, set up for each language. */
import {
  acceptCompletion,
  autocompletion,
  closeBrackets,
  closeBracketsKeymap,
  completionKeymap,
  completionStatus,
  moveCompletionSelection,
  selectedCompletionIndex,
} from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, insertNewline } from "@codemirror/commands";
import { bracketMatching, syntaxHighlighting } from "@codemirror/language";
import { setDiagnostics } from "@codemirror/lint";
import { Compartment, EditorState, type Extension, Prec } from "@codemirror/state";
import { EditorView, type KeyBinding, keymap, placeholder as placeholderOf } from "@codemirror/view";
import { useEffect, useRef } from "react";
import type { Language } from "@/api/query";
import { useRange } from "@/app/url";
import { cspNonce } from "@/lib/nonce";
import type { SearchEditorProps } from "../SearchEditor";
import { editorTheme, searchColours, sqlColours } from "./colours";
import { searchCompletions } from "./complete";
import { readHistory, step } from "./history";
import { unitsOf } from "./places";
import { sqlSupport } from "./sql";

/** What a language brings along. */
async function supportOf(
  language: Language,
  range: () => { from: string; to: string },
  schema: () => Promise<Extension>,
): Promise<Extension> {
  const popup = { selectOnOpen: false, icons: false, closeOnBlur: true, activateOnTypingDelay: 120 };
  switch (language) {
    case "search":
      return [searchColours, autocompletion({ ...popup, override: [searchCompletions(range)] })];
    case "sql":
      return [syntaxHighlighting(sqlColours), autocompletion(popup), await schema()];
    case "ask":
      return [];
  }
}

export function Editor(props: SearchEditorProps) {
  const box = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const current = useRef(props);
  current.current = props;
  const { range } = useRange();
  const rangeNow = useRef(range);
  rangeNow.current = range;
  const language = useRef(new Compartment());
  const words = useRef(new Compartment());
  const { value, mistake, label, placeholder, minLines = 1 } = props;

  useEffect(() => {
    if (!box.current) return;
    const made = new EditorView({
      parent: box.current,
      state: EditorState.create({
        doc: current.current.value,
        extensions: [
          EditorView.cspNonce.of(cspNonce()),
          Prec.highest(keymap.of(ownKeys(() => current.current))),
          history(),
          bracketMatching(),
          closeBrackets(),
          keymap.of([...closeBracketsKeymap, ...completionKeymap, ...historyKeymap, ...defaultKeymap]),
          EditorView.lineWrapping,
          editorTheme,
          language.current.of([]),
          words.current.of([]),
          EditorView.updateListener.of((update) => {
            if (update.docChanged) current.current.onChange(update.state.doc.toString());
          }),
        ],
      }),
    });
    view.current = made;
    if (current.current.autoFocus) {
      made.focus();
      made.dispatch({ selection: { anchor: made.state.doc.length } });
    }
    return () => {
      made.destroy();
      view.current = null;
    };
  }, []);

  useEffect(() => {
    let gone = false;
    void supportOf(props.language, () => rangeNow.current, sqlSupport).then((support) => {
      if (!gone) view.current?.dispatch({ effects: language.current.reconfigure(support) });
    });
    return () => {
      gone = true;
    };
  }, [props.language]);

  useEffect(() => {
    view.current?.dispatch({
      effects: words.current.reconfigure([
        placeholderOf(placeholder ?? ""),
        EditorView.contentAttributes.of({
          "aria-label": label,
          ...(mistake ? { "aria-invalid": "true" } : {}),
          spellcheck: "false",
          autocapitalize: "off",
          autocorrect: "off",
          style: `min-height:${minLines * 20 + 10}px`,
        }),
      ]),
    });
  }, [label, placeholder, minLines, mistake]);

  useEffect(() => {
    const made = view.current;
    if (!made || made.state.doc.toString() === value) return;
    made.dispatch({
      changes: { from: 0, to: made.state.doc.length, insert: value },
      selection: { anchor: value.length },
    });
  }, [value]);

  useEffect(() => {
    const made = view.current;
    if (!made) return;
    const text = made.state.doc.toString();
    const place = mistake ? unitsOf(text, mistake) : null;
    made.dispatch(
      setDiagnostics(made.state, place && mistake ? [{ ...place, severity: "error", message: mistake.message }] : []),
    );
  }, [mistake]);

  return <div ref={box} className="min-w-0" />;
}

/** Keys that mean something else here than in a text: Enter runs, arrow-up brings back earlier questions. */
function ownKeys(props: () => SearchEditorProps): KeyBinding[] {
  const recall =
    (by: 1 | -1) =>
    (view: EditorView): boolean => {
      if (completionStatus(view.state) === "active") return false;
      const line = view.state.doc.lineAt(view.state.selection.main.head).number;
      if (by === 1 ? line !== 1 : line !== view.state.doc.lines) return false;
      const { language } = props();
      const list = readHistory()
        .filter((asked) => asked.language === language)
        .map((asked) => asked.query);
      const found = step(list, view.state.doc.toString(), by);
      if (found === null) return false;
      view.dispatch({
        changes: { from: 0, to: view.state.doc.length, insert: found },
        selection: { anchor: found.length },
      });
      return true;
    };
  const run = (view: EditorView): boolean => {
    const { onSubmit } = props();
    if (!onSubmit) return false;
    onSubmit(view.state.doc.toString());
    return true;
  };
  return [
    {
      key: "Enter",
      run: (view) => (selectedCompletionIndex(view.state) !== null && acceptCompletion(view)) || run(view),
    },
    { key: "Mod-Enter", run },
    { key: "Shift-Enter", run: insertNewline },
    {
      key: "Tab",
      run: (view) => {
        if (completionStatus(view.state) !== "active") return false;
        if (selectedCompletionIndex(view.state) === null) moveCompletionSelection(true)(view);
        return acceptCompletion(view);
      },
    },
    { key: "ArrowUp", run: recall(1) },
    { key: "ArrowDown", run: recall(-1) },
    {
      key: "Escape",
      run: (view) => {
        if (completionStatus(view.state) !== null) return false;
        view.contentDOM.blur();
        return true;
      },
    },
  ];
}
