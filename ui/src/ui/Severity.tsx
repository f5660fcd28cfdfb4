/** Severities, levels, statuses and states: a sign and a word, never a colour alone. */
import {
  BellOff,
  Bug,
  CheckCheck,
  CircleCheck,
  CircleDot,
  CircleHelp,
  Info,
  type LucideIcon,
  OctagonAlert,
  OctagonX,
  ScanLine,
  Skull,
  TriangleAlert,
} from "lucide-react";
import { cx } from "@/lib/cx";

interface Look {
  icon: LucideIcon;
  text: string;
  soft: string;
  /** Token of the colour, for charts. */
  token: string;
}

const CRITICAL: Look = {
  icon: OctagonAlert,
  text: "text-critical",
  soft: "bg-critical-soft text-critical",
  token: "--critical",
};
const WARNING: Look = {
  icon: TriangleAlert,
  text: "text-warning",
  soft: "bg-warning-soft text-warning",
  token: "--warning",
};
const OK: Look = { icon: CircleCheck, text: "text-ok", soft: "bg-ok-soft text-ok", token: "--ok" };
const INFO: Look = { icon: Info, text: "text-info", soft: "bg-info-soft text-info", token: "--info" };
const QUIET: Look = { icon: CircleHelp, text: "text-muted", soft: "bg-hover text-muted", token: "--faint" };

const LOOKS: Record<string, Look> = {
  CRITICAL,
  WARNING,
  NORMAL: OK,
  OK,
  OPEN: { ...CRITICAL, icon: CircleDot },
  ACKNOWLEDGED: { ...INFO, icon: CheckCheck },
  SUPPRESSED: { ...QUIET, icon: BellOff },
  RESOLVED: OK,
  FATAL: { ...CRITICAL, icon: Skull, text: "text-fatal", token: "--fatal" },
  ERROR: { ...CRITICAL, icon: OctagonX },
  WARN: WARNING,
  INFO,
  DEBUG: { ...QUIET, icon: Bug },
  TRACE: { ...QUIET, icon: ScanLine },
};

/** How a severity, level, status or state looks; unknown words look quiet. */
export function lookOf(word: string | null | undefined): Look {
  return LOOKS[(word ?? "").toUpperCase()] ?? QUIET;
}

/** The sign alone, named for those who cannot see it. */
export function Sign({ of, size = 14, className }: { of: string; size?: number; className?: string }) {
  const look = lookOf(of);
  return (
    <look.icon size={size} role="img" aria-label={of.toLowerCase()} className={cx("shrink-0", look.text, className)} />
  );
}

/** Sign and word. */
export function SeverityBadge({ of, soft = true }: { of: string; soft?: boolean }) {
  const look = lookOf(of);
  return (
    <span
      className={cx(
        "inline-flex items-center gap-1 rounded px-1.5 py-px text-xs font-medium whitespace-nowrap",
        soft ? look.soft : look.text,
      )}
    >
      <look.icon size={12} aria-hidden />
      {of.charAt(0).toUpperCase() + of.slice(1).toLowerCase()}
    </span>
  );
}

/** A quiet word in a box. */
export function Badge({
  children,
  tone = "quiet",
  title,
}: {
  children: React.ReactNode;
  tone?: "quiet" | "accent" | "critical" | "warning" | "ok" | "info";
  title?: string;
}) {
  const tones = {
    quiet: "bg-hover text-muted",
    accent: "bg-accent-soft text-accent",
    critical: CRITICAL.soft,
    warning: WARNING.soft,
    ok: OK.soft,
    info: INFO.soft,
  };
  return (
    <span
      title={title}
      className={cx("inline-flex items-center gap-1 rounded px-1.5 py-px text-xs whitespace-nowrap", tones[tone])}
    >
      {children}
    </span>
  );
}
