/** The live tail's socket: records go into a buffer ten times a second, whatever their number. */
import { useEffect, useMemo, useState } from "react";
import { type Cell, parseExact } from "@/api/query";
import { sessionProtocols, useSession } from "@/api/session";
import { type LogRow, rowOfObject } from "../rows/record";
import { TailBuffer } from "./buffer";

const FLUSH_MS = 100;
const RETRY_MS = [500, 1000, 2000, 5000, 10_000];

export type TailLink = "connecting" | "live" | "lost";

type Message =
  | { type: "record"; sequence: string; record: { [key: string]: Cell } }
  | { type: "gap"; missed_batches: number };

export interface Tail {
  buffer: TailBuffer;
  link: TailLink;
  /** When the connection was lost for a while, from when to when: what came then was not seen. */
  holes: { from: number; to: number }[];
}

export function useTail(query: string): Tail {
  // Another question is another tail.
  // biome-ignore lint/correctness/useExhaustiveDependencies: see above
  const buffer = useMemo(() => new TailBuffer(), [query]);
  const [link, setLink] = useState<TailLink>("connecting");
  const [holes, setHoles] = useState<{ from: number; to: number }[]>([]);
  const token = useSession((session) => session.token);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another token means another socket
  useEffect(() => {
    let socket: WebSocket | null = null;
    let retry: ReturnType<typeof setTimeout> | undefined;
    let tries = 0;
    let ended = false;
    let lostAt: number | null = null;
    let arrived: LogRow[] = [];
    setHoles([]);
    setLink("connecting");
    const flush = setInterval(() => {
      if (arrived.length === 0) return;
      const rows = arrived;
      arrived = [];
      buffer.add(rows, Date.now());
    }, FLUSH_MS);
    const open = (): void => {
      const url = new URL("/api/v1/tail", location.href);
      url.protocol = url.protocol.replace("http", "ws");
      url.searchParams.set("query", query);
      socket = new WebSocket(url, sessionProtocols());
      socket.onopen = () => {
        tries = 0;
        setLink("live");
        if (lostAt !== null) {
          const hole = { from: lostAt, to: Date.now() };
          lostAt = null;
          setHoles((before) => [...before.slice(-9), hole]);
        }
      };
      socket.onmessage = (event) => {
        const message = parseExact(String(event.data)) as Message;
        if (message.type === "record") arrived.push(rowOfObject(message.record));
        else if (message.type === "gap") buffer.missed(message.missed_batches);
      };
      socket.onclose = () => {
        if (ended) return;
        lostAt ??= Date.now();
        setLink("lost");
        retry = setTimeout(open, RETRY_MS[Math.min(tries, RETRY_MS.length - 1)]);
        tries += 1;
      };
    };
    open();
    return () => {
      ended = true;
      clearTimeout(retry);
      clearInterval(flush);
      socket?.close();
    };
  }, [buffer, query, token]);
  return { buffer, link, holes };
}
