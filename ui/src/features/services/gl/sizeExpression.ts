/** Sizes of the 3D library's effects, written as `width * 1.0 / 2` or `[width / 4, height / 4]`. The library compiles them with
 * `new Function`, which the page's policy forbids: they are read here instead (see `noEval` in `vite.config.ts`). */

export type Size = (width: number, height: number, dpr: number) => number | number[];

const TOKEN = /\s*(?:(\d+(?:\.\d+)?)|(width|height|dpr)|([*/]))\s*/y;

export function sizeExpression(text: string): Size {
  const list = /^\s*\[(.*)\]\s*$/.exec(text);
  if (list?.[1] !== undefined) {
    const parts = list[1].split(",").map(product);
    return (width, height, dpr) => parts.map((part) => part({ width, height, dpr }));
  }
  const one = product(text);
  return (width, height, dpr) => one({ width, height, dpr });
}

interface Known {
  width: number;
  height: number;
  dpr: number;
}

/** Factors with `*` and `/` between them: nothing else occurs. */
function product(text: string): (known: Known) => number {
  const tokens: string[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.length) {
    const found = TOKEN.exec(text);
    if (!found) throw new Error(`not a size: ${text}`);
    tokens.push(found[1] ?? found[2] ?? found[3] ?? "");
  }
  const isOperator = (token: string): boolean => token === "*" || token === "/";
  if (tokens.length % 2 === 0 || tokens.some((token, index) => isOperator(token) !== (index % 2 === 1)))
    throw new Error(`not a size: ${text}`);
  return (known) => {
    const value = (token: string): number => (token in known ? known[token as keyof Known] : Number(token));
    let result = value(tokens[0] ?? "0");
    for (let index = 1; index < tokens.length; index += 2) {
      const factor = value(tokens[index + 1] ?? "1");
      result = tokens[index] === "*" ? result * factor : result / factor;
    }
    return result;
  };
}
