import { describe, expect, it } from "vitest";
import type { Answer, Cell } from "@/api/query";
import {
  bandsOf,
  figuresOf,
  GRID_POINTS_MAX,
  heatOf,
  isAdditive,
  isAlone,
  type Plot,
  plotOf,
  reduce,
  rolesOf,
  SERIES_MAX,
  slicesOf,
  stepOf,
  tableColumnsOf,
  toneOf,
  type Unfit,
} from "./shape";
import type { VizSpec } from "./Visualisation";

const T0 = Date.parse("2026-02-09T20:00:00Z");
const at = (minute: number): string => `2026-02-09T20:${String(minute).padStart(2, "0")}:00.000000000Z`;
const ms = (minute: number): number => T0 + minute * 60_000;

/** `time:t level:level count:int` and rows. */
function answer(columns: string, rows: Cell[][]): Answer {
  return {
    columns: columns.split(" ").map((column) => {
      const split = column.lastIndexOf(":");
      return { name: column.slice(0, split), type: column.slice(split + 1) };
    }),
    rows,
    stats: {},
  };
}

const LINE: VizSpec = { viz: "line" };

function fits<T>(shape: T | Unfit): T {
  if (typeof shape === "object" && shape !== null && "unfit" in shape) throw new Error(shape.unfit);
  return shape as T;
}

/** Series as `name=y y - y`, gaps as `-`. */
function drawn(plot: Plot | Unfit): string[] {
  return fits(plot).series.map((one) => `${one.name}=${one.points.map(([, y]) => y ?? "-").join(" ")}`);
}

describe("roles of columns", () => {
  it.each([
    // columns, x, axis, values, series
    ["timestamp:time level:level count:int", "timestamp", "time", "count", "level"],
    ["timestamp:time p50:float p95:float", "timestamp", "time", "p50,p95", ""],
    ["service:text count:int", "service", "category", "count", ""],
    ["service:text region:text count:int", "service", "category", "count", "region"],
    ["count:int", "", "", "count", ""],
    ["status:int count:int", "status", "number", "count", ""],
    ["first:time last:time n:int", "first", "time", "n", ""],
    ["service:text template_id:int count:int", "service", "category", "count", ""],
    ["service:text template_id:int", "service", "category", "template_id", ""],
    ["attributes:json count:int", "", "", "count", ""],
  ])("of %s", (columns, x, axis, values, series) => {
    const table = answer(columns, []);
    const roles = rolesOf(table, {});
    const name = (index: number): string => table.columns[index]?.name ?? "";
    expect([
      roles.x === null ? "" : name(roles.x),
      roles.axis ?? "",
      roles.values.map(name).join(),
      roles.series.map(name).join(),
    ]).toEqual([x, axis, values, series]);
  });

  it("follows the spec, and passes over names that are not there", () => {
    const table = answer("t:time a:int b:int s:text u:text", []);
    const roles = rolesOf(table, { values: ["b", "gone"], series: ["u"] });
    expect(roles).toEqual({ x: 0, axis: "time", values: [2], series: [4] });
    expect(rolesOf(table, { x: "s", values: ["a"] })).toMatchObject({
      x: 3,
      axis: "category",
      values: [1],
      series: [4],
    });
  });

  it("looks into columns of any type: numbers measure, text that reads as a number names", () => {
    expect(rolesOf(answer("status:any n:any", [["200", 3]]), {})).toMatchObject({ x: 0, values: [1] });
    expect(rolesOf(answer("status:any n:int", [[200, 3]]), {})).toMatchObject({ x: 0, axis: "number", values: [1] });
  });
});

describe("series over time", () => {
  it("reads a long answer, counts missing buckets as 0, and puts levels in order of seriousness", () => {
    const plot = plotOf(
      answer("timestamp:time level:level count:int", [
        [at(0), "info", 10],
        [at(0), "error", 1],
        [at(1), "info", 11],
        [at(3), "info", 12],
      ]),
      LINE,
    );
    expect(drawn(plot)).toEqual(["error=1 0 0 0", "info=10 11 0 12"]);
    expect(fits(plot).step).toBe(60_000);
  });

  it("reads a wide answer, and shows gaps as gaps where nothing was measured", () => {
    const plot = plotOf(
      answer("timestamp:time p50:float p95:float", [
        [at(0), 1, 5],
        [at(1), 2, null],
        [at(3), 3, 7],
      ]),
      LINE,
    );
    expect(drawn(plot)).toEqual(["p50=1 2 - 3", "p95=5 - - 7"]);
  });

  it("names the columns of answers that are wide and long", () => {
    const plot = plotOf(answer("t:time s:text a:float b:float", [[at(0), "x", 1, 2]]), LINE);
    expect(fits(plot).series.map((one) => one.name)).toEqual(["x · a", "x · b"]);
    expect(fits(plot).series[0]?.by).toEqual([["s", "x"]]);
  });

  it("can be told what missing means", () => {
    const rows = answer("t:time n:int", [
      [at(0), 1],
      [at(2), 3],
    ]);
    const step = { step: 60_000 };
    expect(drawn(plotOf(rows, { ...LINE, missing: "gap" }, step))).toEqual(["n=1 - 3"]);
    expect(drawn(plotOf(answer("t:time v:float", rows.rows), { ...LINE, missing: "zero" }, step))).toEqual(["v=1 0 3"]);
    // Stacks need every place.
    expect(drawn(plotOf(answer("t:time v:float", rows.rows), { ...LINE, stacked: true }, step))).toEqual(["v=1 0 3"]);
  });

  it("fills counts over the whole range, but not the bucket that is not over", () => {
    const rows = answer("t:time count:int", [
      [at(2), 1],
      [at(3), 1],
    ]);
    const plot = plotOf(rows, LINE, { range: { from: ms(0), to: ms(6) + 30_000 } });
    expect(fits(plot).series[0]?.points).toEqual([
      [ms(0), 0],
      [ms(1), 0],
      [ms(2), 1],
      [ms(3), 1],
      [ms(4), 0],
      [ms(5), 0],
    ]);
    expect(drawn(plotOf(answer("t:time p95:float", rows.rows), LINE, { range: { from: ms(0), to: ms(6) } }))).toEqual([
      "p95=1 1",
    ]);
  });

  it("keeps places below a millisecond apart, in order", () => {
    const plot = plotOf(
      answer("t:time v:float", [
        ["2026-02-09T20:00:00.000000900Z", 2],
        ["2026-02-09T20:00:00.000000100Z", 1],
      ]),
      LINE,
    );
    expect(drawn(plot)).toEqual(["v=1 2"]);
    expect(fits(plot).series[0]?.points[0]?.[0]).toBeLessThan(fits(plot).series[0]?.points[1]?.[0] ?? 0);
  });

  it("draws integers beyond 2^53 that come as text", () => {
    expect(drawn(plotOf(answer("t:time n:int", [[at(0), "9007199254740993"]]), LINE))).toEqual(["n=9007199254740992"]);
  });

  it("adds up rows of one place only where that makes sense", () => {
    const rows: Cell[][] = [
      [at(0), 2],
      [at(0), 3],
    ];
    expect(drawn(plotOf(answer("t:time count:int", rows), LINE))).toEqual(["count=5"]);
    expect(drawn(plotOf(answer("t:time p95:float", rows), LINE))).toEqual(["p95=3"]);
  });

  it("leaves rows without a time out", () => {
    expect(
      drawn(
        plotOf(
          answer("t:time n:int", [
            [null, 1],
            [at(0), 2],
            ["soon", 3],
          ]),
          LINE,
        ),
      ),
    ).toEqual(["n=2"]);
  });

  it("says why records cannot be drawn", () => {
    const records = answer("id:text timestamp:time message:text duration_ms:float", [["1", at(0), "hi", 4]]);
    expect(plotOf(records, LINE)).toHaveProperty("unfit");
    expect(drawn(plotOf(records, { ...LINE, values: ["duration_ms"], series: ["message"] }))).toEqual(["hi=4"]);
    expect(plotOf(answer("service:text", [["a"]]), LINE)).toHaveProperty("unfit");
  });

  it("has a place for an answer of numbers alone", () => {
    expect(drawn(plotOf(answer("count:int", [[7]]), { viz: "bar" }))).toEqual(["count=7"]);
  });
});

describe("categories", () => {
  it("keep the order of the answer, and stand for missing ones with 0", () => {
    const plot = fits(
      plotOf(
        answer("service:text region:text count:int", [
          ["b", "eu", 3],
          ["a", "us", 2],
          [null, "eu", 1],
        ]),
        { viz: "bar" },
      ),
    );
    expect(plot.categories).toEqual(["b", "a", "(none)"]);
    expect(drawn(plot)).toEqual(["eu=3 0 1", "us=0 2 0"]);
  });
});

describe("many series", () => {
  const many = (column: string): Answer =>
    answer(
      `t:time s:text ${column}`,
      Array.from({ length: 50 }, (_, index): Cell[] => [at(0), `s${index}`, index + 1]),
    );
  it("keeps the heaviest and adds up the others", () => {
    const plot = fits(plotOf(many("count:int"), LINE));
    expect(plot.series).toHaveLength(SERIES_MAX + 1);
    expect(plot.series[0]?.name).toBe("s49");
    expect(plot.series.at(-1)).toMatchObject({ name: "others (30)", others: 30, points: [[ms(0), (30 * 31) / 2]] });
  });
  it("counts those that cannot be added up", () => {
    const plot = fits(plotOf(many("p95:float"), LINE));
    expect(plot.series).toHaveLength(SERIES_MAX);
    expect(plot.dropped).toBe(30);
  });
});

describe("regular axes", () => {
  it.each([
    [[0, 60, 180], 60],
    [[0, 60, 90], 30],
    [[0, 60, 100], null],
    [[5], null],
    [[], null],
    [[0, 1, GRID_POINTS_MAX * 2], null],
  ])("of %j have the step %s", (places, step) => expect(stepOf(places)).toBe(step));

  it("believe the asker about the width of a bucket, unless the places contradict", () => {
    expect(stepOf([0, 240], 60)).toBe(60);
    expect(stepOf([7], 60)).toBe(60);
    expect(stepOf([0, 90], 60)).toBeNull();
  });

  it("shows a lone point between gaps", () => {
    const points: [number, number | null][] = [
      [0, null],
      [1, 5],
      [2, null],
      [3, 1],
      [4, 2],
    ];
    expect(points.map((_, index) => isAlone(points, index))).toEqual([false, true, false, false, false]);
  });
});

describe("what may be added up", () => {
  it.each([
    ["count:int", true],
    ["count():int", true],
    ["rate():float", true],
    ["sum(bytes):float", true],
    ["errors:int", true],
    ["p95(duration_ms):float", false],
    ["avg(value):float", false],
    ["max(n):int", false],
    ["dc(user_id):int", false],
    ["duration_ms:int", false],
  ])("%s: %s", (column, yes) => expect(isAdditive(answer(column, []).columns[0])).toBe(yes));
});

describe("slices", () => {
  it("are sorted, and the rest is one", () => {
    const shape = fits(
      slicesOf(
        answer("s:text count:int", [
          ["a", 1],
          ["b", 5],
          ["c", 2],
        ]),
        { viz: "pie" },
        2,
      ),
    );
    expect(shape.slices.map((slice) => [slice.name, slice.value])).toEqual([
      ["b", 5],
      ["c", 2],
      ["others (1)", 1],
    ]);
    expect(shape.total).toBe(8);
    expect(shape.slices[0]?.by).toEqual(["s", "b"]);
    expect(shape.slices[2]?.by).toBeNull();
  });

  it("sum series over time, and average what cannot be summed", () => {
    const rows: Cell[][] = [
      [at(0), "a", 1],
      [at(1), "a", 3],
    ];
    expect(fits(slicesOf(answer("t:time s:text count:int", rows), { viz: "top" })).slices[0]?.value).toBe(4);
    expect(fits(slicesOf(answer("t:time s:text p95:float", rows), { viz: "top" })).slices[0]?.value).toBe(2);
  });

  it("list the columns of a single row", () => {
    const shape = fits(
      slicesOf(answer("errors:int warnings:int", [[1, 2]]), { viz: "top", values: ["errors", "warnings"] }),
    );
    expect(shape.slices.map((slice) => slice.name)).toEqual(["warnings", "errors"]);
  });

  it("do not filter by a value that is absent", () => {
    expect(fits(slicesOf(answer("s:text n:int", [[null, 1]]), { viz: "top" })).slices[0]).toMatchObject({
      name: "(none)",
      by: null,
    });
  });
});

describe("heat", () => {
  it("has a cell where there is a value, rows by name from the top", () => {
    const heat = fits(
      heatOf(
        answer("t:time s:text count:int", [
          [at(0), "a", 1],
          [at(2), "b", 4],
        ]),
        { viz: "heatmap" },
        { step: 60_000 },
      ),
    );
    expect(heat.ys).toEqual(["b", "a"]);
    expect(heat.xs).toEqual([ms(0), ms(1), ms(2)]);
    expect(heat.cells).toEqual([
      [2, 0, 4],
      [0, 1, 1],
    ]);
    expect([heat.low, heat.high, heat.yColumn?.name]).toEqual([1, 4, "s"]);
  });

  it("orders numbers by number", () => {
    const rows = ["10", "9", "100"].map((bucket): Cell[] => [at(0), bucket, 1]);
    expect(fits(heatOf(answer("t:time le:text count:int", rows), { viz: "heatmap" })).ys).toEqual(["9", "10", "100"]);
  });
});

describe("figures", () => {
  it("are the answer itself when there is no time, exact beyond 2^53", () => {
    expect(figuresOf(answer("count:int", [["9007199254740993"]]), { viz: "number" })).toMatchObject([
      { name: "count", exact: "9007199254740993", reduced: null, trend: [] },
    ]);
  });

  it("sum counts and take the last of everything else, with the way there", () => {
    const rows: Cell[][] = [
      [at(0), 1],
      [at(2), 3],
    ];
    const step = { step: 60_000 };
    expect(figuresOf(answer("t:time count:int", rows), { viz: "number" }, step)).toMatchObject([
      { value: 4, reduced: "sum", trend: [1, 0, 3] },
    ]);
    expect(figuresOf(answer("t:time p95:float", rows), { viz: "number" }, step)).toMatchObject([
      { value: 3, reduced: "last", trend: [1, null, 3] },
    ]);
    expect(figuresOf(answer("t:time p95:float", rows), { viz: "number", reduce: "max" })).toMatchObject([{ value: 3 }]);
  });

  it("has one for each row and column", () => {
    const figures = fits(figuresOf(answer("s:text a:int b:int", [["x", 1, 2]]), { viz: "number" }));
    expect(figures.map((figure) => figure.name)).toEqual(["x · a", "x · b"]);
  });

  it("counts records", () => {
    expect(
      figuresOf(
        answer("id:text message:text", [
          ["1", "a"],
          ["2", "b"],
        ]),
        { viz: "number" },
      ),
    ).toMatchObject([{ value: 2 }]);
  });

  it.each([
    ["last", 2],
    ["sum", 6],
    ["avg", 3],
    ["max", 4],
    ["min", 0],
  ] as const)("%s passes over gaps", (way, value) => {
    const values = way === "avg" ? [null, 4, 2, null] : way === "min" ? [0, null, 2] : [4, null, 2];
    expect(reduce(values, way)).toBe(value);
    expect(reduce([null], way)).toBeNull();
  });
});

describe("thresholds are steps", () => {
  const steps = [
    { value: 99.95, tone: "ok" as const },
    { value: 0, tone: "critical" as const },
    { value: 99, tone: "warning" as const },
  ];
  it.each([
    [-1, null],
    [0, "critical"],
    [99, "warning"],
    [99.94, "warning"],
    [100, "ok"],
  ])("%d is %s", (value, tone) => expect(toneOf(value, steps)).toBe(tone));

  it("draws bands where it is not well", () => {
    expect(bandsOf(steps)).toEqual([
      { from: 0, to: 99, tone: "critical" },
      { from: 99, to: 99.95, tone: "warning" },
    ]);
    expect(bandsOf([{ value: 5, tone: "critical" }])).toEqual([{ from: 5, to: null, tone: "critical" }]);
  });
});

describe("columns of a table", () => {
  it("are those that hold something; of records, what people read first", () => {
    const records = answer("id:text timestamp:time level:level message:text host:text region:text", [
      ["1", at(0), "info", "hi", null, "eu"],
    ]);
    expect(tableColumnsOf(records, {}).map((index) => records.columns[index]?.name)).toEqual([
      "timestamp",
      "level",
      "message",
      "region",
    ]);
    expect(tableColumnsOf(answer("a:text b:int", [[null, null]]), {})).toEqual([0, 1]);
    expect(tableColumnsOf(records, { values: ["host", "id"] })).toEqual([4, 0]);
  });
});
