import { beforeEach, expect, it } from "vitest";
import { type Alert, take, takeAll, useLiveAlerts } from "./alerts";

const alert = (id: string, status = "OPEN"): Alert => ({ id, status }) as Alert;

beforeEach(() =>
  useLiveAlerts.setState({ link: "connecting", alerts: new Map(), revision: 0, last: null, changed: [], snapshots: 0 }),
);

it("takes a snapshot, then changes", () => {
  take({ type: "snapshot", alerts: [alert("a"), alert("b")], sequence: 1 });
  take({ type: "delta", alert: alert("a", "ACKNOWLEDGED"), sequence: 2 });
  const state = useLiveAlerts.getState();
  expect(state.link).toBe("live");
  expect([...state.alerts.keys()]).toEqual(["b", "a"]);
  expect(state.alerts.get("a")?.status).toBe("ACKNOWLEDGED");
  expect(state.last?.id).toBe("a");
});

it("keeps a bounded number, the latest", () => {
  take({ type: "snapshot", alerts: [], sequence: 1 });
  for (let n = 0; n < 2100; n += 1) take({ type: "delta", alert: alert(`${n}`), sequence: n + 2 });
  const { alerts } = useLiveAlerts.getState();
  expect(alerts.size).toBe(2000);
  expect(alerts.has("99")).toBe(false);
  expect(alerts.has("2099")).toBe(true);
});

it("takes many changes as one, and forgets those before a snapshot", () => {
  takeAll([
    { type: "snapshot", alerts: [alert("a")], sequence: 1 },
    { type: "delta", alert: alert("b"), sequence: 2 },
    { type: "delta", alert: alert("a", "RESOLVED"), sequence: 3 },
  ]);
  let state = useLiveAlerts.getState();
  expect(state.revision).toBe(1);
  expect(state.changed.map((each) => `${each.id} ${each.status}`)).toEqual(["b OPEN", "a RESOLVED"]);
  takeAll([
    { type: "delta", alert: alert("c"), sequence: 4 },
    { type: "gap", missed: 3 },
    { type: "snapshot", alerts: [alert("d")], sequence: 9 },
  ]);
  state = useLiveAlerts.getState();
  expect(state.changed).toEqual([]);
  expect(state.snapshots).toBe(2);
  expect([...state.alerts.keys()]).toEqual(["d"]);
});
