import { useInfiniteQuery, useQueryClient } from "@tanstack/react-query";
import { BellOff, Pencil, Plus, Repeat, X } from "lucide-react";
import { useState } from "react";
import { useUrl } from "@/app/url";
import { formatAgo, formatTime, useZone, zoneName } from "@/lib/time";
import { Button, IconButton } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Segmented } from "@/ui/Field";
import { Badge } from "@/ui/Severity";
import { Empty, Remote } from "@/ui/States";
import { toast } from "@/ui/Toasts";
import { expireSilence, getSilences, type Silence } from "./api";
import { Preview } from "./Preview";
import { SilenceDialog } from "./SilenceDialog";
import { type Draft, draftNew, draftOf, recurrenceWords } from "./silence";

const BETWEEN = "\u001f";

export function Silences({ disabled }: { disabled: string | null }) {
  const { search, set } = useUrl();
  const queries = useQueryClient();
  const state = search.state ?? "active,pending";
  // `?new=service="x"` opens the form with these matchers: pages link here to keep something quiet.
  const wanted = search.new?.split(BETWEEN).filter(Boolean);
  const [draft, setDraft] = useState<Draft | null>(() =>
    search.new === undefined ? null : draftNew(Date.now(), zoneName("local"), wanted),
  );
  const [ending, setEnding] = useState<Silence | null>(null);
  const query = useInfiniteQuery({
    queryKey: ["silences", state],
    queryFn: ({ pageParam, signal }) => getSilences(state, pageParam, signal),
    initialPageParam: null as string | null,
    getNextPageParam: (page: { next: string | null }) => page.next,
    refetchInterval: 15_000,
    maxPages: 10,
  });
  const items = query.data?.pages.flatMap((page) => page.items) ?? [];
  const expire = (silence: Silence): void => {
    setEnding(null);
    expireSilence(silence.id)
      .then(() => toast.ok("The silence is over"))
      .catch((error: unknown) => toast.failed(error))
      .finally(() => void queries.invalidateQueries({ queryKey: ["silences"] }));
  };
  return (
    <div className="flex flex-col gap-3 p-4">
      <div className="flex flex-wrap items-center gap-2">
        <div className="max-w-full overflow-x-auto">
          <Segmented
            label="State"
            value={state}
            onChange={(next) => set({ state: next === "active,pending" ? undefined : next })}
            options={[
              { value: "active,pending", label: "In force and to come" },
              { value: "active", label: "In force" },
              { value: "pending", label: "To come" },
              { value: "expired", label: "Over" },
            ]}
          />
        </div>
        <Button
          kind="primary"
          icon={Plus}
          className="ml-auto"
          disabled={disabled !== null}
          title={disabled ?? undefined}
          onClick={() => setDraft(draftNew(Date.now(), zoneName("local")))}
        >
          New silence
        </Button>
      </div>
      <Remote
        of={query}
        empty={{
          when: () => items.length === 0,
          show: (
            <Empty icon={BellOff} title={state === "expired" ? "None has ended lately" : "Nothing is kept quiet"}>
              A silence keeps quiet about every alert that passes its matchers, for a while; a maintenance window may
              come every week.
            </Empty>
          ),
        }}
      >
        {() => (
          <ul className="flex flex-col gap-2">
            {items.map((silence) => (
              <SilenceLine
                key={silence.id}
                silence={silence}
                disabled={disabled}
                onEdit={() => setDraft(draftOf(silence, Date.now(), zoneName("local")))}
                onExpire={() => setEnding(silence)}
              />
            ))}
          </ul>
        )}
      </Remote>
      {query.hasNextPage ? (
        <Button className="self-center" busy={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>
          More
        </Button>
      ) : null}
      {draft ? (
        <SilenceDialog
          draft={draft}
          onClose={() => {
            setDraft(null);
            if (search.new !== undefined) set({ new: undefined }, { replace: true });
          }}
        />
      ) : null}
      <Dialog
        open={ending !== null}
        onOpenChange={(open) => !open && setEnding(null)}
        title="End the silence now?"
        description="People are told again of these, if they are still on:"
        footer={
          <>
            <Button onClick={() => setEnding(null)}>Leave it</Button>
            <Button kind="danger" onClick={() => ending && expire(ending)}>
              End it
            </Button>
          </>
        }
      >
        {ending ? (
          <div className="flex flex-col gap-2">
            <Matchers matchers={ending.matchers} />
            <Preview matchers={ending.matchers} />
          </div>
        ) : null}
      </Dialog>
    </div>
  );
}

function Matchers({ matchers }: { matchers: readonly string[] }) {
  return (
    <span className="flex flex-wrap gap-1">
      {matchers.map((matcher) => (
        <code key={matcher} className="rounded bg-hover px-1.5 font-mono text-xs break-all">
          {matcher}
        </code>
      ))}
    </span>
  );
}

function SilenceLine({
  silence,
  disabled,
  onEdit,
  onExpire,
}: {
  silence: Silence;
  disabled: string | null;
  onEdit: () => void;
  onExpire: () => void;
}) {
  const zone = useZone((state) => state.zone);
  const over = silence.state === "expired";
  return (
    <li className="flex flex-wrap items-start gap-x-3 gap-y-1.5 rounded-lg border border-line bg-surface px-3 py-2 text-sm">
      <div className="flex min-w-0 flex-1 basis-64 flex-col gap-1">
        <span className="flex flex-wrap items-center gap-1.5">
          <Badge tone={silence.state === "active" ? "accent" : silence.state === "pending" ? "info" : "quiet"}>
            {silence.state === "active" ? "in force" : silence.state === "pending" ? "to come" : "over"}
          </Badge>
          {silence.kind === "maintenance" ? <Badge>maintenance</Badge> : null}
          <Matchers matchers={silence.matchers} />
        </span>
        <p className="break-words text-muted">
          {silence.comment} <span className="text-faint">— {silence.created_by}</span>
        </p>
      </div>
      <div className="text-xs text-muted">
        <p className="tnum">
          {formatTime(silence.starts_at, zone, "minute")} – {formatTime(silence.ends_at, zone, "minute")}
        </p>
        <p>
          {over
            ? `ended ${formatAgo(silence.ends_at)} ago`
            : silence.state === "pending"
              ? `begins ${formatAgo(silence.starts_at)}`
              : `ends ${formatAgo(silence.ends_at)}`}
        </p>
        {silence.recurrence ? (
          <p className="flex items-center gap-1">
            <Repeat size={12} aria-hidden /> {recurrenceWords(silence.recurrence)}
          </p>
        ) : null}
      </div>
      <div className="flex gap-1">
        <IconButton
          icon={Pencil}
          size="sm"
          label={over ? "Make it again" : "Change it"}
          disabled={disabled !== null}
          onClick={onEdit}
        />
        {over ? null : (
          <IconButton icon={X} size="sm" label="End it now" disabled={disabled !== null} onClick={onExpire} />
        )}
      </div>
    </li>
  );
}
