/** Markdown as a tree: paragraphs, headings, lists, quotes, code, tables, rules; bold, italics, code and links. Whatever is not
 * understood stays the text it is; nothing is ever HTML. */

export type Inline =
  | { kind: "text"; text: string }
  | { kind: "code"; text: string }
  | { kind: "strong" | "em" | "del"; children: Inline[] }
  | { kind: "link"; href: string; children: Inline[] };

export type Block =
  | { kind: "heading"; level: number; children: Inline[] }
  | { kind: "paragraph"; children: Inline[] }
  | { kind: "list"; ordered: boolean; items: Block[][] }
  | { kind: "quote"; children: Block[] }
  | { kind: "code"; text: string }
  | { kind: "table"; head: Inline[][]; rows: Inline[][][] }
  | { kind: "rule" };

/** Text read at most; what is beyond is left out. */
export const MARKDOWN_MAX = 64 * 1024;
const DEPTH_MAX = 8;

/** A link that may be followed: to the web, to a mailbox, or inside the app. Null for anything else (`javascript:` …). */
export function safeHref(href: string): string | null {
  const text = href.trim();
  if (/^(?:https?:\/\/|mailto:)/i.test(text)) return text;
  return /^(?:\/(?!\/)|#)/.test(text) && !text.includes("\\") ? text : null;
}

const LIST = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;

/** Reads Markdown. */
export function parseMarkdown(text: string, depth = 0): Block[] {
  const lines = text.slice(0, MARKDOWN_MAX).replace(/\r\n?/g, "\n").split("\n");
  const blocks: Block[] = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at] ?? "";
    if (line.trim() === "") {
      at += 1;
      continue;
    }
    const fence = /^\s*(```|~~~)/.exec(line)?.[1];
    if (fence) {
      const body: string[] = [];
      at += 1;
      while (at < lines.length && !(lines[at] ?? "").trim().startsWith(fence)) body.push(lines[at++] ?? "");
      at += 1;
      blocks.push({ kind: "code", text: body.join("\n") });
      continue;
    }
    const heading = /^(#{1,6})\s+(.*?)\s*#*$/.exec(line);
    if (heading) {
      blocks.push({ kind: "heading", level: heading[1]?.length ?? 1, children: parseInline(heading[2] ?? "") });
      at += 1;
      continue;
    }
    if (/^\s*(?:(?:-\s*){3,}|(?:\*\s*){3,}|(?:_\s*){3,})$/.test(line)) {
      blocks.push({ kind: "rule" });
      at += 1;
      continue;
    }
    if (/^\s*>/.test(line) && depth < DEPTH_MAX) {
      const body: string[] = [];
      while (at < lines.length && /^\s*>/.test(lines[at] ?? "")) body.push((lines[at++] ?? "").replace(/^\s*> ?/, ""));
      blocks.push({ kind: "quote", children: parseMarkdown(body.join("\n"), depth + 1) });
      continue;
    }
    if (LIST.test(line) && depth < DEPTH_MAX) {
      const [list, next] = readList(lines, at, depth);
      blocks.push(list);
      at = next;
      continue;
    }
    if (line.includes("|") && /^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$/.test(lines[at + 1] ?? "")) {
      const head = cellsOf(line);
      const rows: Inline[][][] = [];
      at += 2;
      while (at < lines.length && (lines[at] ?? "").includes("|")) {
        const cells = cellsOf(lines[at++] ?? "");
        rows.push(head.map((_, index) => cells[index] ?? []));
      }
      blocks.push({ kind: "table", head, rows });
      continue;
    }
    const body = [line.trim()];
    at += 1;
    while (
      at < lines.length &&
      (lines[at] ?? "").trim() !== "" &&
      !/^\s*(?:#{1,6}\s|>|```|~~~)/.test(lines[at] ?? "") &&
      !LIST.test(lines[at] ?? "")
    )
      body.push((lines[at++] ?? "").trim());
    blocks.push({ kind: "paragraph", children: parseInline(body.join(" ")) });
  }
  return blocks;
}

function readList(lines: string[], start: number, depth: number): [Block, number] {
  const first = LIST.exec(lines[start] ?? "");
  const indent = first?.[1]?.length ?? 0;
  const ordered = /\d/.test(first?.[2] ?? "");
  const items: Block[][] = [];
  let at = start;
  while (at < lines.length) {
    const found = LIST.exec(lines[at] ?? "");
    if (!found || (found[1]?.length ?? 0) !== indent || /\d/.test(found[2] ?? "") !== ordered) break;
    const body = [found[3] ?? ""];
    at += 1;
    while (at < lines.length) {
      const line = lines[at] ?? "";
      if (line.trim() === "") break;
      const inner = LIST.exec(line);
      if (inner && (inner[1]?.length ?? 0) <= indent) break;
      if (!inner && line.search(/\S/) <= indent) break;
      body.push(inner ? line.slice(indent + 2) : line.trim());
      at += 1;
    }
    items.push(parseMarkdown(body.join("\n"), depth + 1));
  }
  return [{ kind: "list", ordered, items }, at];
}

function cellsOf(line: string): Inline[][] {
  return line
    .trim()
    .replace(/^\||\|$/g, "")
    .split(/(?<!\\)\|/)
    .map((cell) => parseInline(cell.trim().replaceAll("\\|", "|")));
}

const INLINE =
  /`([^`]+)`|\*\*([^*]+(?:\*[^*]+)*)\*\*|__([^_]+)__|~~([^~]+)~~|\*([^*\s][^*]*)\*|(?<!\w)_([^_\s][^_]*)_(?!\w)|\[([^\]]+)\]\(([^()\s]+)\)|(https?:\/\/[^\s<>"')\]]+)/;

/** Reads what stands inside a line. */
export function parseInline(text: string, depth = 0): Inline[] {
  const found: Inline[] = [];
  let rest = text;
  while (rest) {
    const match = depth < DEPTH_MAX ? INLINE.exec(rest) : null;
    if (!match) {
      found.push({ kind: "text", text: rest });
      break;
    }
    if (match.index > 0) found.push({ kind: "text", text: rest.slice(0, match.index) });
    const [whole, code, strong, strong2, del, em, em2, name, href, bare] = match;
    if (code !== undefined) found.push({ kind: "code", text: code });
    else if (strong !== undefined || strong2 !== undefined)
      found.push({ kind: "strong", children: parseInline(strong ?? strong2 ?? "", depth + 1) });
    else if (del !== undefined) found.push({ kind: "del", children: parseInline(del, depth + 1) });
    else if (em !== undefined || em2 !== undefined)
      found.push({ kind: "em", children: parseInline(em ?? em2 ?? "", depth + 1) });
    else if (name !== undefined && href !== undefined) {
      const safe = safeHref(href);
      found.push(
        safe ? { kind: "link", href: safe, children: parseInline(name, depth + 1) } : { kind: "text", text: whole },
      );
    } else if (bare !== undefined) found.push({ kind: "link", href: bare, children: [{ kind: "text", text: bare }] });
    rest = rest.slice(match.index + whole.length);
  }
  return found;
}
