import { useEffect, useState } from "react";

interface Versioned {
  readonly version: number;
  subscribe: (listener: () => void) => () => void;
}

/** The version of something that changes often, at most once in `everyMs`: for what need not follow each change. */
export function useVersion(of: Versioned | null, everyMs: number): number {
  const [version, setVersion] = useState(0);
  useEffect(() => {
    if (!of) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = (): void => {
      timer = undefined;
      setVersion(of.version);
    };
    look();
    const stop = of.subscribe(() => {
      timer ??= setTimeout(look, everyMs);
    });
    return () => {
      stop();
      clearTimeout(timer);
    };
  }, [of, everyMs]);
  return version;
}
