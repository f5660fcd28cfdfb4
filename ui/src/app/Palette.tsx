/** The command palette: places, things to do, and whatever was typed as a search. */
import { useNavigate } from "@tanstack/react-router";
import { Command } from "cmdk";
import { KeyboardIcon, LogOut, Moon, Search } from "lucide-react";
import { Dialog } from "radix-ui";
import { useState } from "react";
import { useSession } from "@/api/session";
import { Kbd } from "@/ui/Kbd";
import { PLACES } from "./nav";
import { useTheme } from "./theme";

const ROW = "flex cursor-pointer items-center gap-2.5 rounded px-2 py-1.5 text-sm data-[selected=true]:bg-hover";

export function Palette({
  open,
  onOpenChange,
  onHelp,
}: {
  open: boolean;
  onOpenChange: (open: boolean) => void;
  onHelp: () => void;
}) {
  const navigate = useNavigate();
  const [text, setText] = useState("");
  const toggle = useTheme((theme) => theme.toggle);
  const { token, signOut } = useSession();
  const run = (action: () => void): void => {
    onOpenChange(false);
    setText("");
    action();
  };
  return (
    <Dialog.Root open={open} onOpenChange={onOpenChange}>
      <Dialog.Portal>
        <Dialog.Overlay className="fixed inset-0 z-40 bg-black/45" />
        <Dialog.Content
          aria-describedby={undefined}
          className="fixed top-[12vh] left-1/2 z-50 w-[calc(100vw-1.5rem)] max-w-xl -translate-x-1/2 overflow-hidden rounded-lg border border-line bg-raised shadow-pop"
        >
          <Dialog.Title className="sr-only">Command palette</Dialog.Title>
          <Command label="Command palette" loop>
            <div className="flex items-center gap-2 border-b border-line px-3">
              <Search size={15} aria-hidden className="text-faint" />
              <Command.Input
                autoFocus
                value={text}
                onValueChange={setText}
                placeholder="Go somewhere, do something, or search the logs"
                className="h-11 flex-1 bg-transparent text-base outline-none placeholder:text-faint"
              />
            </div>
            <Command.List className="max-h-[55vh] overflow-auto p-1.5 [&_[cmdk-group-heading]]:px-2 [&_[cmdk-group-heading]]:py-1 [&_[cmdk-group-heading]]:text-xs [&_[cmdk-group-heading]]:text-faint">
              <Command.Group heading="Go to">
                {PLACES.map((place) => (
                  <Command.Item
                    key={place.to}
                    className={ROW}
                    value={place.label}
                    keywords={place.words?.split(" ")}
                    onSelect={() => run(() => void navigate({ to: place.to }))}
                  >
                    <place.icon size={15} aria-hidden className="text-muted" />
                    <span className="flex-1">{place.label}</span>
                    <Kbd keys={place.keys} />
                  </Command.Item>
                ))}
              </Command.Group>
              <Command.Group heading="Do">
                <Command.Item className={ROW} value="theme dark light" onSelect={() => run(toggle)}>
                  <Moon size={15} aria-hidden className="text-muted" />
                  <span className="flex-1">Change between dark and light</span>
                </Command.Item>
                <Command.Item className={ROW} value="keyboard shortcuts help" onSelect={() => run(onHelp)}>
                  <KeyboardIcon size={15} aria-hidden className="text-muted" />
                  <span className="flex-1">Keyboard shortcuts</span>
                  <Kbd keys="?" />
                </Command.Item>
                {token ? (
                  <Command.Item className={ROW} value="sign out" onSelect={() => run(signOut)}>
                    <LogOut size={15} aria-hidden className="text-muted" />
                    <span className="flex-1">Sign out</span>
                  </Command.Item>
                ) : null}
              </Command.Group>
              {/* Last, so that Enter goes where a name fits; what fits no name is searched for. */}
              {text.trim() ? (
                <Command.Group heading="Search" forceMount>
                  <Command.Item
                    className={ROW}
                    forceMount
                    value="\u0000 what was typed, in the logs"
                    onSelect={() => run(() => void navigate({ to: "/explore", search: { q: text } as never }))}
                  >
                    <Search size={15} aria-hidden className="text-muted" />
                    <span className="truncate">
                      Search the logs for <code className="font-mono">{text}</code>
                    </span>
                  </Command.Item>
                </Command.Group>
              ) : null}
            </Command.List>
          </Command>
        </Dialog.Content>
      </Dialog.Portal>
    </Dialog.Root>
  );
}
