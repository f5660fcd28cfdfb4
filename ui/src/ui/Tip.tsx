import { Tooltip } from "radix-ui";
import type { ReactNode } from "react";
import { Kbd } from "./Kbd";

/** A tip shown on hover and focus. The child must take a ref (a button, a link). */
export function Tip({ text, keys, children }: { text: ReactNode; keys?: string; children: ReactNode }) {
  return (
    <Tooltip.Root>
      <Tooltip.Trigger asChild>{children}</Tooltip.Trigger>
      <Tooltip.Portal>
        <Tooltip.Content
          sideOffset={5}
          collisionPadding={8}
          className="z-60 flex max-w-80 items-center gap-2 rounded-md border border-line bg-raised px-2 py-1 text-xs text-fg shadow-pop"
        >
          <span>{text}</span>
          {keys ? <Kbd keys={keys} /> : null}
        </Tooltip.Content>
      </Tooltip.Portal>
    </Tooltip.Root>
  );
}
