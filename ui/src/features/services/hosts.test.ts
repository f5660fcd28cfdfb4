import { describe, expect, it } from "vitest";
import type { Answer } from "@/api/query";
import { fullness, hostsOf } from "./hosts";

const answer = (columns: string[], ...rows: Answer["rows"]): Answer => ({
  columns: columns.map((name) => ({ name, type: "any" })),
  rows,
  stats: {},
});
const columns = ["h", "service", "name", "timestamp", "v"];
const t = "2026-01-01T00:00:00Z";
const u = "2026-01-01T00:05:00Z";

describe("hosts", () => {
  it("show the latest of each measure, the fullest first", () => {
    const hosts = hostsOf(
      answer(
        columns,
        ["a", "shop", "cpu_usage", t, 20],
        ["a", "shop", "cpu_usage", u, 30],
        ["a", "mail", "cpu_usage", u, 35],
        ["a", "a", "disk_usage", t, 50],
        ["b", "db", "memory_usage", u, 97],
        [null, "x", "cpu_usage", u, 99],
        ["c", "x", "latency_ms", u, 5],
      ),
      answer(["h", "n"], ["a", 3]),
    );
    expect(hosts.map(({ host }) => host)).toEqual(["b", "a"]);
    expect(hosts[1]).toEqual({
      host: "a",
      services: ["mail", "shop"],
      cpu: 35,
      memory: null,
      disk: 50,
      cpuLine: [20, 35],
      lastSeen: Date.parse(u),
      agent: true,
    });
  });
  it("are full by measure", () => {
    expect([
      fullness("cpu", 69),
      fullness("cpu", 70),
      fullness("disk", 84),
      fullness("memory", 96),
      fullness("disk", null),
    ]).toEqual(["NORMAL", "WARNING", "NORMAL", "CRITICAL", "NORMAL"]);
  });
});
