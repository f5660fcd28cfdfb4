/** The first minute: how to send something, and a sign as soon as it is here. */
import { useQueries } from "@tanstack/react-query";
import { Check, CircleCheck, Copy, Radio } from "lucide-react";
import { useState } from "react";
import { client, unwrap } from "@/api/client";
import { ask } from "@/api/query";
import { useUrl } from "@/app/url";
import { useWhoAmI } from "@/app/whoami";
import { num } from "@/features/services/series";
import { cx } from "@/lib/cx";
import { formatNumber } from "@/lib/format";
import { Button, IconButton } from "@/ui/Button";
import { Card } from "@/ui/Card";
import { Spinner } from "@/ui/States";
import { SNIPPETS, type Snippet } from "./snippets";

/** How often it is looked whether something came: for the way that is shown, and for the others. */
const LOOK_MS = 2000;
const LOOK_ELSEWHERE_MS = 15_000;

/** How many records a way has brought within the last day. */
async function came(snippet: Snippet, signal: AbortSignal): Promise<number> {
  if (snippet.finds !== undefined) {
    const answer = await ask({ query: `${snippet.finds} | stats count() as n`, from: "now-24h" }, signal);
    return num(answer.rows[0]?.[0]);
  }
  const of = (door: string) =>
    unwrap(client.GET("/api/v1/receipts", { params: { query: { door, limit: 10 } }, signal }));
  const pages = await Promise.all((snippet.doors ?? []).map(of));
  return pages.flatMap((page) => page.items).reduce((sum, receipt) => sum + receipt.accepted, 0);
}

/** Records that each snippet has brought; null until known. */
function useReceived(shown: string | undefined): (number | null)[] {
  return useQueries({
    queries: SNIPPETS.map((snippet) => ({
      queryKey: ["received", snippet.id],
      queryFn: ({ signal }: { signal: AbortSignal }) => came(snippet, signal),
      // What came once has come: it is not asked for again.
      refetchInterval: (query: { state: { data?: number } }) =>
        query.state.data ? false : snippet.id === shown ? LOOK_MS : LOOK_ELSEWHERE_MS,
    })),
  }).map((query) => query.data ?? null);
}

export function FirstSteps({ onDone, any }: { onDone: () => void; any: boolean }) {
  const { search, set } = useUrl();
  const { data: who } = useWhoAmI();
  const found = SNIPPETS.findIndex((snippet) => snippet.id === search.way);
  const at = Math.max(0, found);
  const snippet = SNIPPETS[at];
  const received = useReceived(snippet?.id);
  const some = received.some((count) => (count ?? 0) > 0);
  const token = who?.auth_enabled ?? false;
  if (!snippet) return null;
  return (
    <div className="mx-auto flex w-full max-w-5xl flex-col gap-4 px-4 pt-4 pb-8">
      <div className="flex flex-col gap-1">
        <p className="text-xl font-semibold text-balance">
          {some || any ? "Records are coming in" : "Nothing has been sent yet: begin with one record"}
        </p>
        <p className="text-sm text-muted">
          Choose a way, copy, run. It is findable as soon as the command has answered, and this page says so by itself.
        </p>
      </div>
      <div className="grid gap-3 sm:grid-cols-[15rem_1fr]">
        <nav aria-label="Ways to send" className="min-w-0">
          <ul className="flex gap-1 max-sm:overflow-x-auto sm:flex-col">
            {SNIPPETS.map((entry, index) => (
              <li key={entry.id} className="shrink-0">
                <button
                  type="button"
                  aria-current={index === at}
                  onClick={() => set({ way: entry.id }, { replace: true })}
                  className={cx(
                    "flex min-h-9 w-full items-center gap-2 rounded-md px-2.5 text-left text-sm whitespace-nowrap sm:whitespace-normal",
                    index === at ? "bg-selected font-medium" : "text-muted hover:bg-hover hover:text-fg",
                  )}
                >
                  <span className="flex-1">{entry.title}</span>
                  {received[index] ? (
                    <span className="flex items-center gap-1 text-xs font-medium text-ok">
                      <Check size={13} aria-hidden /> received
                    </span>
                  ) : null}
                </button>
              </li>
            ))}
          </ul>
        </nav>
        <Step key={snippet.id} snippet={snippet} token={token} received={received[at] ?? null} />
      </div>
      <div className="flex flex-wrap items-center gap-3">
        <Button kind={some || any ? "primary" : "plain"} onClick={onDone}>
          {some || any ? "Go to the overview" : "Show the empty overview"}
        </Button>
        <p className="text-sm text-muted">
          Or let a simulated company send: <code className="font-mono text-xs">heimdall demo</code>
        </p>
      </div>
    </div>
  );
}

function Step({ snippet, token, received }: { snippet: Snippet; token: boolean; received: number | null }) {
  const [copied, setCopied] = useState<"no" | "yes" | "failed">("no");
  const code = snippet.code({ url: location.origin, token });
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(code);
      setCopied("yes");
    } catch {
      setCopied("failed");
    }
    setTimeout(() => setCopied("no"), 2000);
  };
  return (
    <Card
      title={snippet.title}
      padded={false}
      actions={
        <>
          <span role="status" className="text-xs text-muted">
            {copied === "yes" ? "Copied" : copied === "failed" ? "Select the text and copy it" : ""}
          </span>
          <IconButton icon={copied === "yes" ? Check : Copy} label="Copy" onClick={() => void copy()} />
        </>
      }
    >
      <p className="px-3 pt-2 text-sm text-muted">{snippet.hint}</p>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: text that scrolls sideways must be reachable by keyboard */}
      <pre tabIndex={0} className="m-3 overflow-x-auto rounded-md bg-bg p-3 font-mono text-xs leading-5">
        {code}
      </pre>
      {token ? (
        <p className="px-3 pb-2 text-xs text-muted">
          This server asks for a token: <code className="font-mono">heimdall token issue NAME --scopes ingest</code>{" "}
          prints one, or issue it under Admin, then <code className="font-mono">export HEIMDALL_TOKEN=…</code>
        </p>
      ) : null}
      <p
        role="status"
        className={cx(
          "flex items-center gap-2 border-t border-line px-3 py-2 text-sm",
          received ? "bg-ok-soft font-medium text-ok" : "text-muted",
        )}
      >
        {received ? (
          <>
            <CircleCheck size={15} aria-hidden /> received: {formatNumber(received)}{" "}
            {received === 1 ? "record" : "records"}
          </>
        ) : received === null ? (
          <>
            <Spinner /> looking
          </>
        ) : (
          <>
            <Radio size={15} aria-hidden className="animate-pulse" /> waiting for{" "}
            {snippet.finds ? (
              <code className="font-mono text-xs">{snippet.finds}</code>
            ) : (
              <>the first batch through the door {(snippet.doors ?? []).join(", ")}</>
            )}
          </>
        )}
      </p>
    </Card>
  );
}
