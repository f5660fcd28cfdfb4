import { describe, expect, it, vi } from "vitest";
import { type Bin, BLOCK_ROWS_MAX, binsOf, blocksOf, spanFor } from "./bins";
import { Heights } from "./heights";
import { fieldOf, fieldsOf, idOf, type LogRow, rowsOf } from "./record";
import { ScrollSpace } from "./scroll";
import { ROWS_HELD_MAX, RowWindow, type Source } from "./window";

const START = Date.parse("2026-01-01T00:00:00Z");
const columns = [
  { name: "id", type: "text" },
  { name: "timestamp", type: "time" },
];

/** A store of `count` records, `perMs` in each millisecond, that answers as the server does. */
function store(count: number, perMs: number) {
  const msAt = (index: number): number => START + Math.floor(index / perMs);
  const end = msAt(count - 1) + 1;
  const rowsIn = (from: number, to: number): [number, number] => [
    Math.max(0, (from - START) * perMs),
    Math.min(count, (to - START) * perMs),
  ];
  const make = (index: number): LogRow =>
    rowsOf(columns, [[String(index), new Date(msAt(index)).toISOString()]])[0] as LogRow;
  const source: Source = {
    page: vi.fn(async ({ from, to, limit, cursor }) => {
      const [low, high] = cursor ? [0, Number(cursor)] : rowsIn(from, to);
      const rows: LogRow[] = [];
      for (let index = high - 1; index >= low && rows.length < limit; index -= 1) rows.push(make(index));
      return { rows };
    }),
    bins: vi.fn(async (from, to) => {
      const { ms } = spanFor(from, to, 64);
      const bins: Bin[] = [];
      for (let at = from; at < to; at += ms) {
        const [low, high] = rowsIn(at, Math.min(to, at + ms));
        if (high > low) bins.push({ from: at, to: Math.min(to, at + ms), count: high - low });
      }
      return bins;
    }),
  };
  return { source, range: { from: START, to: end }, make, count };
}

async function settled(): Promise<void> {
  for (let turn = 0; turn < 400; turn += 1) await Promise.resolve();
}

describe("a window onto many rows", () => {
  it("goes anywhere in a million rows and shows the right ones", async () => {
    const { source, range } = store(1_000_000, 5);
    const rows = new RowWindow(source, range, "newest");
    rows.countedBy(await source.bins(range.from, range.to, new AbortController().signal));
    expect(rows.total).toBe(1_000_000);
    for (const index of [0, 654_321, 12, 999_999, 500_000]) {
      rows.show(index, Math.min(index + 50, 999_999));
      await settled();
      const row = rows.at(index);
      expect(row && idOf(row)).toBe(String(999_999 - index));
    }
    expect(rows.total).toBe(1_000_000);
  });

  it("holds a bounded number of rows however far it is scrolled, and loads what comes back into view", async () => {
    const { source, range } = store(200_000, 5);
    const rows = new RowWindow(source, range, "newest");
    rows.countedBy(await source.bins(range.from, range.to, new AbortController().signal));
    for (let index = 0; index < 100_000; index += 300) {
      rows.show(index, index + 50);
      await settled();
    }
    expect(rows.rowsHeld).toBeLessThanOrEqual(ROWS_HELD_MAX + BLOCK_ROWS_MAX);
    expect(rows.at(0)).toBeUndefined();
    rows.show(0, 50);
    await settled();
    expect(idOf(rows.at(0) as LogRow)).toBe("199999");
  });

  it("reads on without a cursor, repeating and skipping none of equal times", async () => {
    const { source, range } = store(1_000, 50);
    const rows = new RowWindow(source, range, "newest");
    rows.append((await source.page({ ...range, limit: 120 }, new AbortController().signal)).rows, {});
    while (!rows.isWhole) {
      rows.show(rows.total - 10, rows.total);
      await settled();
    }
    expect([...rows.loaded()].map(idOf)).toEqual(Array.from({ length: 1_000 }, (_, index) => String(999 - index)));
  });

  it("keeps the rows it has when the answer is counted", async () => {
    const { source, range } = store(10_000, 5);
    const rows = new RowWindow(source, range, "newest");
    rows.append((await source.page({ ...range, limit: 503 }, new AbortController().signal)).rows, {});
    const before = rows.at(400);
    rows.countedBy(await source.bins(range.from, range.to, new AbortController().signal));
    expect(rows.total).toBe(10_000);
    expect(rows.at(400)).toBe(before);
    rows.show(490, 540);
    await settled();
    expect(idOf(rows.at(510) as LogRow)).toBe(String(9_999 - 510));
  });

  it("tells when a block above the view has other rows than were counted", async () => {
    const { source, range } = store(5_000, 5);
    const rows = new RowWindow(source, range, "newest");
    const bins = await source.bins(range.from, range.to, new AbortController().signal);
    const newest = bins.at(-1) as Bin;
    rows.countedBy([...bins.slice(0, -1), { ...newest, count: newest.count - 7 }]);
    const shift = vi.fn();
    rows.onShift = shift;
    rows.show(210, 250);
    await settled();
    expect(rows.total).toBe(5_000);
    expect(shift).toHaveBeenCalledWith(expect.any(Number), 7);
  });

  it("says what failed and tries again when told", async () => {
    const { source, range } = store(5_000, 5);
    const rows = new RowWindow(source, range, "newest");
    rows.countedBy(await source.bins(range.from, range.to, new AbortController().signal));
    vi.mocked(source.page).mockRejectedValueOnce(new Error("gone"));
    rows.show(3_000, 3_050);
    await settled();
    expect(rows.error?.code).toBe("unreachable");
    rows.retry();
    await settled();
    expect(rows.at(3_000)).toBeDefined();
  });
});

describe("bins", () => {
  it("chooses spans", () => {
    expect(spanFor(0, 3_600_000, 60).span).toBe("1m");
    expect(spanFor(0, 64, 64).span).toBe("1ms");
  });
  it("adds up the series of a time chart and keeps within the range", () => {
    const answer = {
      columns: [
        { name: "timestamp", type: "time" },
        { name: "level", type: "level" },
        { name: "count", type: "int" },
      ],
      rows: [
        ["2026-01-01T00:01:00Z", "info", 3],
        ["2026-01-01T00:00:00Z", "info", 1],
        ["2026-01-01T00:00:00Z", "error", 2],
      ],
      stats: {},
    };
    expect(binsOf(answer, 60_000, START + 1_000, START + 90_000)).toEqual([
      { from: START + 1_000, to: START + 60_000, count: 3 },
      { from: START + 60_000, to: START + 90_000, count: 3 },
    ]);
  });
  it("puts small bins together, in the order of the list", () => {
    const bins = [100, 200, 300, 5_000].map((count, index) => ({ from: index, to: index + 1, count }));
    expect(blocksOf(bins, "newest").map((block) => block.count)).toEqual([5_000, 300, 300]);
    expect(blocksOf(bins, "oldest").map((block) => block.count)).toEqual([300, 300, 5_000]);
  });
});

describe("heights", () => {
  it("are those of a plain sum", () => {
    const heights = new Heights(20);
    heights.setCount(1_000);
    const plain = Array.from({ length: 1_000 }, () => 20);
    for (const [index, px] of [
      [3, 60],
      [999, 45],
      [500, 100],
      [3, 40],
    ] as const) {
      heights.set(index, px);
      plain[index] = px;
    }
    let start = 0;
    plain.forEach((px, index) => {
      expect(heights.startOf(index)).toBe(start);
      expect(heights.indexAt(start + px - 1)).toBe(index);
      start += px;
    });
    expect(heights.total).toBe(start);
    heights.setCount(5_000);
    expect(heights.total).toBe(start + 4_000 * 20);
  });
});

describe("scrolling beyond what an element can be", () => {
  const space = (): ScrollSpace => {
    const made = new ScrollSpace(10_000);
    made.resize(100_000, 500);
    return made;
  };
  it("moves by pixels in small steps and by share in large ones", () => {
    const made = space();
    made.moved(120);
    expect(made.top).toBe(120);
    made.moved(4_750);
    expect(made.top).toBeCloseTo(49_750, 0);
    made.moved(4_850);
    expect(made.top).toBeCloseTo(49_850, 0);
  });
  it("reaches both ends", () => {
    const made = space();
    made.moved(9_500);
    expect(made.top).toBe(99_500);
    made.moved(0);
    expect(made.top).toBe(0);
  });
  it("puts the bar where it belongs without moving the rows", () => {
    const made = space();
    made.moved(4_750);
    made.moved(5_000);
    const { top } = made;
    const bar = made.settle();
    expect(made.top).toBe(top);
    expect(bar).toBeCloseTo((top / 99_500) * 9_500, 3);
    expect(made.offset).toBeCloseTo(top - bar, 3);
  });
});

describe("records", () => {
  const [row] = rowsOf(
    [
      { name: "level", type: "level" },
      { name: "attributes", type: "json" },
    ],
    [["error", { "http.status": 503, level: 5, http: { route: "/a", none: null } }]],
  ) as [LogRow];
  it("finds fields by key and by path", () => {
    expect(fieldOf(row, "http.status")).toBe(503);
    expect(fieldOf(row, "http.route")).toBe("/a");
    expect(fieldOf(row, "level")).toBe("error");
    expect(fieldOf(row, "attributes.level")).toBe(5);
    expect(fieldOf(row, "nothing")).toBeNull();
  });
  it("lists them under the names they are asked for by", () => {
    expect(fieldsOf(row).map((field) => field.name)).toEqual([
      "level",
      "http.status",
      "attributes.level",
      "http.route",
    ]);
  });
});
