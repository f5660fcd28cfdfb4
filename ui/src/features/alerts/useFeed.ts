/** Keeps a `Feed` filled: pages on demand, live changes as they come. */
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { type ApiError, asApiError } from "@/api/problem";
import { useLiveAlerts } from "@/live/alerts";
import { listAlerts } from "./api";
import { Feed } from "./feed";
import type { AlertFilter } from "./filter";
import { rowOf } from "./model";

export interface FeedState {
  feed: Feed;
  phase: "loading" | "ready" | "failed";
  error: ApiError | null;
  /** Rows of another filter are shown while those of this one are on their way. */
  isOld: boolean;
  more: "idle" | "loading" | "failed";
  loadMore: () => void;
  reload: () => void;
  release: () => void;
  /** Draw again after the feed was changed from outside. */
  touch: () => void;
  /** Whether new rows wait instead of moving those that are read. */
  hold: React.RefObject<boolean>;
}

export function useFeed(filter: AlertFilter): FeedState {
  const key = JSON.stringify(filter);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the key says all of the filter
  const feed = useMemo(() => new Feed(filter), [key]);
  const [shown, setShown] = useState(feed);
  const [phase, setPhase] = useState<FeedState["phase"]>("loading");
  const [error, setError] = useState<ApiError | null>(null);
  const [more, setMore] = useState<FeedState["more"]>("idle");
  const [, setVersion] = useState(0);
  const [asked, setAsked] = useState(0);
  const touch = useCallback(() => setVersion((version) => version + 1), []);
  const hold = useRef(false);
  const paging = useRef<AbortController | null>(null);

  useEffect(
    () =>
      useLiveAlerts.subscribe((state, before) => {
        if (state.revision === before.revision) return;
        // After the first snapshot another one means that changes may have been missed in between.
        if (state.snapshots > before.snapshots && before.snapshots > 0) feed.stale = true;
        const alerts = state.snapshots > before.snapshots ? [...state.alerts.values()] : state.changed;
        if (feed.change(alerts.map(rowOf), hold.current, Date.now()) || feed.stale) touch();
      }),
    [feed, touch],
  );

  // biome-ignore lint/correctness/useExhaustiveDependencies: asking again loads the first page again
  useEffect(() => {
    const abort = new AbortController();
    paging.current?.abort();
    setPhase("loading");
    setMore("idle");
    listAlerts(feed.filter, null, abort.signal)
      .then((page) => {
        feed.load(page.rows, page.next, Date.now());
        setShown(feed);
        setError(null);
        setPhase("ready");
      })
      .catch((failure: unknown) => {
        if (abort.signal.aborted) return;
        setError(asApiError(failure));
        setPhase("failed");
      });
    return () => abort.abort();
  }, [feed, asked]);

  const loadMore = useCallback(() => {
    if (!feed.next || paging.current) return;
    const abort = new AbortController();
    paging.current = abort;
    setMore("loading");
    listAlerts(feed.filter, feed.next, abort.signal)
      .then((page) => {
        if (abort.signal.aborted) return;
        feed.append(page.rows, page.next);
        setMore("idle");
      })
      .catch(() => {
        if (!abort.signal.aborted) setMore("failed");
      })
      .finally(() => {
        if (paging.current === abort) paging.current = null;
      });
  }, [feed]);
  useEffect(
    () => () => {
      paging.current?.abort();
      paging.current = null;
    },
    [],
  );

  const reload = useCallback(() => setAsked((count) => count + 1), []);
  const release = useCallback(() => {
    if (feed.overflows || feed.stale) reload();
    else feed.release();
    touch();
  }, [feed, reload, touch]);

  return { feed: shown, phase, error, isOld: shown !== feed, more, loadMore, reload, release, touch, hold };
}
