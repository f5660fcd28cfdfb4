import { useEffect, useRef, useState } from "react";
import { useLiveAlerts } from "@/live/alerts";
import { announce, isNews } from "./news";

/** Time between two announcements: what comes in between is told together. */
const PAUSE_MS = 5000;

/** Tells of new critical alerts to those who hear the page; politely, so that nothing being read is cut off. */
export function Announcer() {
  const [text, setText] = useState("");
  const gathered = useRef<{ title: string; service: string | null }[]>([]);
  const known = useRef(new Set<string>());
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const tell = (): void => {
      timer = undefined;
      const news = gathered.current;
      gathered.current = [];
      setText(announce(news));
    };
    const ends = useLiveAlerts.subscribe((state, before) => {
      if (state.revision === before.revision) return;
      for (const alert of state.changed) {
        if (!isNews(alert, known.current)) continue;
        if (known.current.size > 5000) known.current.clear();
        known.current.add(alert.id);
        gathered.current.push({ title: alert.title, service: alert.service ?? null });
      }
      if (gathered.current.length > 0) timer ??= setTimeout(tell, PAUSE_MS);
    });
    return () => {
      ends();
      clearTimeout(timer);
    };
  }, []);
  return (
    <div role="log" aria-live="polite" aria-label="New critical alerts" className="sr-only">
      {text}
    </div>
  );
}
