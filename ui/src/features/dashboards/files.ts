/** Dashboards as files: written to be read, and read with every mistake named, since people write them by hand. */
import { BREAKPOINTS } from "./layout";
import {
  ANNOTATION_KINDS,
  type DashboardContent,
  type DashboardSpec,
  durationMs,
  PANELS_MAX,
  SPEC_BYTES_MAX,
  VARIABLES_MAX,
  VIZ_KINDS,
} from "./spec";

export interface Mistake {
  /** Where: `spec.panels[2].query`. */
  at: string;
  reason: string;
}

export type Read = { content: DashboardContent; mistakes: [] } | { content: null; mistakes: Mistake[] };

/** Mistakes told at most. */
const MISTAKES_MAX = 20;
const LANGUAGES = ["search", "sql"];
const UNITS = ["none", "ms", "bytes", "percent", "share", "seconds", "per_second"];
const TONES = ["ok", "warning", "critical"];
const TIME = /^now(?:-\d+[smhdw])?$/;

/** A dashboard as the text of a file. */
export function writeFile(content: DashboardContent): string {
  const { title, description, tags, folder, spec } = content;
  return `${JSON.stringify({ title, description, tags, folder, spec }, null, 2)}\n`;
}

/** Name of the file. */
export function fileName(title: string): string {
  const name = title
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, "-")
    .replace(/^-+|-+$/g, "");
  return `${name.slice(0, 80) || "dashboard"}.json`;
}

/** Reads a file: a dashboard as it is exported, or a spec alone. */
export function readFile(text: string): Read {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { content: null, mistakes: [{ at: "", reason: notJson(text, error) }] };
  }
  const mistakes: Mistake[] = [];
  const say = (at: string, reason: string): void => {
    if (mistakes.length < MISTAKES_MAX) mistakes.push({ at, reason });
  };
  if (!isObject(value)) return { content: null, mistakes: [{ at: "", reason: "must be an object `{…}`" }] };
  if (Array.isArray(value.panels) && value.spec === undefined) {
    const foreign = "schemaVersion" in value || "templating" in value;
    if (foreign)
      return {
        content: null,
        mistakes: [
          { at: "", reason: "is a dashboard of Grafana: its queries are in another language and cannot be read" },
        ],
      };
    value = { title: typeof value.title === "string" ? value.title : "Imported dashboard", spec: value };
  }
  const file = value as Record<string, unknown>;
  if (typeof file.title !== "string" || file.title.trim() === "") say("title", "must be a text");
  else if (file.title.length > 200) say("title", "has more than 200 characters");
  for (const name of ["description", "folder"] as const)
    if (file[name] !== undefined && typeof file[name] !== "string") say(name, "must be a text");
  if (file.tags !== undefined && !isTexts(file.tags)) say("tags", "must be a list of texts");
  const spec = checkSpec(file.spec, say);
  if (mistakes.length > 0 || !spec) return { content: null, mistakes };
  return {
    mistakes: [],
    content: {
      title: String(file.title).trim(),
      description: typeof file.description === "string" ? file.description : "",
      folder: typeof file.folder === "string" ? file.folder : "",
      tags: isTexts(file.tags) ? file.tags : [],
      spec,
    },
  };
}

/** What is wrong with a text that is no JSON, with the line where the browser tells the place. */
function notJson(text: string, error: unknown): string {
  const message = error instanceof Error ? error.message : "";
  const position = Number(/position (\d+)/.exec(message)?.[1] ?? Number.NaN);
  if (text.trim() === "") return "is empty";
  if (Number.isNaN(position)) return `is no JSON: ${message}`;
  const before = text.slice(0, position).split("\n");
  return `is no JSON: line ${before.length}, column ${(before.at(-1)?.length ?? 0) + 1} is not what must stand there`;
}

type Say = (at: string, reason: string) => void;

function checkSpec(value: unknown, say: Say): DashboardSpec | null {
  if (!isObject(value)) {
    say("spec", "is missing: an object with `panels`");
    return null;
  }
  if (JSON.stringify(value).length > SPEC_BYTES_MAX) say("spec", "is larger than 256 KiB");
  const ids = checkPanels(value.panels, say);
  checkVariables(value.variables, say);
  checkLayouts(value.layouts, ids, say);
  const time = value.time;
  if (time !== undefined) {
    if (!isObject(time)) say("spec.time", "must be an object with `from` and `to`");
    else
      for (const end of ["from", "to"] as const)
        if (!isTime(time[end])) say(`spec.time.${end}`, "is no time, such as `now-6h` or `2026-02-09T20:00:00Z`");
  }
  const refresh = value.refresh;
  if (refresh !== undefined && refresh !== null && (durationMs(String(refresh)) ?? 0) < 1000)
    say("spec.refresh", "must be null or a duration from `1s` on");
  const annotations = value.annotations;
  if (annotations !== undefined) {
    const kinds = isObject(annotations) ? annotations.kinds : undefined;
    if (!isTexts(kinds) || kinds.some((kind) => !(ANNOTATION_KINDS as string[]).includes(kind)))
      say("spec.annotations.kinds", `must be a list of ${oneOf(ANNOTATION_KINDS)}`);
  }
  const known = value as unknown as DashboardSpec;
  return {
    ...known,
    variables: known.variables ?? [],
    layouts: known.layouts?.lg ? known.layouts : { ...known.layouts, lg: [] },
    time: known.time ?? { from: "now-3h", to: "now" },
    refresh: known.refresh ?? null,
    panels: Array.isArray(known.panels)
      ? known.panels.map((panel) => ({ ...panel, query: panel?.query ?? "", language: panel?.language ?? "search" }))
      : [],
  };
}

function checkPanels(value: unknown, say: Say): Set<string> {
  const ids = new Set<string>();
  if (!Array.isArray(value)) {
    say("spec.panels", "is missing: a list");
    return ids;
  }
  if (value.length > PANELS_MAX) say("spec.panels", `has ${value.length} panels, at most ${PANELS_MAX} are kept`);
  for (const [index, panel] of value.entries()) {
    const at = `spec.panels[${index}]`;
    if (!isObject(panel)) {
      say(at, "must be an object");
      continue;
    }
    if (typeof panel.id !== "string" || panel.id === "" || panel.id.length > 64)
      say(`${at}.id`, "must be a text of 1 to 64 characters");
    else if (ids.has(panel.id)) say(`${at}.id`, `\`${panel.id}\` is the id of another panel`);
    else ids.add(panel.id);
    if (typeof panel.title !== "string") say(`${at}.title`, "must be a text");
    const kinds = VIZ_KINDS.map((kind) => kind.value as string);
    if (!kinds.includes(String(panel.viz))) say(`${at}.viz`, `\`${String(panel.viz)}\` is none of ${oneOf(kinds)}`);
    const text = panel.viz === "text";
    if (text ? panel.text !== undefined && typeof panel.text !== "string" : false) say(`${at}.text`, "must be a text");
    if (typeof panel.query !== "string" && !(text && panel.query === undefined)) say(`${at}.query`, "must be a text");
    if (panel.language !== undefined && !LANGUAGES.includes(String(panel.language)))
      say(`${at}.language`, `must be ${oneOf(LANGUAGES)}`);
    if (panel.unit !== undefined && !UNITS.includes(String(panel.unit)))
      say(`${at}.unit`, `\`${String(panel.unit)}\` is none of ${oneOf(UNITS)}`);
    for (const name of ["values", "series"] as const)
      if (panel[name] !== undefined && !isTexts(panel[name]))
        say(`${at}.${name}`, "must be a list of names of columns");
    if (panel.thresholds !== undefined) {
      const steps = panel.thresholds;
      const fine =
        Array.isArray(steps) &&
        steps.every((step) => isObject(step) && typeof step.value === "number" && TONES.includes(String(step.tone)));
      if (!fine) say(`${at}.thresholds`, `must be a list of \`{"value": number, "tone": …}\` with ${oneOf(TONES)}`);
    }
  }
  return ids;
}

function checkVariables(value: unknown, say: Say): void {
  if (value === undefined || value === null) return;
  if (!Array.isArray(value)) {
    say("spec.variables", "must be a list");
    return;
  }
  if (value.length > VARIABLES_MAX)
    say("spec.variables", `has ${value.length} variables, at most ${VARIABLES_MAX} are kept`);
  const names = new Set<string>();
  for (const [index, variable] of value.entries()) {
    const at = `spec.variables[${index}]`;
    if (!isObject(variable)) {
      say(at, "must be an object");
      continue;
    }
    const reason = nameMistake(String(variable.name ?? ""), names);
    if (reason) say(`${at}.name`, reason);
    names.add(String(variable.name));
    const asked = typeof variable.query === "string" && variable.query !== "";
    if (variable.values !== undefined && !isTexts(variable.values)) say(`${at}.values`, "must be a list of texts");
    else if (!asked && !isTexts(variable.values)) say(at, "needs a `query` or `values`");
  }
}

/** What is wrong with the name of a variable; null when nothing is. */
export function nameMistake(name: string, others: Iterable<string>): string | null {
  if (!/^[A-Za-z]\w{0,63}$/.test(name)) return "must begin with a letter and have letters, digits and `_` only";
  if (name.startsWith("__")) return "must not begin with `__`";
  return [...others].includes(name) ? `\`${name}\` is the name of another variable` : null;
}

function checkLayouts(value: unknown, ids: Set<string>, say: Say): void {
  if (value === undefined || value === null) return;
  if (!isObject(value)) {
    say("spec.layouts", "must be an object");
    return;
  }
  for (const [name, places] of Object.entries(value)) {
    const at = `spec.layouts.${name}`;
    if (!(name in BREAKPOINTS)) say(at, "is none of `lg`, `md` and `sm`");
    if (!Array.isArray(places)) {
      say(at, "must be a list");
      continue;
    }
    const columns = name === "sm" ? 12 : 24;
    for (const [index, place] of places.entries()) {
      const spot = `${at}[${index}]`;
      if (!isObject(place)) say(spot, "must be an object");
      else if (!ids.has(String(place.i))) say(`${spot}.i`, `\`${String(place.i)}\` is no panel`);
      else {
        const [x, y, w, h] = [place.x, place.y, place.w, place.h].map((number) =>
          Number.isInteger(number) && Number(number) >= 0 ? Number(number) : -1,
        ) as [number, number, number, number];
        if (x < 0 || y < 0 || w < 1 || h < 1) say(spot, "needs whole numbers `x`, `y`, `w` and `h`");
        else if (x + w > columns) say(spot, `ends beyond column ${columns}`);
      }
    }
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

function isTime(value: unknown): boolean {
  return typeof value === "string" && (TIME.test(value) || !Number.isNaN(Date.parse(value)));
}

function oneOf(names: string[]): string {
  return names.map((name) => `\`${name}\``).join(", ");
}

/** Offers a text as a file to keep. */
export function saveFile(name: string, content: Blob | string, type = "application/json"): void {
  const blob = typeof content === "string" ? new Blob([content], { type }) : content;
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
