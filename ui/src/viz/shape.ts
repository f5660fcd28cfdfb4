/** Answers into what is drawn: which column is which, series over an axis, categories, heat, single numbers. No DOM, no colours.
 *
 * Columns have roles. Those the spec does not name are found by type: the first time is x, numbers are values, the rest tell
 * series apart. So an answer may be wide (`time, p50, p95`) or long (`time, service, count`), or both.
 */
import type { Answer, Cell, Column } from "@/api/query";
import { isNumberType, toMs, toName, toNumber } from "./cells";
import type { Threshold, VizSpec } from "./Visualisation";

/** Series drawn at most; those beyond are added up into one where adding makes sense, and counted where not. */
export const SERIES_MAX = 20;
/** Slices of a pie. */
export const SLICES_MAX = 12;
/** Points of the grid that gaps are filled in on; an axis that would need more is drawn as it came. */
export const GRID_POINTS_MAX = 5000;
/** Rows and columns of a heatmap. */
export const HEAT_ROWS_MAX = 60;

/** Columns by role, as places in the answer. */
export interface Roles {
  x: number | null;
  axis: "time" | "category" | "number" | null;
  values: number[];
  series: number[];
}

type Table = Pick<Answer, "columns" | "rows">;

/** Columns that hold numbers but measure nothing. */
const NOT_MEASURES = new Set(["template_id", "version", "schema_version", "trace_flags", "seq"]);

/** Whether the answer lists records rather than what was computed of them. */
export function isRecords(answer: Pick<Answer, "columns">): boolean {
  const names = new Set(answer.columns.map((column) => column.name));
  return (
    (names.has("id") && (names.has("message") || names.has("value"))) ||
    (names.has("timestamp") && names.has("message"))
  );
}

/** What a column of no certain type holds, by its first cells. */
function holds(answer: Table, index: number): "number" | "time" | "text" | "object" {
  const column = answer.columns[index] as Column;
  if (isNumberType(column.type)) return "number";
  if (column.type === "time") return "time";
  if (column.type === "json") return "object";
  if (column.type === "level" || column.type === "bool") return "text";
  let seen = 0;
  for (const row of answer.rows) {
    const cell = row[index];
    if (cell === null || cell === undefined) continue;
    if (typeof cell === "object") return "object";
    // Text that looks like a number is text: ids and status codes tell series apart.
    if (typeof cell !== "number") return "text";
    seen += 1;
    if (seen === 50) break;
  }
  return seen > 0 ? "number" : "text";
}

/** Finds the roles of the columns. */
export function rolesOf(answer: Table, spec: Pick<VizSpec, "x" | "values" | "series">): Roles {
  const place = (name: string): number => answer.columns.findIndex((column) => column.name === name);
  const kinds = answer.columns.map((_, index) => holds(answer, index));
  const all = answer.columns.map((_, index) => index);
  const named = (names: string[] | undefined): number[] => (names ?? []).map(place).filter((index) => index >= 0);

  const givenValues = named(spec.values);
  const givenSeries = named(spec.series);
  const taken = new Set([...givenValues, ...givenSeries]);
  const free = all.filter((index) => !taken.has(index));

  let x: number | null = spec.x !== undefined && place(spec.x) >= 0 ? place(spec.x) : null;
  if (x === null) x = free.find((index) => kinds[index] === "time") ?? null;
  let values = givenValues;
  if (values.length === 0) {
    const numbers = free.filter((index) => index !== x && kinds[index] === "number");
    const measures = numbers.filter((index) => !NOT_MEASURES.has(answer.columns[index]?.name ?? ""));
    values = measures.length > 0 ? measures : numbers;
  }
  let rest =
    givenSeries.length > 0
      ? givenSeries
      : free.filter((index) => index !== x && !values.includes(index) && kinds[index] === "text");
  if (x === null) {
    // No time: the first text is the category, and where all are numbers, the first of several is the axis.
    const first = rest.find((index) => !givenSeries.includes(index));
    if (first !== undefined) {
      x = first;
      rest = rest.filter((index) => index !== first);
    } else if (values.length > 1 && givenValues.length === 0) {
      x = values[0] ?? null;
      values = values.slice(1);
    } else if (givenSeries.length > 0 && values.length > 0) {
      x = givenSeries[0] ?? null;
      rest = givenSeries.slice(1);
    }
  }
  const kind = x === null ? null : kinds[x];
  return {
    x,
    axis: x === null ? null : kind === "time" ? "time" : kind === "number" ? "number" : "category",
    values,
    series: rest.filter((index) => index !== x),
  };
}

/** Whether values of a column may be added up: counts and rates may, means and percentiles may not. */
export function isAdditive(column: Column | undefined): boolean {
  if (!column) return false;
  const name = column.name.toLowerCase();
  if (/^(?:p\d|avg|mean|median|max|min|stddev|percentile|first|last|dc\b|count_distinct)/.test(name)) return false;
  if (/(?:_ms|_seconds|_ratio|_percent|share|percentile|latency)$/.test(name)) return false;
  return column.type === "int" || /^(?:count|sum|rate|per_second)/.test(name) || /(?:rate\(\))$/.test(name);
}

/** Whether a span without rows means zero: nothing to count is 0, nothing to average is a gap. */
export function zeroMeansNothing(column: Column | undefined): boolean {
  return column !== undefined && isAdditive(column) && !/^sum/.test(column.name.toLowerCase());
}

export interface Series {
  name: string;
  /** Values of the series columns, by column name: to filter by. */
  by: [string, string][];
  column: Column;
  /** `[x, y]`: x is ms, a number or the place of a category; y null is a gap. */
  points: [number, number | null][];
  /** Sum of the sizes: what series are ranked by. */
  weight: number;
  /** Number of series added up in this one. */
  others?: number;
}

export interface Plot {
  axis: "time" | "category" | "number";
  xColumn: Column | null;
  categories: string[];
  series: Series[];
  /** Width of a bucket, when the axis is regular. */
  step: number | null;
  /** Series that were left out because they cannot be added up. */
  dropped: number;
}

/** Why an answer cannot be drawn the way that was asked. */
export interface Unfit {
  unfit: string;
}

const LEVELS = ["fatal", "error", "warn", "info", "debug", "trace"];
const SEVERITIES = ["CRITICAL", "WARNING", "NORMAL", "OPEN", "ACKNOWLEDGED", "SUPPRESSED", "RESOLVED"];

/** Series by seriousness when they are levels or severities (the worst first), else as they are. */
export function bySeriousness<T extends { name: string }>(series: T[]): T[] {
  for (const order of [LEVELS, SEVERITIES]) {
    if (series.length > 0 && series.every((one) => order.includes(one.name)))
      return [...series].sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
  }
  return series;
}

const unfitRecords =
  "This answer lists records, which have nothing to draw. Count them: add `| timechart count()` or `| stats count() by service`.";

/** What is known besides the answer: the range that was asked about, and the width of its buckets (both ms). Few rows do not
 * tell the width: two errors four hours apart may be minutes with nothing between them. */
export interface Over {
  range?: { from: number; to: number };
  step?: number;
}

/** Series over one axis: for lines, areas and bars. */
export function plotOf(answer: Table, spec: VizSpec, over: Over = {}): Plot | Unfit {
  if (isRecords(answer) && !spec.values?.length) return { unfit: unfitRecords };
  const roles = rolesOf(answer, spec);
  if (roles.values.length === 0)
    return { unfit: "No column holds numbers. Add a function, such as `| stats count()`." };
  const axis = roles.axis ?? "category";
  const xColumn = roles.x === null ? null : (answer.columns[roles.x] ?? null);
  const categories: string[] = [];
  const places = new Map<string, number>();
  const found = new Map<string, Series & { at: Map<number, number | null> }>();

  for (const row of answer.rows) {
    let x: number | null;
    if (roles.x === null) x = place(places, categories, "");
    else if (axis === "time") x = toMs(row[roles.x]);
    else if (axis === "number") x = toNumber(row[roles.x]);
    else x = place(places, categories, toName(row[roles.x]));
    if (x === null) continue;
    const parts = roles.series.map((index) => toName(row[index]));
    for (const index of roles.values) {
      const column = answer.columns[index] as Column;
      const key = JSON.stringify([...parts, index]);
      let one = found.get(key);
      if (!one) {
        const name =
          parts.length === 0
            ? column.name
            : roles.values.length === 1
              ? parts.join(" · ")
              : `${parts.join(" · ")} · ${column.name}`;
        one = {
          name,
          by: roles.series.map((at, nth) => [answer.columns[at]?.name ?? "", parts[nth] ?? ""]),
          column,
          points: [],
          weight: 0,
          at: new Map(),
        };
        found.set(key, one);
      }
      const y = toNumber(row[index]);
      const before = one.at.get(x);
      // Two rows of one place (columns the spec leaves out): added up where that makes sense, else the last one counts.
      one.at.set(
        x,
        before !== null && before !== undefined && y !== null && isAdditive(column)
          ? before + y
          : (y ?? before ?? null),
      );
    }
  }
  const series = [...found.values()];
  for (const one of series) for (const y of one.at.values()) one.weight += Math.abs(y ?? 0);

  const { kept, dropped } = fold(series);
  const step =
    axis === "category"
      ? null
      : stepOf(
          kept.flatMap((one) => [...one.at.keys()]),
          axis === "time" ? over.step : undefined,
        );
  const xs = axis === "category" ? categories.map((_, index) => index) : gridOf(kept, step, spec, over.range);
  const stacked = spec.stacked === true;
  return {
    axis,
    xColumn,
    categories,
    step,
    dropped,
    series: bySeriousness(
      kept.map(({ at, ...one }) => {
        const zero = spec.missing ? spec.missing === "zero" : stacked || zeroMeansNothing(one.column);
        const absent = zero ? 0 : null;
        const own = step === null && axis !== "category";
        const at_ = own ? [...at.keys()].sort((a, b) => a - b) : xs;
        return {
          ...one,
          points: at_.map((x): [number, number | null] => [x, at.has(x) ? (at.get(x) ?? null) : absent]),
        };
      }),
    ),
  };
}

function place(places: Map<string, number>, names: string[], name: string): number {
  const known = places.get(name);
  if (known !== undefined) return known;
  places.set(name, names.length);
  names.push(name);
  return names.length - 1;
}

type Collected = Series & { at: Map<number, number | null> };

/** The heaviest series; the others as one, or counted when they cannot be added up. */
function fold(series: Collected[]): { kept: Collected[]; dropped: number } {
  if (series.length <= SERIES_MAX) return { kept: series, dropped: 0 };
  const ranked = [...series].sort((a, b) => b.weight - a.weight);
  const kept = ranked.slice(0, SERIES_MAX);
  const rest = ranked.slice(SERIES_MAX);
  if (!rest.every((one) => isAdditive(one.column))) return { kept, dropped: rest.length };
  const at = new Map<number, number | null>();
  let weight = 0;
  for (const one of rest) {
    weight += one.weight;
    for (const [x, y] of one.at) if (y !== null) at.set(x, (at.get(x) ?? 0) + y);
  }
  const first = rest[0] as Collected;
  return {
    kept: [
      ...kept,
      { name: `others (${rest.length})`, by: [], column: first.column, points: [], weight, at, others: rest.length },
    ],
    dropped: 0,
  };
}

/** Width of the buckets of a regular axis; null when the places do not stand on one grid. `known` is what the asker says. */
export function stepOf(places: number[], known?: number): number | null {
  const sorted = [...new Set(places)].sort((a, b) => a - b);
  let step = sorted.length > 0 && known ? known : Number.POSITIVE_INFINITY;
  for (let index = 1; index < sorted.length; index += 1)
    step = Math.min(step, (sorted[index] as number) - (sorted[index - 1] as number));
  if (!Number.isFinite(step) || step <= 0) return null;
  const first = sorted[0] as number;
  const last = sorted.at(-1) as number;
  if ((last - first) / step > GRID_POINTS_MAX) return null;
  const regular = sorted.every((at) => {
    const steps = (at - first) / step;
    return Math.abs(steps - Math.round(steps)) < 1e-6;
  });
  return regular ? step : null;
}

/** Every place of a regular axis, those without a row too; over the whole range where nothing means zero. */
function gridOf(
  series: Collected[],
  step: number | null,
  spec: VizSpec,
  range?: { from: number; to: number },
): number[] {
  const seen = [...new Set(series.flatMap((one) => [...one.at.keys()]))].sort((a, b) => a - b);
  if (step === null || seen.length === 0) return seen;
  let first = seen[0] as number;
  let last = seen.at(-1) as number;
  const zero = spec.missing ? spec.missing === "zero" : series.every((one) => zeroMeansNothing(one.column));
  if (range && zero && (range.to - range.from) / step <= GRID_POINTS_MAX) {
    first -= Math.max(0, Math.floor((first - range.from) / step)) * step;
    // The last span is not over yet: it counts only when it holds something.
    last += Math.max(0, Math.floor((range.to - last) / step) - 1) * step;
  }
  const known = new Map(seen.map((at) => [Math.round((at - first) / step), at]));
  const count = Math.round((last - first) / step) + 1;
  return Array.from({ length: count }, (_, index) => known.get(index) ?? first + index * step);
}

/** Whether a point stands alone, with gaps on both sides: a line would not show it. */
export function isAlone(points: Series["points"], index: number): boolean {
  return (
    points[index]?.[1] !== null &&
    (points[index - 1]?.[1] ?? null) === null &&
    (points[index + 1]?.[1] ?? null) === null
  );
}

export interface Slice {
  name: string;
  value: number;
  /** Exact text of integers that a number cannot hold. */
  cell: Cell | undefined;
  by: [string, string] | null;
  others?: number;
}

export interface Slices {
  column: Column | null;
  value: Column;
  slices: Slice[];
  total: number;
}

/** Named values, the largest first: for pies and top lists. */
export function slicesOf(answer: Table, spec: VizSpec, max = SLICES_MAX): Slices | Unfit {
  if (isRecords(answer) && !spec.values?.length) return { unfit: unfitRecords };
  const roles = rolesOf(answer, spec);
  const first = roles.values[0];
  if (first === undefined)
    return { unfit: "No column holds numbers. Add a function, such as `| stats count() by service`." };
  const value = answer.columns[first] as Column;
  const additive = isAdditive(value);
  // Over time there is nothing to list but the series: each is what its points come to.
  const namedBy = roles.axis === "time" ? roles.series : roles.x === null ? [] : [roles.x, ...roles.series];
  const found = new Map<string, Slice & { rows: number }>();
  const wide = namedBy.length === 0 && roles.values.length > 1;
  const list = wide ? roles.values : [first];
  for (const row of answer.rows) {
    for (const index of list) {
      const y = toNumber(row[index]);
      if (y === null) continue;
      const column = answer.columns[index] as Column;
      const name = namedBy.length > 0 ? namedBy.map((at) => toName(row[at])).join(" · ") : column.name;
      const before = found.get(name);
      if (before) {
        before.value = additive ? before.value + y : (before.value * before.rows + y) / (before.rows + 1);
        before.rows += 1;
        before.cell = undefined;
      } else {
        const at = namedBy[0];
        const raw = at === undefined ? null : row[at];
        const by: Slice["by"] =
          namedBy.length === 1 && at !== undefined && raw !== null && raw !== undefined
            ? [answer.columns[at]?.name ?? "", toName(raw)]
            : null;
        found.set(name, { name, value: y, cell: row[index], by, rows: 1 });
      }
    }
  }
  const ranked = [...found.values()].sort((a, b) => b.value - a.value).map(({ rows: _, ...slice }) => slice);
  const total = ranked.reduce((sum, slice) => sum + slice.value, 0);
  const slices = ranked.slice(0, max);
  const rest = ranked.slice(max);
  if (rest.length > 0 && additive)
    slices.push({
      name: `others (${rest.length})`,
      value: rest.reduce((sum, slice) => sum + slice.value, 0),
      cell: undefined,
      by: null,
      others: rest.length,
    });
  const at = namedBy.length === 1 && namedBy[0] !== undefined ? (answer.columns[namedBy[0]] ?? null) : null;
  return { column: at, value, slices, total };
}

export interface Heat {
  xAxis: "time" | "category" | "number";
  xColumn: Column | null;
  yColumn: Column | null;
  /** Places of the x axis, in order: ms, numbers or places of `xNames`. */
  xs: number[];
  xNames: string[];
  ys: string[];
  /** `[place on x, place on y, value]`; what has no cell has no row. */
  cells: [number, number, number][];
  low: number;
  high: number;
  value: Column;
  dropped: number;
}

/** Values over two axes: for heatmaps. */
export function heatOf(answer: Table, spec: VizSpec, over: Over = {}): Heat | Unfit {
  const plot = plotOf(answer, { ...spec, stacked: false, missing: "gap" }, { step: over.step });
  if ("unfit" in plot) return plot;
  if (plot.series.length === 0) return { unfit: "Nothing to draw." };
  const sorted = orderRows(plot.series).slice(0, HEAT_ROWS_MAX);
  const xs = [...new Set(sorted.flatMap((one) => one.points.map(([x]) => x)))].sort((a, b) => a - b);
  const placeOf = new Map(xs.map((x, index) => [x, index]));
  const cells: Heat["cells"] = [];
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const [row, one] of sorted.entries()) {
    for (const [x, y] of one.points) {
      if (y === null) continue;
      cells.push([placeOf.get(x) as number, row, y]);
      low = Math.min(low, y);
      high = Math.max(high, y);
    }
  }
  const by = sorted[0]?.by ?? [];
  const yName = by.length === 1 ? by[0]?.[0] : undefined;
  return {
    xAxis: plot.axis,
    xColumn: plot.xColumn,
    yColumn: answer.columns.find((column) => column.name === yName) ?? null,
    xs,
    xNames: plot.axis === "category" ? xs.map((x) => plot.categories[x] ?? "") : [],
    ys: sorted.map((one) => one.name),
    cells,
    low: Number.isFinite(low) ? low : 0,
    high: Number.isFinite(high) ? high : 0,
    value: (sorted[0] as Series).column,
    dropped: plot.dropped,
  };
}

/** Rows of a heatmap from the bottom up: numbers by number, the rest by name with the first at the top. */
function orderRows(series: Series[]): Series[] {
  const numeric = series.every((one) => toNumber(one.name) !== null);
  return [...series].sort((a, b) => (numeric ? Number(a.name) - Number(b.name) : b.name.localeCompare(a.name)));
}

export interface Figure {
  name: string;
  value: number;
  /** Exact text of an integer that a number cannot hold. */
  exact: string | null;
  /** The way to the value over time, for the sparkline; empty without a time. */
  trend: (number | null)[];
  /** How the value was got from several: `sum`, `last`, …; null when it is the answer itself. */
  reduced: Reduce | null;
  column: Column;
}

export type Reduce = "last" | "sum" | "avg" | "max" | "min";

/** Single numbers, one for each series. Without a time, one for each row. */
export function figuresOf(answer: Table, spec: VizSpec, over: Over = {}, max = 24): Figure[] | Unfit {
  if (isRecords(answer) && !spec.values?.length) {
    // The number of a list is how long it is.
    return [figure("records", answer.rows.length, null, [], null, { name: "records", type: "int" })];
  }
  const roles = rolesOf(answer, spec);
  if (roles.values.length === 0)
    return { unfit: "No column holds numbers. Add a function, such as `| stats count()`." };
  if (roles.axis !== "time") {
    const names = roles.x === null ? roles.series : [roles.x, ...roles.series];
    const figures: Figure[] = [];
    for (const row of answer.rows) {
      for (const index of roles.values) {
        const value = toNumber(row[index]);
        if (value === null) continue;
        const column = answer.columns[index] as Column;
        const label = names.map((at) => toName(row[at]));
        if (label.length === 0 || roles.values.length > 1) label.push(column.name);
        const cell = row[index];
        figures.push(figure(label.join(" · "), value, typeof cell === "string" ? cell : null, [], null, column));
        if (figures.length === max) return figures;
      }
    }
    return figures;
  }
  const plot = plotOf(answer, spec, over);
  if ("unfit" in plot) return plot;
  return plot.series.slice(0, max).flatMap((one) => {
    const trend = one.points.map(([, y]) => y);
    const way = spec.reduce ?? (isAdditive(one.column) && !/^rate/.test(one.column.name) ? "sum" : "last");
    const value = reduce(trend, way);
    return value === null ? [] : [figure(one.name, value, null, trend, way, one.column)];
  });
}

function figure(
  name: string,
  value: number,
  exact: string | null,
  trend: (number | null)[],
  reduced: Reduce | null,
  column: Column,
): Figure {
  return { name, value, exact: exact !== null && !Number.isSafeInteger(value) ? exact : null, trend, reduced, column };
}

/** Several values as one; null when there are none. */
export function reduce(values: (number | null)[], way: Reduce): number | null {
  const known = values.filter((value) => value !== null);
  if (known.length === 0) return null;
  switch (way) {
    case "last":
      return known.at(-1) ?? null;
    case "sum":
      return known.reduce((sum, value) => sum + value, 0);
    case "avg":
      return known.reduce((sum, value) => sum + value, 0) / known.length;
    case "max":
      return known.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
    case "min":
      return known.reduce((least, value) => Math.min(least, value), Number.POSITIVE_INFINITY);
  }
}

/** Thresholds are steps: the tone of the highest one that the value reaches. Below the first there is none. */
export function toneOf(value: number, thresholds: Threshold[] | undefined): Threshold["tone"] | null {
  let tone: Threshold["tone"] | null = null;
  for (const step of [...(thresholds ?? [])].sort((a, b) => a.value - b.value))
    if (value >= step.value) tone = step.tone;
  return tone;
}

/** Spans of the value axis that are not well, with their tone: what is drawn behind a chart. `to` null has no end. */
export function bandsOf(
  thresholds: Threshold[] | undefined,
): { from: number; to: number | null; tone: Threshold["tone"] }[] {
  const steps = [...(thresholds ?? [])].sort((a, b) => a.value - b.value);
  return steps
    .map((step, index) => ({ from: step.value, to: steps[index + 1]?.value ?? null, tone: step.tone }))
    .filter((band) => band.tone !== "ok");
}

/** Columns a table shows, in order: those named, else all that hold something. Of records, the ones people read. */
export function tableColumnsOf(answer: Table, spec: Pick<VizSpec, "values">): number[] {
  const place = (name: string): number => answer.columns.findIndex((column) => column.name === name);
  const named = (spec.values ?? []).map(place).filter((index) => index >= 0);
  if (named.length > 0) return named;
  const all = answer.columns.map((_, index) => index);
  const filled = all.filter((index) => answer.rows.some((row) => row[index] !== null && row[index] !== undefined));
  if (!isRecords(answer)) return filled.length > 0 ? filled : all;
  const first = ["timestamp", "level", "service", "name", "value", "message"].map(place).filter((index) => index >= 0);
  const hidden = new Set(["id", "observed", "template_id", "span_id", "parent_span_id", "trace_flags", "version"]);
  const rest = filled.filter((index) => !first.includes(index) && !hidden.has(answer.columns[index]?.name ?? ""));
  return [...first.filter((index) => filled.includes(index)), ...rest];
}
