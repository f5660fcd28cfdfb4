import { Link } from "@tanstack/react-router";
import { type ReactNode, useMemo } from "react";
import { type Block, type Inline, parseReport } from "./report";

/** Markdown as elements: built from what was read, never from HTML. Headings begin below those of the page. */
export function Report({ markdown, under = 2 }: { markdown: string; under?: number }) {
  const blocks = useMemo(() => parseReport(markdown), [markdown]);
  return (
    <div className="flex max-w-4xl flex-col gap-2.5 text-sm break-words">
      {blocks.map((block, at) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: blocks of a text have no other name
        <BlockView key={at} block={block} under={under} />
      ))}
    </div>
  );
}

function BlockView({ block, under }: { block: Block; under: number }) {
  switch (block.kind) {
    case "heading": {
      const level = Math.min(6, block.level + under);
      const Tag = `h${level}` as "h3" | "h4" | "h5" | "h6";
      return (
        <Tag className={block.level === 1 ? "text-lg font-semibold" : "mt-2 font-semibold"}>{inline(block.text)}</Tag>
      );
    }
    case "paragraph":
      return <p>{inline(block.text)}</p>;
    case "code":
      return (
        <pre className="overflow-x-auto rounded-md border border-line bg-bg p-2 font-mono text-xs">{block.text}</pre>
      );
    case "list": {
      const Tag = block.ordered ? "ol" : "ul";
      return (
        <Tag className={block.ordered ? "list-decimal pl-5" : "list-disc pl-5"}>
          {block.items.map((item, at) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: as above
            <li key={at}>{inline(item)}</li>
          ))}
        </Tag>
      );
    }
    case "table":
      return <TableView block={block} />;
  }
}

function TableView({ block }: { block: Extract<Block, { kind: "table" }> }) {
  const hasHead = block.head.some((cell) => cell.length > 0);
  const side = (at: number): string => `px-2 py-1 align-top ${block.right[at] ? "tnum text-right" : "text-left"}`;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by the keyboard
    // biome-ignore lint/a11y/useSemanticElements: a report has many tables, and none is a landmark
    <div className="overflow-x-auto" tabIndex={0} role="group" aria-label="Table">
      <table className="border-collapse text-sm">
        {hasHead ? (
          <thead>
            <tr>
              {block.head.map((cell, at) =>
                cell.length > 0 ? (
                  // biome-ignore lint/suspicious/noArrayIndexKey: as above
                  <th key={at} className={`${side(at)} text-xs font-medium text-muted`}>
                    {inline(cell)}
                  </th>
                ) : (
                  // biome-ignore lint/suspicious/noArrayIndexKey: as above
                  <td key={at} />
                ),
              )}
            </tr>
          </thead>
        ) : null}
        <tbody>
          {block.rows.map((row, at) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: as above
            <tr key={at} className="border-t border-line">
              {row.map((cell, column) => (
                // biome-ignore lint/suspicious/noArrayIndexKey: as above
                <td key={column} className={`${side(column)} ${isShort(cell) ? "whitespace-nowrap" : ""}`}>
                  {inline(cell)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** A time or a word is not broken into two lines. */
function isShort(parts: Inline[]): boolean {
  return parts.reduce((length, part) => length + part.text.length, 0) <= 24;
}

function inline(parts: Inline[]): ReactNode[] {
  return parts.map((part, at) => {
    const key = `${at}${part.kind}`;
    switch (part.kind) {
      case "code":
        return (
          <code key={key} className="rounded bg-hover px-1 font-mono text-xs">
            {part.text}
          </code>
        );
      case "strong":
        return <strong key={key}>{part.text}</strong>;
      case "em":
        return <em key={key}>{part.text}</em>;
      case "link":
        return part.href.startsWith("/") ? (
          <Link key={key} to={part.href} className="text-accent hover:underline">
            {part.text}
          </Link>
        ) : (
          <a
            key={key}
            href={part.href}
            target="_blank"
            rel="noreferrer noopener"
            className="text-accent hover:underline"
          >
            {part.text}
          </a>
        );
      default:
        return <span key={key}>{part.text}</span>;
    }
  });
}
