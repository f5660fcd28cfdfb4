/** What is worth telling aloud. Pure. */
import type { Alert } from "@/live/alerts";

/** A critical alert that nobody was told of here before: open, not kept quiet. */
export function isNews(alert: Alert, known: ReadonlySet<string>): boolean {
  return (
    alert.severity === "CRITICAL" && alert.status === "OPEN" && !alert.muted && alert.count <= 1 && !known.has(alert.id)
  );
}

/** The sentence: at most three are named. */
export function announce(news: readonly { title: string; service: string | null }[]): string {
  const named = news.slice(0, 3).map(({ title, service }) => (service ? `${title} on ${service}` : title));
  const more = news.length > named.length ? `; and ${news.length - named.length} more` : "";
  return news.length === 0
    ? ""
    : `${news.length} new critical ${news.length === 1 ? "alert" : "alerts"}: ${named.join("; ")}${more}`;
}
