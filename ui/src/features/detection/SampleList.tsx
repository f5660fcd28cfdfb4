/** Some of what was found, each as one line that opens to all of it. */
export function SampleList({ items }: { items: Record<string, unknown>[] }) {
  if (items.length === 0) return null;
  return (
    <ul className="flex flex-col divide-y divide-line/60 text-xs" aria-label="Some of what was found">
      {items.map((item, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: a sample does not change
        <li key={index} className="py-1">
          <details>
            <summary className="cursor-pointer truncate font-mono">{headline(item)}</summary>
            <pre className="mt-1 max-h-60 overflow-auto rounded bg-bg p-2 font-mono text-2xs">
              {JSON.stringify(item, null, 2)}
            </pre>
          </details>
        </li>
      ))}
    </ul>
  );
}

/** The words of a record or a finding that say most. */
export function headline(item: Record<string, unknown>): string {
  const words = ["timestamp", "at", "service", "title", "summary", "message"]
    .map((name) => item[name])
    .filter((value) => typeof value === "string");
  return words.length > 0 ? words.join("  ") : JSON.stringify(item);
}
