import type { ReactNode } from "react";
import { cx } from "@/lib/cx";

interface Props {
  title?: ReactNode;
  /** Said after the title, smaller. */
  hint?: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
  className?: string;
  /** Padding of the body; off for tables and lists. */
  padded?: boolean;
}

/** A surface with a heading. */
export function Card({ title, hint, actions, children, className, padded = true }: Props) {
  return (
    <section className={cx("flex min-w-0 flex-col rounded-lg border border-line bg-surface", className)}>
      {title || actions ? (
        <header className="flex min-h-10 items-center gap-2 border-b border-line px-3 py-1">
          <h2 className="max-w-full shrink-0 truncate text-sm font-semibold">{title}</h2>
          {hint ? <span className="min-w-0 truncate text-xs text-muted">{hint}</span> : null}
          <div className="ml-auto flex shrink-0 items-center gap-1">{actions}</div>
        </header>
      ) : null}
      <div className={cx("min-h-0 min-w-0 flex-1", padded && "p-3")}>{children}</div>
    </section>
  );
}

/** A figure with its name, the smallest answer there is. */
export function Stat({
  label,
  value,
  hint,
  tone,
}: {
  label: ReactNode;
  value: ReactNode;
  hint?: ReactNode;
  tone?: "critical" | "warning" | "ok";
}) {
  const colour =
    tone === "critical" ? "text-critical" : tone === "warning" ? "text-warning" : tone === "ok" ? "text-ok" : "text-fg";
  return (
    <div className="min-w-0">
      <div className="truncate text-xs text-muted">{label}</div>
      <div className={cx("tnum truncate text-xl font-semibold", colour)}>{value}</div>
      {hint ? <div className="truncate text-xs text-faint">{hint}</div> : null}
    </div>
  );
}

/** Heading of a page: what it is, what can be done. */
export function PageHeader({
  title,
  hint,
  actions,
  children,
}: {
  title: ReactNode;
  hint?: ReactNode;
  actions?: ReactNode;
  children?: ReactNode;
}) {
  return (
    <div className="flex flex-col gap-2 px-4 pt-3 pb-2">
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1.5">
        <h1 className="text-lg font-semibold">{title}</h1>
        {hint ? <div className="text-sm text-muted">{hint}</div> : null}
        <div className="ml-auto flex flex-wrap items-center gap-1.5">{actions}</div>
      </div>
      {children}
    </div>
  );
}
