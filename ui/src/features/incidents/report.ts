/** Markdown read into blocks: what the post-mortem uses and no more. Text stays text: there is no HTML in it, ever. Pure. */

export type Inline =
  | { kind: "text" | "code" | "strong" | "em"; text: string }
  | { kind: "link"; text: string; href: string };

export type Block =
  | { kind: "heading"; level: number; text: Inline[] }
  | { kind: "paragraph"; text: Inline[] }
  | { kind: "list"; ordered: boolean; items: Inline[][] }
  | { kind: "code"; text: string }
  | { kind: "table"; head: Inline[][]; rows: Inline[][][]; right: boolean[] };

/** Blocks of a text. Cost: one pass. */
export function parseReport(markdown: string): Block[] {
  const lines = markdown.replaceAll("\r\n", "\n").split("\n");
  const blocks: Block[] = [];
  let at = 0;
  const line = (): string => lines[at] ?? "";
  while (at < lines.length) {
    if (line().trim() === "") {
      at += 1;
      continue;
    }
    const heading = /^(#{1,6}) +(.*?) *#*$/.exec(line());
    if (heading) {
      blocks.push({ kind: "heading", level: heading[1]?.length ?? 1, text: parseInline(heading[2] ?? "") });
      at += 1;
    } else if (/^```/.test(line())) {
      const text: string[] = [];
      at += 1;
      while (at < lines.length && !/^```/.test(line())) {
        text.push(line());
        at += 1;
      }
      at += 1;
      blocks.push({ kind: "code", text: text.join("\n") });
    } else if (isRow(line()) && /^\|[\s:|-]+\|?$/.test(lines[at + 1] ?? "")) {
      const head = cells(line()).map(parseInline);
      const right = cells(lines[at + 1] ?? "").map((cell) => /-:$/.test(cell));
      at += 2;
      const rows: Inline[][][] = [];
      while (at < lines.length && isRow(line())) {
        rows.push(cells(line()).map(parseInline));
        at += 1;
      }
      blocks.push({ kind: "table", head, rows, right });
    } else if (ITEM.test(line())) {
      const ordered = /^\s*\d/.test(line());
      const items: Inline[][] = [];
      while (at < lines.length && ITEM.test(line())) {
        items.push(parseInline(line().replace(ITEM, "")));
        at += 1;
      }
      blocks.push({ kind: "list", ordered, items });
    } else {
      const text: string[] = [];
      while (
        at < lines.length &&
        line().trim() !== "" &&
        !/^(#{1,6} |```)/.test(line()) &&
        !isRow(line()) &&
        !ITEM.test(line())
      ) {
        text.push(line());
        at += 1;
      }
      // A line that begins like a block and is none is text.
      if (text.length === 0) {
        text.push(line());
        at += 1;
      }
      blocks.push({ kind: "paragraph", text: parseInline(text.join(" ")) });
    }
  }
  return blocks;
}

const ITEM = /^\s*(?:[-*+]|\d+[.)]) +/;

function isRow(line: string): boolean {
  return line.startsWith("|");
}

/** Cells of a row; an escaped bar is text. */
function cells(row: string): string[] {
  const found = row
    .trim()
    .replace(/^\|/, "")
    .replace(/(?<!\\)\|$/, "")
    .split(/(?<!\\)\|/);
  return found.map((cell) => cell.trim());
}

const SPAN =
  /\\([\\`*_{}[\]()#+\-.!|<>~])|`([^`]+)`|\*\*((?:\\.|[^*\\])+)\*\*|(?<![\w*])\*([^*\s][^*]*)\*(?!\w)|\[([^\]]*)\]\(([^)\s]+)\)/g;

/** Parts of a line. A link goes to http, https or a place in this app; any other stays text. */
export function parseInline(text: string): Inline[] {
  const parts: Inline[] = [];
  const push = (words: string): void => {
    const last = parts.at(-1);
    if (!words) return;
    if (last?.kind === "text") last.text += words;
    else parts.push({ kind: "text", text: words });
  };
  let from = 0;
  for (const found of text.matchAll(SPAN)) {
    push(text.slice(from, found.index));
    from = found.index + found[0].length;
    const [whole, escaped, code, strong, em, label, href] = found;
    if (escaped !== undefined) push(escaped);
    else if (code !== undefined) parts.push({ kind: "code", text: code });
    else if (strong !== undefined) parts.push({ kind: "strong", text: unescaped(strong) });
    else if (em !== undefined) parts.push({ kind: "em", text: unescaped(em) });
    else if (href !== undefined && /^(https?:\/\/|\/(?!\/))/i.test(href))
      parts.push({ kind: "link", text: unescaped(label || href), href });
    else push(whole);
  }
  push(text.slice(from));
  return parts;
}

function unescaped(text: string): string {
  return text.replace(/\\([\\`*_{}[\]()#+\-.!|<>~])/g, "$1");
}
