import type { LucideIcon } from "lucide-react";
import type { ButtonHTMLAttributes, Ref } from "react";
import { cx } from "@/lib/cx";
import { Spinner } from "./States";
import { Tip } from "./Tip";

type Kind = "primary" | "plain" | "ghost" | "danger";

interface Props extends ButtonHTMLAttributes<HTMLButtonElement> {
  kind?: Kind;
  size?: "sm" | "md";
  icon?: LucideIcon;
  /** Shows that the press is being carried out, and takes no other. */
  busy?: boolean;
  ref?: Ref<HTMLButtonElement>;
}

const KINDS: Record<Kind, string> = {
  primary: "bg-accent text-accent-fg border-transparent hover:brightness-110",
  plain: "bg-surface text-fg border-line hover:bg-hover hover:border-line-strong",
  ghost: "bg-transparent text-muted border-transparent hover:bg-hover hover:text-fg",
  danger: "bg-critical-soft text-critical border-transparent hover:brightness-105",
};

export function Button({
  kind = "plain",
  size = "md",
  icon: Icon,
  busy,
  className,
  children,
  disabled,
  ...rest
}: Props) {
  return (
    <button
      type="button"
      {...rest}
      disabled={disabled || busy}
      aria-busy={busy || undefined}
      className={cx(
        "inline-flex shrink-0 items-center justify-center gap-1.5 rounded-md border font-medium whitespace-nowrap transition-colors disabled:cursor-not-allowed disabled:opacity-50",
        size === "sm" ? "h-7 px-2 text-xs" : "h-8 px-3 text-sm",
        KINDS[kind],
        className,
      )}
    >
      {busy ? <Spinner /> : Icon ? <Icon size={size === "sm" ? 13 : 15} aria-hidden /> : null}
      {children}
    </button>
  );
}

interface IconProps extends Omit<ButtonHTMLAttributes<HTMLButtonElement>, "children"> {
  icon: LucideIcon;
  /** What it does: its accessible name and its tip. */
  label: string;
  /** Key that does the same, shown in the tip. */
  keys?: string;
  size?: "sm" | "md";
  pressed?: boolean;
  ref?: Ref<HTMLButtonElement>;
}

/** A button that is only a sign; its label is its tip. */
export function IconButton({ icon: Icon, label, keys, size = "md", pressed, className, ...rest }: IconProps) {
  return (
    <Tip text={label} keys={keys}>
      <button
        type="button"
        aria-label={label}
        aria-pressed={pressed}
        {...rest}
        className={cx(
          "inline-flex shrink-0 items-center justify-center rounded-md text-muted transition-colors hover:bg-hover hover:text-fg disabled:cursor-not-allowed disabled:opacity-40",
          size === "sm" ? "size-7" : "size-8",
          pressed && "bg-selected text-fg",
          className,
        )}
      >
        <Icon size={size === "sm" ? 14 : 16} aria-hidden />
      </button>
    </Tip>
  );
}
