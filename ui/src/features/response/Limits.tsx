import { Remote } from "@/ui/States";
import { useResponseStatus } from "./api";

/** What bounds everything that acts, and how much of it is used. */
export function Limits() {
  const status = useResponseStatus();
  return (
    <div className="p-3">
      <Remote of={status}>
        {(data) => (
          <ul className="grid gap-2 sm:grid-cols-2 lg:grid-cols-3">
            {data.limits.map((limit) => {
              const share = limit.most > 0 ? limit.used / limit.most : 0;
              const name = `${limit.limit.replaceAll("_", " ")}${limit.of ? ` of ${limit.of}` : ""}`;
              return (
                <li key={name} className="rounded-lg border border-line bg-surface p-3">
                  <div className="flex justify-between gap-2 text-sm">
                    <span className="truncate" title={name}>
                      {name}
                    </span>
                    <span className="tnum text-muted">
                      {limit.used} / {limit.most}
                    </span>
                  </div>
                  <meter aria-label={name} className="mt-1.5 h-1.5 w-full" min={0} max={1} high={0.8} value={share} />
                </li>
              );
            })}
          </ul>
        )}
      </Remote>
    </div>
  );
}
