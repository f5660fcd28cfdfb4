/** What a screen shows while there is nothing to show yet: loading, empty, failed, no permission, partial. */
import type { UseQueryResult } from "@tanstack/react-query";
import { CloudOff, Inbox, Loader2, Lock, type LucideIcon, TriangleAlert } from "lucide-react";
import type { ReactNode } from "react";
import { asApiError } from "@/api/problem";
import { cx } from "@/lib/cx";
import { Button } from "./Button";

export function Spinner({ className }: { className?: string }) {
  return <Loader2 size={15} aria-hidden className={cx("animate-spin", className)} />;
}

/** Rows in the shape of what is coming. */
export function Skeleton({ rows = 4, className }: { rows?: number; className?: string }) {
  return (
    <div role="status" aria-label="Loading" className={cx("flex flex-col gap-2 p-3", className)}>
      {Array.from({ length: rows }, (_, row) => (
        <div
          // biome-ignore lint/suspicious/noArrayIndexKey: rows that hold nothing
          key={row}
          className="h-5 animate-pulse rounded bg-hover"
          style={{ width: `${92 - ((row * 17) % 40)}%` }}
        />
      ))}
    </div>
  );
}

interface NoticeProps {
  icon?: LucideIcon;
  title: ReactNode;
  children?: ReactNode;
  action?: ReactNode;
  tone?: "calm" | "bad";
  className?: string;
}

/** A sentence in the middle of an empty place. */
export function Notice({ icon: Icon = Inbox, title, children, action, tone = "calm", className }: NoticeProps) {
  return (
    <div
      className={cx("flex flex-col items-center justify-center gap-2 px-6 py-10 text-center", className)}
      role={tone === "bad" ? "alert" : undefined}
    >
      <Icon size={26} aria-hidden className={tone === "bad" ? "text-critical" : "text-faint"} />
      <p className="font-medium text-fg">{title}</p>
      {children ? <div className="max-w-lg text-sm text-muted">{children}</div> : null}
      {action}
    </div>
  );
}

export function Empty(props: Omit<NoticeProps, "tone">) {
  return <Notice {...props} />;
}

/** What went wrong and what can be done about it. */
export function Failed({ error, onRetry, className }: { error: unknown; onRetry?: () => void; className?: string }) {
  const problem = asApiError(error);
  const retry = onRetry ? (
    <Button size="sm" onClick={onRetry}>
      Try again
    </Button>
  ) : null;
  if (problem.isForbidden) {
    const scope = problem.extra.scope;
    return (
      <Notice icon={Lock} title="You may not see this" className={className}>
        {typeof scope === "string" ? (
          <>
            It needs a token with the scope <code className="font-mono">{scope}</code>.
          </>
        ) : (
          problem.detail
        )}
      </Notice>
    );
  }
  if (problem.isUnreachable) {
    return (
      <Notice icon={CloudOff} tone="bad" title="The server does not answer" action={retry} className={className}>
        Nothing is lost: what is shown is refreshed as soon as it is back.
      </Notice>
    );
  }
  return (
    <Notice icon={TriangleAlert} tone="bad" title={problem.detail} action={retry} className={className}>
      {problem.errors.length > 0 ? (
        <ul className="text-left">
          {problem.errors.slice(0, 5).map((item) => (
            <li key={`${item.index ?? ""}${item.field ?? ""}${item.reason}`}>
              {item.field ? <code className="font-mono">{item.field}</code> : null} {item.reason}
            </li>
          ))}
        </ul>
      ) : (
        <span className="text-faint">
          {problem.code} · HTTP {problem.status}
        </span>
      )}
    </Notice>
  );
}

/** A strip above an answer that is not all of it. */
export function Partial({ warnings }: { warnings: string[] }) {
  if (warnings.length === 0) return null;
  return (
    <div
      role="status"
      className="flex items-start gap-2 border-b border-line bg-warning-soft px-3 py-1.5 text-xs text-warning"
    >
      <TriangleAlert size={14} aria-hidden className="mt-0.5 shrink-0" />
      <span>{warnings.join(" · ")}</span>
    </div>
  );
}

interface RemoteProps<T> {
  of: UseQueryResult<T, Error>;
  /** Shown when there is no data yet; default a skeleton. */
  loading?: ReactNode;
  /** Says that data is there but holds nothing, and what to show then. */
  empty?: { when: (data: T) => boolean; show: ReactNode };
  children: (data: T) => ReactNode;
}

/** Data of a request in every state it can be in. Data that could not be refreshed stays, with a strip that says so. */
export function Remote<T>({ of, loading, empty, children }: RemoteProps<T>) {
  if (of.data === undefined) {
    if (of.isError) return <Failed error={of.error} onRetry={() => void of.refetch()} />;
    return <>{loading ?? <Skeleton />}</>;
  }
  return (
    <>
      {of.isError ? <Partial warnings={[`not up to date: ${asApiError(of.error).detail}`]} /> : null}
      {empty?.when(of.data) ? empty.show : children(of.data)}
    </>
  );
}
