import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Copy, KeyRound, Plus } from "lucide-react";
import { type FormEvent, useState } from "react";
import { client, type Schemas, unwrap } from "@/api/client";
import { usePages } from "@/api/pages";
import { asApiError } from "@/api/problem";
import { useCan, useWhoAmI } from "@/app/whoami";
import { copyText } from "@/lib/copy";
import { formatAgo, formatTime, useZone } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Field, Input, Select } from "@/ui/Field";
import { Badge } from "@/ui/Severity";
import { Empty, Failed, Partial, Skeleton } from "@/ui/States";
import { Table } from "@/ui/Table";
import { toast } from "@/ui/Toasts";

type Token = Schemas["Token"];

const PATH = "/api/v1/tokens";

/** How a token stands now. */
export function tokenState(
  token: Pick<Token, "revoked_at" | "expires_at">,
  now: number = Date.now(),
): "valid" | "expired" | "revoked" {
  if (token.revoked_at) return "revoked";
  return token.expires_at && Date.parse(token.expires_at) <= now ? "expired" : "valid";
}

/** Tokens and technicians: issue, see, revoke. */
export function Tokens() {
  const can = useCan("admin");
  const who = useWhoAmI();
  const zone = useZone((state) => state.zone);
  const { query, items, more } = usePages<Token>(PATH, { limit: 200 }, { refreshMs: 15_000 });
  const [issuing, setIssuing] = useState(false);
  const [revoking, setRevoking] = useState<Token | null>(null);
  return (
    <div className="flex h-full min-h-0 flex-col">
      {who.data && !who.data.auth_enabled ? (
        <Partial
          warnings={[
            "Nobody needs a token here: whoever reaches this address may do everything. Set auth.enabled, or start with --auth.",
          ]}
        />
      ) : null}
      <div className="flex flex-wrap items-center gap-2 border-b border-line px-3 py-2">
        <p className="min-w-0 text-sm text-muted">
          A token says who is asking and what they may do. Technicians use one with the scope watch.
        </p>
        <Button
          kind="primary"
          icon={Plus}
          className="ml-auto"
          disabled={!can}
          title={can ? undefined : "Needs the scope admin"}
          onClick={() => setIssuing(true)}
        >
          Issue a token
        </Button>
      </div>
      {query.isPending ? (
        <Skeleton />
      ) : query.isError && items.length === 0 ? (
        <Failed error={query.error} onRetry={() => void query.refetch()} />
      ) : items.length === 0 ? (
        <Empty icon={KeyRound} title="No tokens" />
      ) : (
        <Table<Token>
          label="Tokens"
          rows={items}
          keyOf={(token) => token.id}
          onEnd={more}
          rowHeight={36}
          rowClass={(token) => (tokenState(token) === "valid" ? undefined : "opacity-60")}
          columns={[
            {
              id: "name",
              header: "Name",
              width: "minmax(8rem,1fr)",
              cell: (token) => <span className="font-medium">{token.name}</span>,
            },
            {
              id: "state",
              header: "State",
              width: "6rem",
              cell: (token) => {
                const state = tokenState(token);
                return <Badge tone={state === "valid" ? "ok" : "quiet"}>{state}</Badge>;
              },
            },
            {
              id: "scopes",
              header: "May",
              width: "minmax(8rem,1fr)",
              from: "sm",
              cell: (token) => <span className="text-muted">{token.scopes.join(", ")}</span>,
            },
            {
              id: "tenant",
              header: "Tenant",
              width: "8rem",
              from: "md",
              cell: (token) => token.tenant ?? <span className="text-muted">every tenant</span>,
            },
            {
              id: "used",
              header: "Last used",
              width: "6.5rem",
              from: "sm",
              cell: (token) =>
                token.last_used_at ? (
                  <span title={formatTime(token.last_used_at, zone)}>{formatAgo(token.last_used_at)} ago</span>
                ) : (
                  <span className="text-muted">never</span>
                ),
            },
            {
              id: "expires",
              header: "Expires",
              width: "7rem",
              from: "sm",
              cell: (token) =>
                token.expires_at ? (
                  <span title={formatTime(token.expires_at, zone)}>{formatAgo(token.expires_at)}</span>
                ) : (
                  <span className="text-muted">never</span>
                ),
            },
            {
              id: "by",
              header: "Issued by",
              width: "8rem",
              from: "lg",
              cell: (token) => <span className="text-muted">{token.created_by}</span>,
            },
            {
              id: "do",
              header: <span className="sr-only">Actions</span>,
              width: "6rem",
              align: "right",
              cell: (token) =>
                tokenState(token) === "valid" ? (
                  <Button
                    size="sm"
                    kind="danger"
                    disabled={!can}
                    title={can ? undefined : "Needs the scope admin"}
                    aria-label={`Revoke ${token.name}`}
                    onClick={() => setRevoking(token)}
                  >
                    Revoke
                  </Button>
                ) : null,
            },
          ]}
        />
      )}
      {issuing ? <Issue onClose={() => setIssuing(false)} /> : null}
      {revoking ? <Revoke token={revoking} onClose={() => setRevoking(null)} /> : null}
    </div>
  );
}

const SCOPES: { value: string; what: string }[] = [
  { value: "read", what: "queries, lists, live views, status" },
  { value: "ingest", what: "sending records" },
  { value: "alerts:write", what: "acknowledge, suppress, approve" },
  { value: "watch", what: "alerts, listed and live; the technician port" },
  { value: "admin", what: "everything" },
];

const LIVES = [
  { value: "8h", label: "8 hours" },
  { value: "7d", label: "7 days" },
  { value: "90d", label: "90 days" },
  { value: "365d", label: "a year" },
  { value: "", label: "never" },
];

function Issue({ onClose }: { onClose: () => void }) {
  const queries = useQueryClient();
  const who = useWhoAmI();
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState<string[]>(["read"]);
  const [life, setLife] = useState("90d");
  const [tenant, setTenant] = useState("");
  const [all, setAll] = useState(false);
  const [secret, setSecret] = useState<string | null>(null);
  const issue = useMutation({
    mutationFn: () =>
      unwrap(
        client.POST("/api/v1/tokens", {
          body: {
            name: name.trim(),
            scopes,
            all_tenants: all,
            ...(tenant.trim() && !all ? { tenant: tenant.trim() } : {}),
            ...(life ? { expires_in: life } : {}),
          },
        }),
      ),
    onSuccess: (issued) => {
      setSecret(issued.token);
      void queries.invalidateQueries({ queryKey: ["pages", PATH] });
    },
  });
  const problem = issue.isError ? asApiError(issue.error) : null;
  const wrong = (field: string): string | undefined => problem?.errors.find((error) => error.field === field)?.reason;
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    issue.mutate();
  };
  if (secret) {
    return (
      <Dialog
        open
        onOpenChange={(open) => !open && onClose()}
        title="The token"
        description="It is shown this once. Keep it where secrets are kept."
        footer={
          <>
            <Button icon={Copy} onClick={() => void copyText(secret, "The token is copied")}>
              Copy
            </Button>
            <Button kind="primary" onClick={onClose}>
              Done
            </Button>
          </>
        }
      >
        <Input
          aria-label="Token"
          readOnly
          autoFocus
          value={secret}
          className="font-mono"
          onFocus={(event) => event.target.select()}
        />
      </Dialog>
    );
  }
  return (
    <Dialog open onOpenChange={(open) => !open && onClose()} title="Issue a token">
      <form onSubmit={submit} className="flex flex-col gap-3">
        <Field label="Name" hint="Who or what will use it." error={wrong("name")}>
          {(ids) => (
            <Input
              {...ids}
              autoFocus
              required
              maxLength={100}
              value={name}
              onChange={(event) => setName(event.target.value)}
            />
          )}
        </Field>
        <fieldset className="flex flex-col gap-1">
          <legend className="mb-1 text-xs font-medium text-muted">It may</legend>
          {SCOPES.map((scope) => (
            <label key={scope.value} className="flex min-h-7 items-center gap-2 text-sm">
              <input
                type="checkbox"
                className="size-4 shrink-0 accent-(--accent)"
                checked={scopes.includes(scope.value)}
                onChange={(event) =>
                  setScopes(
                    event.target.checked ? [...scopes, scope.value] : scopes.filter((value) => value !== scope.value),
                  )
                }
              />
              <code className="w-24 shrink-0 font-mono text-xs">{scope.value}</code>
              <span className="text-muted">{scope.what}</span>
            </label>
          ))}
        </fieldset>
        <Field label="Valid for" error={wrong("expires_in")}>
          {(ids) => (
            <Select
              {...ids}
              className="w-full"
              value={life}
              onChange={(event) => setLife(event.target.value)}
              options={LIVES}
            />
          )}
        </Field>
        {who.data?.all_tenants ? (
          <>
            <Field label="Tenant" hint={`Empty: ${who.data.tenant}.`} error={wrong("tenant")}>
              {(ids) => (
                <Input {...ids} disabled={all} value={tenant} onChange={(event) => setTenant(event.target.value)} />
              )}
            </Field>
            <label className="flex min-h-7 items-center gap-2 text-sm">
              <input
                type="checkbox"
                className="size-4 shrink-0 accent-(--accent)"
                checked={all}
                onChange={(event) => setAll(event.target.checked)}
              />
              It may speak for every tenant
            </label>
          </>
        ) : null}
        {problem && problem.errors.length === 0 ? (
          <p role="alert" className="text-sm text-critical">
            {problem.detail}
          </p>
        ) : null}
        <div className="flex justify-end gap-2">
          <Button onClick={onClose}>Back</Button>
          <Button
            kind="primary"
            type="submit"
            busy={issue.isPending}
            disabled={name.trim() === "" || scopes.length === 0}
          >
            Issue it
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

function Revoke({ token, onClose }: { token: Token; onClose: () => void }) {
  const queries = useQueryClient();
  const revoke = useMutation({
    mutationFn: () => unwrap(client.DELETE("/api/v1/tokens/{id}", { params: { path: { id: token.id } } })),
    onSuccess: () => {
      toast.ok(`${token.name} is revoked`);
      void queries.invalidateQueries({ queryKey: ["pages", PATH] });
      onClose();
    },
    onError: toast.failed,
  });
  return (
    <Dialog
      open
      onOpenChange={(open) => !open && onClose()}
      title={`Revoke ${token.name}?`}
      description={`It may: ${token.scopes.join(", ")}, in ${token.tenant ?? "every tenant"}.`}
      footer={
        <>
          <Button onClick={onClose}>Keep it</Button>
          <Button kind="danger" busy={revoke.isPending} onClick={() => revoke.mutate()}>
            Revoke it
          </Button>
        </>
      }
    >
      <p className="text-sm text-muted">
        It is refused at once, and its live sessions are cut within a second. Last used{" "}
        {token.last_used_at ? `${formatAgo(token.last_used_at)} ago` : "never"}. There is no way back: issue another.
      </p>
    </Dialog>
  );
}
