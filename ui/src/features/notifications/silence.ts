/** What is written into the form of a silence, and what it becomes. Pure. */
import { localInput, localTime } from "../alerts/duration";
import { matcherFault } from "../alerts/matchers";
import type { Silence, SilenceRequest } from "./api";

export const WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"] as const;

export interface Draft {
  id?: string;
  kind: "silence" | "maintenance";
  matchers: string[];
  starts: string;
  ends: string;
  comment: string;
  recurs: boolean;
  weekdays: string[];
  from: string;
  to: string;
  zone: string;
}

export interface Faults {
  matchers?: string;
  ends?: string;
  comment?: string;
  weekdays?: string;
  times?: string;
}

const HOUR_MS = 3_600_000;

/** A new silence, from now for two hours. */
export function draftNew(now: number, zone: string, matchers: readonly string[] = []): Draft {
  return {
    kind: "silence",
    matchers: matchers.length > 0 ? [...matchers] : [""],
    starts: localInput(now),
    ends: localInput(now + 2 * HOUR_MS),
    comment: "",
    recurs: false,
    weekdays: [],
    from: "02:00",
    to: "04:00",
    zone,
  };
}

/** A silence to be changed; one that is over is made again, from now. */
export function draftOf(silence: Silence, now: number, zone: string): Draft {
  const over = silence.state === "expired";
  return {
    ...(over ? {} : { id: silence.id }),
    kind: silence.kind === "maintenance" ? "maintenance" : "silence",
    matchers: [...silence.matchers],
    starts: localInput(over ? now : Date.parse(silence.starts_at)),
    ends: localInput(over ? now + 2 * HOUR_MS : Date.parse(silence.ends_at)),
    comment: silence.comment,
    recurs: silence.recurrence !== null,
    weekdays: silence.recurrence?.weekdays ?? [],
    from: silence.recurrence?.from ?? "02:00",
    to: silence.recurrence?.to ?? "04:00",
    zone: silence.recurrence?.zone ?? zone,
  };
}

/** The matchers that are written. */
export function written(draft: Draft): string[] {
  return draft.matchers.map((text) => text.trim()).filter(Boolean);
}

/** What is wrong with it, by field. */
export function faultsOf(draft: Draft, now: number): Faults {
  const faults: Faults = {};
  const matchers = written(draft);
  const wrong = matchers.map(matcherFault).find((fault) => fault !== null);
  if (matchers.length === 0) faults.matchers = "say which alerts: one matcher at least";
  else if (wrong) faults.matchers = wrong;
  else if (
    matchers.every((text) => /=~"?\.\*"?$|="?"?$|!=/.test(text)) &&
    !matchers.some((text) => /=[^~"]|="[^"]/.test(text))
  )
    faults.matchers = "would keep every alert quiet: name one thing they share";
  const [starts, ends] = [localTime(draft.starts), localTime(draft.ends)];
  if (!ends || !starts) faults.ends = "is not a time";
  else if (Date.parse(ends) <= Date.parse(starts)) faults.ends = "is not after the start";
  else if (Date.parse(ends) <= now) faults.ends = "is in the past";
  if (!draft.comment.trim()) faults.comment = "say why: others will ask";
  if (draft.recurs) {
    const clock = /^([01]\d|2[0-3]):[0-5]\d$/;
    if (!clock.test(draft.from) || !(clock.test(draft.to) || draft.to === "24:00"))
      faults.times = "are times such as 02:00";
    else if (draft.from === draft.to) faults.times = "are the same";
  }
  return faults;
}

/** The request that makes it. */
export function requestOf(draft: Draft): SilenceRequest {
  return {
    ...(draft.id ? { id: draft.id } : {}),
    kind: draft.kind,
    matchers: written(draft),
    starts_at: localTime(draft.starts),
    ends_at: localTime(draft.ends),
    comment: draft.comment.trim(),
    ...(draft.recurs
      ? {
          recurrence: {
            from: draft.from,
            to: draft.to,
            zone: draft.zone,
            ...(draft.weekdays.length > 0 ? { weekdays: draft.weekdays } : {}),
          },
        }
      : {}),
  };
}

/** When it recurs, in words. */
export function recurrenceWords(recurrence: NonNullable<Silence["recurrence"]>): string {
  const days = recurrence.weekdays ?? [];
  const named = days.length === 0 || days.length === 7 ? "every day" : days.map((day) => day.slice(0, 3)).join(", ");
  return `${named} ${recurrence.from}–${recurrence.to}${recurrence.zone ? ` ${recurrence.zone}` : ""}`;
}
