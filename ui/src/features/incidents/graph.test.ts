import { expect, it } from "vitest";
import type { AlertRow } from "../alerts/model";
import { graphOf, NODES_MAX } from "./graph";
import { lasted } from "./steps";

const alert = (changes: Partial<AlertRow>): AlertRow =>
  ({
    rule: "r",
    title: "R",
    severity: "WARNING",
    service: "A",
    entity: { kind: "service", value: "A" },
    ...changes,
  }) as AlertRow;

it("joins what an alert joins, once, as severe as the worst", () => {
  const graph = graphOf([
    alert({}),
    alert({ severity: "CRITICAL" }),
    alert({ rule: "disk", title: "Disk full", entity: { kind: "host", value: "h1" } }),
    alert({ rule: "scan", title: "Scan", service: null, entity: { kind: "source_ip", value: "::1" } }),
  ]);
  expect(graph.nodes.find((node) => node.id === "service A")).toMatchObject({ count: 3, severity: "CRITICAL" });
  expect(graph.edges).toEqual([
    { source: "rule r", target: "service A", count: 2 },
    { source: "rule disk", target: "host h1", count: 1 },
    { source: "host h1", target: "service A", count: 1 },
    { source: "rule scan", target: "source_ip ::1", count: 1 },
  ]);
});

it("leaves out what is too much, the least severe first, and says how much", () => {
  const graph = graphOf(
    Array.from({ length: 200 }, (_, n) =>
      alert({ entity: { kind: "host", value: `h${n}` }, severity: n === 150 ? "CRITICAL" : "NORMAL" }),
    ),
  );
  expect(graph.nodes).toHaveLength(NODES_MAX);
  expect(graph.nodes.some((node) => node.name === "h150")).toBe(true);
  expect(graph.dropped).toBe(202 - NODES_MAX);
});

it("tells how long it lasted", () => {
  const began_at = "2026-03-01T10:00:00Z";
  expect(lasted({ began_at, resolved_at: "2026-03-01T10:10:00Z" }, 0)).toBe(600);
  expect(lasted({ began_at, resolved_at: null }, Date.parse("2026-03-01T10:00:30Z"))).toBe(30);
});
