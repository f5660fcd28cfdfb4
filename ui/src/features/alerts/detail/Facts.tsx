import { Link } from "@tanstack/react-router";
import { type FormEvent, type ReactNode, useState } from "react";
import { useWhoAmI } from "@/app/whoami";
import { formatSeconds } from "@/lib/format";
import { formatAgo, formatTime, useZone } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Card } from "@/ui/Card";
import { Input, Select } from "@/ui/Field";
import { Badge } from "@/ui/Severity";
import { assignAlert, setPriority } from "../api";
import { type AlertDetail, PRIORITIES } from "../model";
import type { Change } from "./types";

/** What, where, since when, whose. */
export function Facts({ alert, change, disabled }: { alert: AlertDetail; change: Change; disabled: string | null }) {
  const zone = useZone((state) => state.zone);
  const time = (at: string): ReactNode => (
    <time dateTime={at} className="tnum" title={`${formatAgo(at)} ago`}>
      {formatTime(at, zone)}
    </time>
  );
  const lasted = (Date.parse(alert.last_seen) - Date.parse(alert.first_seen)) / 1000;
  return (
    <Card title="Facts">
      <dl className="grid grid-cols-[5.5rem_1fr] items-center gap-x-3 gap-y-2 text-sm">
        <Fact name="Service">
          {alert.service ? (
            <Link
              to="/services/$service"
              params={{ service: alert.service }}
              className="font-medium text-accent hover:underline"
            >
              {alert.service}
            </Link>
          ) : (
            <span className="text-faint">none</span>
          )}
        </Fact>
        <Fact name="About">
          <Link
            to="/alerts"
            search={{ entity: `${alert.entity.kind}:${alert.entity.value}`, status: "all" } as never}
            className="break-all hover:underline"
            title="All alerts about it"
          >
            <span className="text-muted">{alert.entity.kind}</span> {alert.entity.value}
          </Link>
        </Fact>
        <Fact name="Rule">
          <Link
            to="/alerts"
            search={{ rule: alert.rule, status: "all" } as never}
            className="break-all hover:underline"
            title="All alerts of this rule"
          >
            {alert.rule}
          </Link>{" "}
          <span className="text-xs text-faint">by {alert.detector}</span>
        </Fact>
        <Fact name="First seen">{time(alert.first_seen)}</Fact>
        <Fact name="Last seen">
          {time(alert.last_seen)}{" "}
          <span className="text-xs text-faint">{lasted >= 1 ? `over ${formatSeconds(lasted)}` : ""}</span>
        </Fact>
        <Fact name="Findings">
          <span className="tnum">{alert.count.toLocaleString("en-US")}</span>
        </Fact>
        <Fact name="Incident">
          {alert.incident ? (
            <Link to="/incidents/$id" params={{ id: alert.incident }} className="text-accent hover:underline">
              Open the incident
            </Link>
          ) : (
            <span className="text-faint">none</span>
          )}
        </Fact>
        <Fact name="Priority">
          <Select
            aria-label="Priority"
            value={alert.priority}
            disabled={disabled !== null}
            title={disabled ?? undefined}
            onChange={(event) => {
              const next = PRIORITIES.find((priority) => priority === event.target.value);
              if (next) void change({ priority: next }, () => setPriority(alert.id, next));
            }}
            options={PRIORITIES.map((value) => ({ value, label: value }))}
          />
        </Fact>
        <Fact name="Assignee">
          <Assign alert={alert} change={change} disabled={disabled} />
        </Fact>
        {alert.notified.length > 0 ? (
          <Fact name="Told">
            <span className="break-words">{alert.notified.join(", ")}</span>
          </Fact>
        ) : null}
        {alert.ends_at ? <Fact name="Ends">{time(alert.ends_at)}</Fact> : null}
      </dl>
      <Pairs name="Labels" pairs={alert.labels} link />
      <Pairs name="Annotations" pairs={alert.annotations} />
    </Card>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <>
      <dt className="text-xs text-muted">{name}</dt>
      <dd className="min-w-0">{children}</dd>
    </>
  );
}

function Assign({ alert, change, disabled }: { alert: AlertDetail; change: Change; disabled: string | null }) {
  const me = useWhoAmI().data?.principal;
  const [editing, setEditing] = useState(false);
  const [name, setName] = useState("");
  const give = (assignee: string | null): void => {
    setEditing(false);
    void change({ assignee }, () => assignAlert(alert.id, assignee));
  };
  if (editing)
    return (
      <form
        className="flex gap-1"
        onSubmit={(event: FormEvent) => {
          event.preventDefault();
          give(name.trim() || null);
        }}
      >
        <Input
          aria-label="Assignee"
          autoFocus
          value={name}
          maxLength={100}
          placeholder="nobody"
          onChange={(event) => setName(event.target.value)}
          onKeyDown={(event) => event.key === "Escape" && setEditing(false)}
        />
        <Button type="submit" kind="primary">
          Set
        </Button>
      </form>
    );
  return (
    <span className="flex flex-wrap items-center gap-1">
      <span className={alert.assignee ? "" : "text-faint"}>{alert.assignee ?? "nobody"}</span>
      <Button
        kind="ghost"
        size="sm"
        disabled={disabled !== null}
        title={disabled ?? undefined}
        onClick={() => {
          setName(alert.assignee ?? "");
          setEditing(true);
        }}
      >
        Change
      </Button>
      {me && alert.assignee !== me ? (
        <Button kind="ghost" size="sm" disabled={disabled !== null} onClick={() => give(me)}>
          Take it
        </Button>
      ) : null}
    </span>
  );
}

function Pairs({ name, pairs, link }: { name: string; pairs: Record<string, string>; link?: boolean }) {
  const entries = Object.entries(pairs);
  if (entries.length === 0) return null;
  return (
    <div className="mt-3 border-t border-line pt-2">
      <h3 className="mb-1 text-xs font-medium text-muted">{name}</h3>
      <ul className={link ? "flex flex-wrap gap-1" : "flex flex-col gap-1 text-sm"}>
        {entries.map(([key, value]) =>
          link ? (
            <li key={key} className="max-w-full">
              <Link
                to="/alerts"
                search={{ match: `${key}="${value.replace(/[\\"]/g, "\\$&")}"`, status: "all" } as never}
                title="All alerts with this label"
              >
                <Badge>
                  <span className="max-w-64 truncate">
                    {key}={value}
                  </span>
                </Badge>
              </Link>
            </li>
          ) : (
            <li key={key} className="break-words">
              <span className="text-muted">{key}: </span>
              {value}
            </li>
          ),
        )}
      </ul>
    </div>
  );
}
