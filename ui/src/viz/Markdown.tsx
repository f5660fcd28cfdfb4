/** Markdown as elements of the page; links of the app open in it, others in a tab of their own. */
import { Link } from "@tanstack/react-router";
import { Fragment, type ReactNode, useMemo } from "react";
import { cx } from "@/lib/cx";
import { type Block, type Inline, parseMarkdown } from "./markdown";

/** Headings begin below those of the page and its panels. */
const HEADINGS = ["h3", "h4", "h5", "h6", "h6", "h6"] as const;
const SIZES = ["text-lg", "text-base", "text-sm", "text-sm", "text-sm", "text-sm"];

export function Markdown({ text, className }: { text: string; className?: string }) {
  const blocks = useMemo(() => parseMarkdown(text), [text]);
  return <div className={cx("flex flex-col gap-2 text-sm break-words", className)}>{blocks.map(block)}</div>;
}

function block(of: Block, key: number): ReactNode {
  switch (of.kind) {
    case "heading": {
      const Tag = HEADINGS[of.level - 1] ?? "h6";
      return (
        <Tag key={key} className={cx("font-semibold", SIZES[of.level - 1])}>
          {inline(of.children)}
        </Tag>
      );
    }
    case "paragraph":
      return <p key={key}>{inline(of.children)}</p>;
    case "list": {
      const Tag = of.ordered ? "ol" : "ul";
      return (
        <Tag key={key} className={cx("flex flex-col gap-0.5 pl-5", of.ordered ? "list-decimal" : "list-disc")}>
          {of.items.map((item, index) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: a text has no other names
            <li key={index}>{item.map((inner, at) => itemPart(inner, at))}</li>
          ))}
        </Tag>
      );
    }
    case "quote":
      return (
        <blockquote key={key} className="flex flex-col gap-2 border-l-2 border-line-strong pl-3 text-muted">
          {of.children.map(block)}
        </blockquote>
      );
    case "code":
      return (
        <pre key={key} className="overflow-auto rounded-md bg-bg p-2 font-mono text-xs">
          <code>{of.text}</code>
        </pre>
      );
    case "rule":
      return <hr key={key} className="border-line" />;
    case "table":
      return (
        <div key={key} className="overflow-auto">
          <table className="w-full border-collapse text-left">
            <thead>
              <tr>
                {of.head.map((cell, index) => (
                  // biome-ignore lint/suspicious/noArrayIndexKey: a text has no other names
                  <th key={index} className="border-b border-line px-2 py-1 text-xs font-medium text-muted">
                    {inline(cell)}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {of.rows.map((row, index) => (
                // biome-ignore lint/suspicious/noArrayIndexKey: a text has no other names
                <tr key={index}>
                  {row.map((cell, at) => (
                    // biome-ignore lint/suspicious/noArrayIndexKey: a text has no other names
                    <td key={at} className="border-b border-line px-2 py-1">
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
}

/** The words of a list's item stand beside its mark, without a paragraph of their own. */
function itemPart(of: Block, key: number): ReactNode {
  return of.kind === "paragraph" ? <Fragment key={key}>{inline(of.children)}</Fragment> : block(of, key);
}

function inline(parts: Inline[]): ReactNode {
  return parts.map((part, key) => piece(part, `${key}`));
}

function piece(part: Inline, at: string): ReactNode {
  switch (part.kind) {
    case "text":
      return <Fragment key={at}>{part.text}</Fragment>;
    case "code":
      return (
        <code key={at} className="rounded bg-bg px-1 font-mono text-xs">
          {part.text}
        </code>
      );
    case "strong":
      return <strong key={at}>{inline(part.children)}</strong>;
    case "em":
      return <em key={at}>{inline(part.children)}</em>;
    case "del":
      return <del key={at}>{inline(part.children)}</del>;
    case "link":
      return part.href.startsWith("/") ? (
        <Link key={at} to={part.href} className="text-accent underline">
          {inline(part.children)}
        </Link>
      ) : (
        <a
          key={at}
          href={part.href}
          target={part.href.startsWith("#") ? undefined : "_blank"}
          rel="noreferrer"
          className="text-accent underline"
        >
          {inline(part.children)}
        </a>
      );
  }
}
