import type { LucideIcon } from "lucide-react";
import { Check } from "lucide-react";
import { DropdownMenu, Popover as RadixPopover } from "radix-ui";
import type { ReactNode } from "react";
import { cx } from "@/lib/cx";
import { Kbd } from "./Kbd";

export interface MenuItem {
  label: ReactNode;
  icon?: LucideIcon;
  keys?: string;
  checked?: boolean;
  danger?: boolean;
  disabled?: boolean;
  onSelect: () => void;
}

/** A menu of things to do. `null` draws a line. */
export function Menu({
  trigger,
  items,
  align = "end",
}: {
  trigger: ReactNode;
  items: (MenuItem | null)[];
  align?: "start" | "end";
}) {
  return (
    <DropdownMenu.Root>
      <DropdownMenu.Trigger asChild>{trigger}</DropdownMenu.Trigger>
      <DropdownMenu.Portal>
        <DropdownMenu.Content
          align={align}
          sideOffset={4}
          collisionPadding={8}
          className="z-50 max-h-[70dvh] min-w-44 overflow-auto rounded-md border border-line bg-raised p-1 shadow-pop"
        >
          {items.map((item, index) =>
            item === null ? (
              // biome-ignore lint/suspicious/noArrayIndexKey: a line has no other name
              <DropdownMenu.Separator key={index} className="my-1 h-px bg-line" />
            ) : (
              <DropdownMenu.Item
                // biome-ignore lint/suspicious/noArrayIndexKey: menus do not reorder
                key={index}
                disabled={item.disabled}
                onSelect={item.onSelect}
                className={cx(
                  "flex cursor-pointer items-center gap-2 rounded px-2 py-1 text-sm outline-none data-[disabled]:cursor-not-allowed data-[disabled]:opacity-45 data-[highlighted]:bg-hover",
                  item.danger ? "text-critical" : "text-fg",
                )}
              >
                {item.icon ? <item.icon size={14} aria-hidden className="text-muted" /> : null}
                <span className="flex-1">{item.label}</span>
                {item.checked ? <Check size={14} aria-label="chosen" /> : null}
                {item.keys ? <Kbd keys={item.keys} /> : null}
              </DropdownMenu.Item>
            ),
          )}
        </DropdownMenu.Content>
      </DropdownMenu.Portal>
    </DropdownMenu.Root>
  );
}

/** A box that opens below its trigger. */
export function Popover({
  trigger,
  children,
  open,
  onOpenChange,
  align = "start",
  label,
  className,
}: {
  trigger: ReactNode;
  children: ReactNode;
  open?: boolean;
  onOpenChange?: (open: boolean) => void;
  align?: "start" | "end";
  label: string;
  className?: string;
}) {
  return (
    <RadixPopover.Root open={open} onOpenChange={onOpenChange}>
      <RadixPopover.Trigger asChild>{trigger}</RadixPopover.Trigger>
      <RadixPopover.Portal>
        <RadixPopover.Content
          align={align}
          sideOffset={4}
          collisionPadding={8}
          aria-label={label}
          className={cx(
            "z-50 max-h-[80dvh] max-w-[calc(100vw-1rem)] overflow-auto rounded-md border border-line bg-raised p-3 shadow-pop focus:outline-none",
            className,
          )}
        >
          {children}
        </RadixPopover.Content>
      </RadixPopover.Portal>
    </RadixPopover.Root>
  );
}
