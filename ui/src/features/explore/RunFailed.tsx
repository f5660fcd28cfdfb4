/** A question that could not be answered: what is wrong with it, and what could be asked instead. */
import { Lightbulb, SpellCheck } from "lucide-react";
import type { ApiError } from "@/api/problem";
import { Button } from "@/ui/Button";
import { Empty, Failed } from "@/ui/States";
import { mistakeOf } from "./QueryBar";

/** The texts in what a problem says besides. */
function textsOf(value: unknown): string[] {
  if (typeof value === "string") return [value];
  if (!Array.isArray(value)) return [];
  // A part that was understood: its words, and what they mean in the line.
  return value.flatMap((one: unknown) =>
    typeof one === "string"
      ? [one]
      : typeof one === "object" && one !== null && "words" in one && "means" in one
        ? [`“${one.words}” as ${one.means}`]
        : [],
  );
}

interface Props {
  error: ApiError | null;
  onRetry: () => void;
  /** Asks something else in the same language. */
  onAsk: (query: string) => void;
}

export function RunFailed({ error, onRetry, onAsk }: Props) {
  if (error?.code === "not_understood") {
    const understood = textsOf(error.extra.understood);
    const suggestions = textsOf(error.extra.suggestions);
    return (
      <Empty icon={Lightbulb} title="The question was not understood" className="flex-1">
        <p>{error.detail}</p>
        {understood.length > 0 ? <p className="pt-2">Understood so far: {understood.join(", ")}</p> : null}
        {suggestions.length > 0 ? (
          <div className="pt-3">
            <p>This can be asked:</p>
            <ul className="flex flex-col items-center gap-1.5 pt-1.5">
              {suggestions.map((text) => (
                <li key={text}>
                  <Button size="sm" onClick={() => onAsk(text)}>
                    {text}
                  </Button>
                </li>
              ))}
            </ul>
          </div>
        ) : null}
      </Empty>
    );
  }
  if (error && mistakeOf(error)) {
    return (
      <Empty icon={SpellCheck} title="There is a mistake in the question" className="flex-1">
        It is underlined above, with what was probably meant. Nothing was run.
      </Empty>
    );
  }
  return <Failed error={error} onRetry={onRetry} className="flex-1" />;
}
