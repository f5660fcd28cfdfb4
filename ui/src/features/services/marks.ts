/** What happened, to be marked on charts: annotations people made, and incidents. */
import type { Annotation, Incident } from "./api";
import type { Mark } from "./timeOption";

/** Annotations and incidents as marks, oldest first. An incident that people also noted stands once for each. */
export function marksFrom(annotations: readonly Annotation[], incidents: readonly Incident[]): Mark[] {
  return [
    ...annotations.map(
      (note): Mark => ({
        at: Date.parse(note.at),
        until: note.until ? Date.parse(note.until) : null,
        kind: note.kind,
        text: note.service ? `${note.text} (${note.service})` : note.text,
      }),
    ),
    ...incidents.map(
      (incident): Mark => ({
        at: Date.parse(incident.began_at),
        until: incident.resolved_at ? Date.parse(incident.resolved_at) : null,
        kind: "incident",
        text: `#${incident.number} ${incident.title}`,
      }),
    ),
  ].sort((a, b) => a.at - b.at);
}
