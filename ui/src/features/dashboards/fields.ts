/** Small things that forms of dashboards share. */

/** Words between commas as a list, each once. */
export function wordsOf(text: string): string[] {
  return [
    ...new Set(
      text
        .split(",")
        .map((word) => word.trim())
        .filter(Boolean),
    ),
  ];
}

/** Why something cannot be changed, said where its button is. */
export const NO_RIGHT = "Needs a token with the scope alerts:write";
