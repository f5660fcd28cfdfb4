import { useQuery } from "@tanstack/react-query";
import { CircleCheck, Send, UserRound, Users } from "lucide-react";
import { useState } from "react";
import { asApiError } from "@/api/problem";
import { Button } from "@/ui/Button";
import { Badge } from "@/ui/Severity";
import { Empty, Remote } from "@/ui/States";
import { getReceivers, type Receiver, type TestResult, testReceiver } from "./api";

/** Who can be told, over which channels, and whether those work. */
export function Receivers({ disabled }: { disabled: string | null }) {
  const query = useQuery({
    queryKey: ["receivers"],
    queryFn: ({ signal }) => getReceivers(signal),
    refetchInterval: 10_000,
  });
  return (
    <div className="p-4">
      <Remote
        of={query}
        empty={{
          when: (items) => items.length === 0,
          show: (
            <Empty icon={Users} title="Nobody is told yet">
              Set <code className="font-mono">SLACK_WEBHOOK_URL</code> for a start, or name a routing file in{" "}
              <code className="font-mono">alerts.routing_file</code>: an Alertmanager's does.
            </Empty>
          ),
        }}
      >
        {(items) => (
          <ul className="grid gap-3 md:grid-cols-2 lg:grid-cols-3">
            {items.map((receiver) => (
              <ReceiverCard key={receiver.name} receiver={receiver} disabled={disabled} />
            ))}
          </ul>
        )}
      </Remote>
    </div>
  );
}

function ReceiverCard({ receiver, disabled }: { receiver: Receiver; disabled: string | null }) {
  const [busy, setBusy] = useState(false);
  const [results, setResults] = useState<TestResult[] | string | null>(null);
  const test = (): void => {
    setBusy(true);
    setResults(null);
    testReceiver(receiver.name)
      .then(setResults)
      .catch((error: unknown) => setResults(asApiError(error).detail))
      .finally(() => setBusy(false));
  };
  const down = receiver.channels.filter((channel) => channel.is_down).length;
  return (
    <li className="flex flex-col gap-2 rounded-lg border border-line bg-surface p-3 text-sm">
      <div className="flex items-center gap-2">
        <h2 className="min-w-0 flex-1 truncate font-semibold">{receiver.name}</h2>
        <Badge tone={down > 0 ? "critical" : "ok"}>
          {down > 0 ? `${down} of ${receiver.channels.length} down` : "works"}
        </Badge>
      </div>
      <ul className="flex flex-wrap gap-1">
        {receiver.channels.map((channel, at) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: a receiver may have two channels of a kind
          <li key={at}>
            <Badge tone={channel.is_down ? "critical" : "quiet"}>
              {channel.kind}
              {channel.is_down ? ": does not take notices" : ""}
            </Badge>
          </li>
        ))}
      </ul>
      {receiver.people.length > 0 ? (
        <p className="flex items-center gap-1.5 text-muted">
          <UserRound size={13} aria-hidden /> now for {receiver.people.join(", ")}
        </p>
      ) : null}
      {receiver.folded > 0 ? (
        <p className="text-muted">{receiver.folded.toLocaleString("en-US")} groups wait for its next digest</p>
      ) : null}
      <div className="mt-auto flex flex-col gap-1.5">
        <Button
          size="sm"
          icon={Send}
          busy={busy}
          disabled={disabled !== null}
          title={disabled ?? undefined}
          className="self-start"
          onClick={test}
        >
          Send a test message
        </Button>
        <div role="status" className="flex flex-col gap-0.5 text-xs">
          {typeof results === "string" ? <p className="text-critical">{results}</p> : null}
          {Array.isArray(results)
            ? results.map((result) => (
                <p
                  key={result.channel}
                  className={result.error ? "break-words text-critical" : "flex items-center gap-1 text-ok"}
                >
                  {result.error ? null : <CircleCheck size={12} aria-hidden />}
                  {result.channel}: {result.error ?? "taken"}
                </p>
              ))
            : null}
        </div>
      </div>
    </li>
  );
}
