import { useEffect, useState } from "react";
import { asApiError } from "@/api/problem";
import type { Mistake } from "@/ui/CodeEditor";
import { type Checked, checkRule, type Diagnostic } from "./api";

/** What the server says of a text, half a second after it was last changed; null while that is not known of this very text,
 * and when there is none to be checked. */
export function useCheck(yaml: string | null): Checked | null {
  const [found, setFound] = useState<{ yaml: string; checked: Checked } | null>(null);
  useEffect(() => {
    if (yaml === null) return;
    const abort = new AbortController();
    const timer = setTimeout(() => {
      checkRule(yaml, abort.signal).then(
        (checked) => setFound({ yaml, checked }),
        (error: unknown) => {
          if (abort.signal.aborted) return;
          const message = asApiError(error).detail;
          setFound({ yaml, checked: { ok: false, rules: [], diagnostics: [{ severity: "error", message }] } });
        },
      );
    }, 500);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [yaml]);
  return found?.yaml === yaml ? found.checked : null;
}

/** A diagnostic as the editor marks it. */
export function mistakeOf(one: Diagnostic): Mistake {
  return {
    line: one.line ?? 1,
    column: one.column,
    severity: one.severity === "error" ? "error" : "warning",
    message: one.hint ? `${one.message} (${one.hint})` : one.message,
  };
}

/** Where a diagnostic points: `line 3, column 5: `. */
export function placeOf({ line, column }: Pick<Diagnostic, "line" | "column">): string {
  if (line === null || line === undefined) return "";
  return column === null || column === undefined ? `line ${line}: ` : `line ${line}, column ${column}: `;
}
