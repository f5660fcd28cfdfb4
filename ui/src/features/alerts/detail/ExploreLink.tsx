import { Link } from "@tanstack/react-router";
import { FileSearch } from "lucide-react";
import { cx } from "@/lib/cx";
import { toRfc3339 } from "@/lib/time";

/** Goes to the records of a time in Explore. */
export function ExploreLink({
  q,
  from,
  to,
  label = "Explore",
  name,
  className,
}: {
  q: string;
  from: number;
  to: number;
  label?: string;
  /** Accessible name, where the label says too little. */
  name?: string;
  className?: string;
}) {
  return (
    <Link
      to="/explore"
      search={{ q, lang: "search", from: toRfc3339(from), to: toRfc3339(to) } as never}
      aria-label={name}
      className={cx(
        "inline-flex items-center gap-1 rounded-md px-2 py-0.5 text-xs font-medium text-accent hover:bg-hover",
        className,
      )}
    >
      <FileSearch size={13} aria-hidden />
      {label}
    </Link>
  );
}
