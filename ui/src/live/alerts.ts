/** Alerts as they change: one WebSocket for the whole app, a snapshot and then deltas, opened again when it ends. */
import { useEffect } from "react";
import { create } from "zustand";
import type { Schemas } from "@/api/client";
import { sessionProtocols, useSession } from "@/api/session";

export type Alert = Schemas["Alert"];

export type Link = "connecting" | "live" | "lost";

interface LiveAlerts {
  link: Link;
  /** Latest alerts by id, at most `LIVE_MAX`; lists that need more ask `/api/v1/alerts`. */
  alerts: Map<string, Alert>;
  /** Counts every change, so that lists know when to look again. */
  revision: number;
  /** The change that came last. */
  last: Alert | null;
  /** The changes that came with this revision, in order; empty after a snapshot. */
  changed: readonly Alert[];
  /** Counts snapshots: a list that saw another one may have missed changes in between and asks anew. */
  snapshots: number;
}

const LIVE_MAX = 2000;
/** Changes are taken together, so that a storm of them draws the page ten times a second and not ten thousand. */
const GATHER_MS = 100;
const RETRY_MS = [500, 1000, 2000, 5000, 10_000];

export const useLiveAlerts = create<LiveAlerts>()(() => ({
  link: "connecting",
  alerts: new Map(),
  revision: 0,
  last: null,
  changed: [],
  snapshots: 0,
}));

export type Message =
  | { type: "snapshot"; alerts: Alert[]; sequence: number }
  | { type: "delta"; alert: Alert; sequence: number }
  | { type: "gap"; missed: number };

/** Takes one message into the state. */
export function take(message: Message): void {
  takeAll([message]);
}

/** Takes messages into the state, in order, as one change. Pure, but for the store it writes. */
export function takeAll(messages: readonly Message[]): void {
  if (messages.length === 0) return;
  useLiveAlerts.setState((before) => {
    let alerts: Map<string, Alert> | null = null;
    let { link, last, snapshots } = before;
    let changed: Alert[] = [];
    for (const message of messages) {
      if (message.type === "snapshot") {
        alerts = new Map(message.alerts.map((alert) => [alert.id, alert]));
        link = "live";
        changed = [];
        snapshots += 1;
      } else if (message.type === "delta") {
        alerts ??= new Map(before.alerts);
        alerts.delete(message.alert.id);
        alerts.set(message.alert.id, message.alert);
        last = message.alert;
        changed.push(message.alert);
      }
      // A gap is followed by a new snapshot.
    }
    if (!alerts) return before;
    for (const id of alerts.keys()) {
      if (alerts.size <= LIVE_MAX) break;
      alerts.delete(id);
    }
    return { alerts, link, last, changed, snapshots, revision: before.revision + 1 };
  });
}

/** Keeps the socket open while the app is. */
export function useAlertsSocket(): void {
  const token = useSession((session) => session.token);
  const refused = useSession((session) => session.refused);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another token means another socket
  useEffect(() => {
    if (refused) return;
    let socket: WebSocket | null = null;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let tries = 0;
    let ended = false;
    let gathered: Message[] = [];
    let gathering: ReturnType<typeof setTimeout> | undefined;
    const flush = (): void => {
      gathering = undefined;
      const messages = gathered;
      gathered = [];
      takeAll(messages);
    };
    const open = (): void => {
      const url = new URL("/ws/alerts", location.href);
      url.protocol = url.protocol.replace("http", "ws");
      socket = new WebSocket(url, sessionProtocols());
      socket.onmessage = (event) => {
        tries = 0;
        gathered.push(JSON.parse(String(event.data)) as Message);
        gathering ??= setTimeout(flush, GATHER_MS);
      };
      socket.onclose = () => {
        if (ended) return;
        useLiveAlerts.setState({ link: "lost" });
        timer = setTimeout(open, RETRY_MS[Math.min(tries, RETRY_MS.length - 1)]);
        tries += 1;
      };
    };
    open();
    return () => {
      ended = true;
      clearTimeout(timer);
      clearTimeout(gathering);
      socket?.close();
    };
  }, [token, refused]);
}
