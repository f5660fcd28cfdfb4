/** Colours of a search line and the look of the editor, in the tokens of the page. */
import { HighlightStyle } from "@codemirror/language";
import type { Extension, Range } from "@codemirror/state";
import { Decoration, type DecorationSet, EditorView, ViewPlugin, type ViewUpdate } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { type TokenKind, tokenize } from "../line/tokens";

const MARKS = Object.fromEntries(
  (
    [
      "pipe",
      "command",
      "field",
      "operator",
      "not",
      "keyword",
      "function",
      "string",
      "regex",
      "number",
      "wildcard",
    ] satisfies TokenKind[]
  ).map((kind) => [kind, Decoration.mark({ class: `hq-${kind}` })]),
) as Partial<Record<TokenKind, Decoration>>;

function marks(view: EditorView): DecorationSet {
  const found: Range<Decoration>[] = [];
  for (const token of tokenize(view.state.doc.toString())) {
    const mark = MARKS[token.kind];
    if (mark && token.to > token.from) found.push(mark.range(token.from, token.to));
  }
  return Decoration.set(found);
}

/** Colours a search line. A line has 16 KiB at most, so it is read anew with every change. */
export const searchColours: Extension = ViewPlugin.fromClass(
  class {
    decorations: DecorationSet;
    constructor(view: EditorView) {
      this.decorations = marks(view);
    }
    update(update: ViewUpdate): void {
      if (update.docChanged) this.decorations = marks(update.view);
    }
  },
  { decorations: (plugin) => plugin.decorations },
);

/** Colours of SQL, the same ones. */
export const sqlColours = HighlightStyle.define([
  { tag: tags.keyword, color: "var(--fatal)", fontWeight: "600" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--ok)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--warning)" },
  { tag: tags.operator, color: "var(--muted)" },
  { tag: [tags.typeName, tags.standard(tags.name)], color: "var(--info)" },
  { tag: tags.comment, color: "var(--faint)", fontStyle: "italic" },
]);

export const editorTheme: Extension = EditorView.theme({
  "&": { backgroundColor: "transparent", color: "var(--fg)", fontSize: "var(--text-sm)" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": {
    fontFamily: "var(--font-mono)",
    fontVariantLigatures: "none",
    lineHeight: "1.25rem",
    maxHeight: "12.5rem",
    overflow: "auto",
  },
  ".cm-content": { padding: "5px 0", caretColor: "var(--accent)" },
  ".cm-line": { padding: "0 10px" },
  ".cm-cursor": { borderLeftColor: "var(--accent)", borderLeftWidth: "2px" },
  ".cm-placeholder": { color: "var(--faint)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    background: "color-mix(in srgb, var(--accent) 28%, transparent)",
  },
  "&.cm-focused .cm-matchingBracket": { backgroundColor: "var(--selected)", outline: "1px solid var(--line-strong)" },
  ".hq-pipe": { color: "var(--accent)", fontWeight: "700" },
  ".hq-command": { color: "var(--fatal)", fontWeight: "600" },
  ".hq-keyword": { color: "var(--fatal)" },
  ".hq-function": { color: "var(--info)" },
  ".hq-field": { color: "var(--accent)" },
  ".hq-operator": { color: "var(--muted)" },
  ".hq-not": { color: "var(--critical)", fontWeight: "700" },
  ".hq-string": { color: "var(--ok)" },
  ".hq-regex": { color: "var(--critical)" },
  ".hq-number": { color: "var(--warning)" },
  ".hq-wildcard": { color: "var(--info)" },
  ".cm-lintRange-error": {
    backgroundImage: "none",
    textDecoration: "underline wavy var(--critical)",
    textUnderlineOffset: "4px",
    textDecorationSkipInk: "none",
  },
  ".cm-tooltip": {
    border: "1px solid var(--line)",
    backgroundColor: "var(--raised)",
    color: "var(--fg)",
    borderRadius: "6px",
    boxShadow: "var(--pop)",
    zIndex: "55",
    overflow: "hidden",
  },
  ".cm-tooltip-lint": { padding: "0" },
  ".cm-diagnostic": { padding: "6px 10px", fontFamily: "var(--font-sans)", fontSize: "var(--text-xs)" },
  ".cm-diagnostic-error": { borderLeft: "3px solid var(--critical)" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul": {
    fontFamily: "var(--font-mono)",
    fontSize: "var(--text-xs)",
    maxHeight: "18rem",
    minWidth: "14rem",
  },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li": {
    padding: "3px 10px",
    display: "flex",
    gap: "12px",
    lineHeight: "1.15rem",
  },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li[aria-selected]": {
    backgroundColor: "var(--selected)",
    color: "var(--fg)",
  },
  ".cm-completionMatchedText": { textDecoration: "none", color: "var(--accent)", fontWeight: "600" },
  ".cm-completionDetail": {
    marginLeft: "auto",
    fontStyle: "normal",
    fontFamily: "var(--font-sans)",
    color: "var(--faint)",
  },
  ".cm-tooltip.cm-completionInfo": {
    padding: "6px 10px",
    fontSize: "var(--text-xs)",
    maxWidth: "20rem",
    color: "var(--muted)",
  },
});
