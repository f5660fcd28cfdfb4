import { useMutation } from "@tanstack/react-query";
import { useEffect, useRef } from "react";

/** Something tried on demand that may take long: a new attempt ends the one before, leaving ends it too, and so does `cancel`. */
export function useTrial<In, Out>(run: (input: In, signal: AbortSignal) => Promise<Out>) {
  const abort = useRef<AbortController | null>(null);
  const trial = useMutation({
    mutationFn: (input: In) => {
      abort.current?.abort();
      abort.current = new AbortController();
      return run(input, abort.current.signal);
    },
  });
  useEffect(() => () => abort.current?.abort(), []);
  const cancel = (): void => {
    abort.current?.abort();
    trial.reset();
  };
  return { trial, cancel };
}
