/** Keys as they are pressed: `g a` is one after the other, `mod+k` together. */
export function Kbd({ keys }: { keys: string }) {
  const mac = /Mac|iPhone|iPad/.test(navigator.userAgent);
  return (
    <span className="inline-flex items-center gap-0.5">
      {keys.split(" ").map((key) => (
        <kbd
          key={key}
          className="inline-flex h-4.5 min-w-4.5 items-center justify-center rounded border border-line bg-bg px-1 font-sans text-2xs text-muted"
        >
          {key.replace("mod", mac ? "⌘" : "Ctrl").replace("shift", "⇧")}
        </kbd>
      ))}
    </span>
  );
}
