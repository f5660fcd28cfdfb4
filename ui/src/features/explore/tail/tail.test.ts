import { describe, expect, it, vi } from "vitest";
import { idOf, type LogRow, rowOfObject } from "../rows/record";
import { TailBuffer } from "./buffer";

const rows = (...ids: number[]): LogRow[] => ids.map((id) => rowOfObject({ id: String(id) }));
const ids = (buffer: TailBuffer): string[] =>
  Array.from({ length: buffer.total }, (_, index) => idOf(buffer.at(index) as LogRow));

describe("the buffer of a live tail", () => {
  it("shows the newest first and keeps as many as fit", () => {
    const buffer = new TailBuffer(3);
    buffer.add(rows(1, 2), 0);
    buffer.add(rows(3, 4), 0);
    expect(ids(buffer)).toEqual(["4", "3", "2"]);
    expect(buffer.received).toBe(4);
    buffer.add(rows(5, 6, 7, 8, 9), 0);
    expect(ids(buffer)).toEqual(["9", "8", "7"]);
  });

  it("goes on where it was paused", () => {
    const buffer = new TailBuffer(10);
    buffer.add(rows(1), 0);
    buffer.pause();
    buffer.add(rows(2, 3), 0);
    expect(ids(buffer)).toEqual(["1"]);
    expect(buffer.waitingCount).toBe(2);
    buffer.resume();
    expect(ids(buffer)).toEqual(["3", "2", "1"]);
    expect(buffer.waitingCount).toBe(0);
  });

  it("counts what did not fit while it was paused", () => {
    const buffer = new TailBuffer(3);
    buffer.pause();
    buffer.add(rows(1, 2, 3, 4, 5), 0);
    expect(buffer.droppedWaiting).toBe(2);
    buffer.resume();
    expect(ids(buffer)).toEqual(["5", "4", "3"]);
  });

  it("tells the rate of the last seconds", () => {
    const buffer = new TailBuffer();
    buffer.add(rows(1, 2, 3), 0);
    buffer.add(rows(4, 5), 4_000);
    expect(buffer.rate(4_000)).toBe(1);
    expect(buffer.rate(6_000)).toBe(0.4);
  });

  it("tells its list how many rows came on top", () => {
    const buffer = new TailBuffer();
    buffer.onShift = vi.fn();
    buffer.add(rows(1, 2), 0);
    expect(buffer.onShift).toHaveBeenCalledWith(0, 2);
    const version = buffer.version;
    buffer.missed(3);
    expect(buffer.missedBatches).toBe(3);
    expect(buffer.version).toBeGreaterThan(version);
  });
});
