import { X } from "lucide-react";
import { Dialog as Radix } from "radix-ui";
import type { ReactNode } from "react";
import { cx } from "@/lib/cx";
import { IconButton } from "./Button";

interface Props {
  open: boolean;
  onOpenChange: (open: boolean) => void;
  title: ReactNode;
  description?: ReactNode;
  children: ReactNode;
  /** Buttons at the foot, the main one last. */
  footer?: ReactNode;
  /** A panel at the right edge instead of a box in the middle. */
  side?: boolean;
  wide?: boolean;
}

/** A dialog: keeps the focus, closes with Escape, is read out by its title. A field with `autoFocus` has the focus first,
 * else the dialog as a whole: the next Tab is its first control. */
export function Dialog({ open, onOpenChange, title, description, children, footer, side, wide }: Props) {
  return (
    <Radix.Root open={open} onOpenChange={onOpenChange}>
      <Radix.Portal>
        <Radix.Overlay className="fixed inset-0 z-40 bg-black/45" />
        <Radix.Content
          {...(description ? {} : { "aria-describedby": undefined })}
          onOpenAutoFocus={(event) => {
            event.preventDefault();
            (event.currentTarget as HTMLElement | null)?.focus();
          }}
          className={cx(
            "fixed z-50 flex flex-col border border-line bg-raised shadow-pop focus:outline-none",
            side
              ? cx("inset-y-0 right-0 w-full border-y-0 border-r-0", wide ? "max-w-3xl" : "max-w-xl")
              : cx(
                  "top-1/2 left-1/2 max-h-[88dvh] w-[calc(100vw-1.5rem)] -translate-x-1/2 -translate-y-1/2 rounded-lg",
                  wide ? "max-w-4xl" : "max-w-lg",
                ),
          )}
        >
          <div className="flex items-start gap-3 border-b border-line px-4 py-2.5">
            <div className="min-w-0 flex-1">
              <Radix.Title className="text-base font-semibold">{title}</Radix.Title>
              {description ? <Radix.Description className="text-sm text-muted">{description}</Radix.Description> : null}
            </div>
            <Radix.Close asChild>
              <IconButton icon={X} label="Close" keys="Esc" size="sm" />
            </Radix.Close>
          </div>
          <div className="min-h-0 flex-1 overflow-auto p-4">{children}</div>
          {footer ? (
            <div className="flex flex-wrap items-center justify-end gap-2 border-t border-line px-4 py-2.5">
              {footer}
            </div>
          ) : null}
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  );
}
