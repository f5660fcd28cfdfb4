/** Parts of search lines about services. */

/** A value in quotes, as the search line reads it. */
export function quoted(value: string): string {
  return `"${value.replace(/[\\"]/g, "\\$&")}"`;
}

/** Records of exactly this service. */
export function serviceIs(service: string): string {
  return `service=${quoted(service)}`;
}

/** Where a search line is looked at: path and search of Explore. */
export function exploreSearch(line: string, range: { from: string; to: string }): Record<string, string> {
  return { q: line, lang: "search", from: range.from, to: range.to };
}
