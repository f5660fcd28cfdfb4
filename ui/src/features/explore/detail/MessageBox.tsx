/** The message of a record, with the parts that vary from one to the next of its kind marked. */
import { useAnswer } from "@/api/query";
import { Button } from "@/ui/Button";
import { fieldOf, idOf, type LogRow, text } from "../rows/record";
import { around, copy } from "./RecordPanel";
import { piecesOf } from "./template";

export function MessageBox({ row, onAsk }: { row: LogRow; onAsk: (query: string) => void }) {
  const message = text(fieldOf(row, "message"));
  const given = fieldOf(row, "template");
  const id = idOf(row);
  const answer = useAnswer(
    given === null && id ? { query: `id:${id} | fields template, template_id`, ...around(row, 1), limit: 1 } : null,
    { keep: false },
  );
  const template = text(given ?? answer.data?.rows[0]?.[0]) || null;
  const pieces = piecesOf(message, template);
  const varies = pieces.some((piece) => piece.isVariable);
  return (
    <div className="border-b border-line bg-bg px-3 py-2">
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard */}
      <p tabIndex={0} className="max-h-40 overflow-auto font-mono text-xs break-words whitespace-pre-wrap">
        {pieces.map((piece, index) =>
          piece.isVariable ? (
            <mark
              // biome-ignore lint/suspicious/noArrayIndexKey: pieces of a text do not move
              key={index}
              title="This part varies between messages of this kind"
              className="rounded-sm bg-accent-soft px-0.5 text-accent"
            >
              {piece.text}
            </mark>
          ) : (
            piece.text
          ),
        )}
      </p>
      <div className="flex items-center gap-2 pt-1.5 text-2xs text-muted">
        {varies ? <span>Marked parts vary.</span> : null}
        <span className="ml-auto flex gap-1">
          <Button size="sm" kind="ghost" onClick={() => void copy(message, "The message is copied")}>
            Copy message
          </Button>
          <Button size="sm" kind="ghost" onClick={() => onAsk(`message="${message.replace(/["\\]/g, "\\$&")}"`)}>
            Find the same
          </Button>
        </span>
      </div>
    </div>
  );
}
