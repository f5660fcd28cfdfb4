import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { ArrowLeft, SearchX } from "lucide-react";
import { type FormEvent, useEffect, useId, useState } from "react";
import type { ApiError } from "@/api/problem";
import { useUrl } from "@/app/url";
import { useCan, useWhoAmI } from "@/app/whoami";
import { formatSeconds } from "@/lib/format";
import { useShortcuts } from "@/lib/keys";
import { formatTime, useZone } from "@/lib/time";
import { useLiveAlerts } from "@/live/alerts";
import { Button } from "@/ui/Button";
import { Card, PageHeader, Stat } from "@/ui/Card";
import { Dialog } from "@/ui/Dialog";
import { Field, Input, Switch, TextArea } from "@/ui/Field";
import { Badge, SeverityBadge } from "@/ui/Severity";
import { Empty, Failed, Skeleton } from "@/ui/States";
import { Tabs } from "@/ui/Tabs";
import { toast } from "@/ui/Toasts";
import { listAlerts } from "../alerts/api";
import { filterOf } from "../alerts/filter";
import type { AlertRow } from "../alerts/model";
import {
  addAlert,
  assignIncident,
  commentIncident,
  getIncident,
  type IncidentDetail,
  type IncidentStep,
  removeAlert,
  stepIncident,
} from "./api";
import { EntityGraph } from "./EntityGraph";
import { IncidentAlerts } from "./IncidentAlerts";
import { IncidentTimeline } from "./IncidentTimeline";
import { PostMortem } from "./PostMortem";
import { INCIDENT_STEPS, lasted, STEP_ORDER } from "./steps";

const ALERTS_MAX = 500;
const NO_ROWS: AlertRow[] = [];
/** Least time between two looks because of live changes. */
const LOOK_MS = 5000;

export function IncidentPage() {
  const { id = "" } = useParams({ strict: false }) as { id?: string };
  const query = useQuery<IncidentDetail, ApiError>({
    queryKey: ["incident", id],
    queryFn: ({ signal }) => getIncident(id, signal),
    refetchInterval: 15_000,
  });
  if (query.data) return <Loaded key={query.data.id} incident={query.data} path={id} />;
  if (!query.isError) return <Skeleton rows={10} />;
  return (
    <>
      <PageHeader title="Incident" />
      {query.error.status === 404 || query.error.status === 400 ? (
        <Empty
          icon={SearchX}
          title="There is no such incident"
          action={
            <Link to="/incidents" className="text-accent hover:underline">
              All incidents
            </Link>
          }
        />
      ) : (
        <Failed error={query.error} onRetry={() => void query.refetch()} />
      )}
    </>
  );
}

function Loaded({ incident, path }: { incident: IncidentDetail; path: string }) {
  const queries = useQueryClient();
  const { search, set } = useUrl();
  const [asked, setAsked] = useState<IncidentStep | null>(null);
  const can = useCan("alerts:write");
  const disabled = can ? null : "It needs a token with the scope alerts:write";
  const alerts = useQuery({
    queryKey: ["alerts", "incident", incident.id, "all"],
    queryFn: ({ signal }) =>
      listAlerts(filterOf({ incident: incident.id, status: "all", sort: "worst" }), null, signal, ALERTS_MAX),
    refetchInterval: 15_000,
  });
  const refresh = (): void => {
    void queries.invalidateQueries({ queryKey: ["incident", path] });
    void queries.invalidateQueries({ queryKey: ["alerts", "incident", incident.id] });
    void queries.invalidateQueries({ queryKey: ["incidents"] });
    void queries.invalidateQueries({ queryKey: ["summary"] });
  };
  useLiveLook(incident.id, refresh);
  const run = async (request: () => Promise<void>, done: string): Promise<boolean> => {
    try {
      await request();
      toast.ok(done);
      return true;
    } catch (error) {
      toast.failed(error);
      return false;
    } finally {
      refresh();
    }
  };
  const ask = (step: IncidentStep) => (): void => {
    if (can && INCIDENT_STEPS[step].from.includes(incident.status)) setAsked(step);
  };
  useShortcuts({ a: ask("acknowledge"), e: ask("resolve"), o: ask("reopen") });
  const rows = alerts.data?.rows ?? NO_ROWS;
  const overview = (
    <div className="grid min-w-0 gap-3 p-4 md:grid-cols-[minmax(0,1fr)_minmax(0,24rem)] lg:grid-cols-[minmax(0,1fr)_minmax(0,30rem)]">
      <div className="flex min-w-0 flex-col gap-3">
        <IncidentTimeline
          incident={incident}
          disabled={disabled}
          onComment={(text) => run(() => commentIncident(incident.id, text), "The comment was added")}
        />
      </div>
      <div className="flex min-w-0 flex-col gap-3">
        <IncidentAlerts
          number={incident.number}
          rows={rows}
          count={incident.alert_count}
          disabled={disabled}
          onAdd={(id) => run(() => addAlert(incident.id, id), "The alert was added")}
          onRemove={(row) => void run(() => removeAlert(incident.id, row.id), `${row.title} was taken out`)}
        />
        <EntityGraph alerts={rows} />
      </div>
    </div>
  );
  return (
    <div className="flex min-w-0 flex-col">
      <PageHeader
        title={
          <span className="flex flex-wrap items-center gap-2">
            <Link
              to="/incidents"
              aria-label="All incidents"
              className="rounded p-1 text-muted hover:bg-hover hover:text-fg"
            >
              <ArrowLeft size={16} aria-hidden />
            </Link>
            <span className="text-muted">#{incident.number}</span> {incident.title}
          </span>
        }
        hint={
          <span className="flex flex-wrap items-center gap-1.5">
            <SeverityBadge of={incident.severity} />
            <SeverityBadge of={incident.status} />
            <Badge>{incident.priority}</Badge>
          </span>
        }
        actions={STEP_ORDER.filter((step) => INCIDENT_STEPS[step].from.includes(incident.status)).map((step) => (
          <Button
            key={step}
            kind={step === "acknowledge" ? "primary" : "plain"}
            disabled={disabled !== null}
            title={disabled ?? undefined}
            onClick={ask(step)}
          >
            {INCIDENT_STEPS[step].label}…
          </Button>
        ))}
      >
        <Figures
          incident={incident}
          disabled={disabled}
          onOwner={(owner) =>
            void run(() => assignIncident(incident.id, owner), owner ? `${owner} owns it` : "Nobody owns it")
          }
        />
      </PageHeader>
      <Tabs
        label="Incident"
        value={search.tab === "postmortem" ? "postmortem" : "overview"}
        onChange={(tab) => set({ tab: tab === "overview" ? undefined : tab })}
        tabs={[
          { value: "overview", label: "Overview", content: overview },
          {
            value: "postmortem",
            label: "Post-mortem",
            content: <PostMortem id={incident.id} number={incident.number} />,
          },
        ]}
      />
      {asked ? (
        <StepDialog
          incident={incident}
          step={asked}
          onClose={() => setAsked(null)}
          onTake={(note, withAlerts) => {
            setAsked(null);
            void run(
              () => stepIncident(incident.id, asked, note, withAlerts),
              `Incident ${incident.number} is ${INCIDENT_STEPS[asked].done}`,
            );
          }}
        />
      ) : null}
    </div>
  );
}

/** Looks again when an alert of the incident changed, not more often than every few seconds. */
function useLiveLook(incident: string, look: () => void): void {
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ends = useLiveAlerts.subscribe((state, before) => {
      if (state.revision === before.revision || !state.changed.some((alert) => alert.incident === incident)) return;
      timer ??= setTimeout(() => {
        timer = undefined;
        look();
      }, LOOK_MS);
    });
    return () => {
      ends();
      clearTimeout(timer);
    };
  });
}

function Figures({
  incident,
  disabled,
  onOwner,
}: {
  incident: IncidentDetail;
  disabled: string | null;
  onOwner: (owner: string | null) => void;
}) {
  const zone = useZone((state) => state.zone);
  return (
    <Card>
      <div className="grid grid-cols-2 gap-3 sm:grid-cols-3 lg:grid-cols-6">
        <Stat
          label="First sign"
          value={<span className="text-base">{formatTime(incident.began_at, zone, "minute")}</span>}
        />
        <Stat
          label={incident.resolved_at ? "Lasted" : "Lasts"}
          value={<span className="text-base">{formatSeconds(lasted(incident, Date.now()))}</span>}
        />
        <Stat
          label="Alerts"
          value={<span className="text-base">{incident.alert_count.toLocaleString("en-US")}</span>}
        />
        <Stat
          label="Services"
          value={
            <span className="text-base" title={incident.services.join(", ")}>
              {incident.services.length === 1 ? incident.services[0] : incident.services.length}
            </span>
          }
        />
        <Stat
          label="Last change"
          value={<span className="text-base">{formatTime(incident.last_at, zone, "minute")}</span>}
        />
        <Owner owner={incident.owner ?? null} disabled={disabled} onOwner={onOwner} />
      </div>
    </Card>
  );
}

function Owner({
  owner,
  disabled,
  onOwner,
}: {
  owner: string | null;
  disabled: string | null;
  onOwner: (owner: string | null) => void;
}) {
  const me = useWhoAmI().data?.principal;
  const [editing, setEditing] = useState(false);
  const [name, setName] = useState("");
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    setEditing(false);
    onOwner(name.trim() || null);
  };
  return (
    <div className="min-w-0">
      <div className="text-xs text-muted">Owner</div>
      {editing ? (
        <form onSubmit={submit} className="flex gap-1">
          <Input
            aria-label="Owner"
            autoFocus
            value={name}
            maxLength={100}
            placeholder="nobody"
            onChange={(event) => setName(event.target.value)}
            onKeyDown={(event) => event.key === "Escape" && setEditing(false)}
          />
          <Button type="submit" kind="primary" size="sm">
            Set
          </Button>
        </form>
      ) : (
        <span className="flex flex-wrap items-center gap-1">
          <span className={owner ? "truncate text-base font-semibold" : "text-base text-faint"}>
            {owner ?? "nobody"}
          </span>
          <Button
            kind="ghost"
            size="sm"
            disabled={disabled !== null}
            title={disabled ?? undefined}
            onClick={() => {
              setName(owner ?? "");
              setEditing(true);
            }}
          >
            Change
          </Button>
          {me && me !== owner ? (
            <Button kind="ghost" size="sm" disabled={disabled !== null} onClick={() => onOwner(me)}>
              Take it
            </Button>
          ) : null}
        </span>
      )}
    </div>
  );
}

function StepDialog({
  incident,
  step,
  onClose,
  onTake,
}: {
  incident: IncidentDetail;
  step: IncidentStep;
  onClose: () => void;
  onTake: (note: string, alerts: boolean) => void;
}) {
  const form = useId();
  const [note, setNote] = useState("");
  const [withAlerts, setWithAlerts] = useState(true);
  const words = INCIDENT_STEPS[step];
  return (
    <Dialog
      open
      onOpenChange={(open) => !open && onClose()}
      title={`${words.label} incident ${incident.number}`}
      description={incident.title}
      footer={
        <>
          <Button onClick={onClose}>Leave it</Button>
          <Button kind="primary" type="submit" form={form}>
            {words.label}
          </Button>
        </>
      }
    >
      <form
        id={form}
        className="flex flex-col gap-3"
        onSubmit={(event) => {
          event.preventDefault();
          onTake(note.trim(), withAlerts);
        }}
      >
        <div className="flex items-center gap-2 text-sm">
          <Switch checked={withAlerts} onChange={setWithAlerts} label={`${words.label} its alerts too`} />
          <span>
            {words.label} its {incident.alert_count.toLocaleString("en-US")}{" "}
            {incident.alert_count === 1 ? "alert" : "alerts"} too
          </span>
        </div>
        <Field label="Note" hint="Kept in the timeline.">
          {(ids) => (
            <TextArea
              {...ids}
              autoFocus
              rows={3}
              maxLength={2000}
              value={note}
              onChange={(event) => setNote(event.target.value)}
            />
          )}
        </Field>
      </form>
    </Dialog>
  );
}
