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
}

const LIVE_MAX = 2000;
const RETRY_MS = [500, 1000, 2000, 5000, 10_000];

export const useLiveAlerts = create<LiveAlerts>()(() => ({
  link: "connecting",
  alerts: new Map(),
  revision: 0,
  last: null,
}));

type Message =
  | { type: "snapshot"; alerts: Alert[]; sequence: number }
  | { type: "delta"; alert: Alert; sequence: number }
  | { type: "gap"; missed: number };

/** Takes one message into the state. Pure, but for the store it writes. */
export function take(message: Message): void {
  if (message.type === "snapshot") {
    useLiveAlerts.setState(({ revision }) => ({
      alerts: new Map(message.alerts.map((alert) => [alert.id, alert])),
      revision: revision + 1,
      link: "live",
    }));
  } else if (message.type === "delta") {
    useLiveAlerts.setState(({ alerts, revision }) => {
      const next = new Map(alerts);
      next.delete(message.alert.id);
      next.set(message.alert.id, message.alert);
      while (next.size > LIVE_MAX) next.delete(next.keys().next().value as string);
      return { alerts: next, revision: revision + 1, last: message.alert };
    });
  }
  // A gap is followed by a new snapshot.
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
    const open = (): void => {
      const url = new URL("/ws/alerts", location.href);
      url.protocol = url.protocol.replace("http", "ws");
      socket = new WebSocket(url, sessionProtocols());
      socket.onmessage = (event) => {
        tries = 0;
        take(JSON.parse(String(event.data)) as Message);
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
      socket?.close();
    };
  }, [token, refused]);
}
