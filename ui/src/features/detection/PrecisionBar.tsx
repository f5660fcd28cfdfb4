import type { Precision } from "./api";
import { precisionText } from "./api";

/** Share of alerts that were right, with its 95 % interval. */
export function PrecisionBar({ feedback }: { feedback: Precision | null | undefined }) {
  if (!feedback) return <span className="text-xs text-muted">nobody judged any</span>;
  return (
    <span className="flex items-center gap-2" title={precisionText(feedback)}>
      <span aria-hidden className="relative h-1.5 w-20 rounded-full bg-hover">
        <span
          className="absolute inset-y-0 rounded-full bg-accent/35"
          style={{ left: `${feedback.low * 100}%`, right: `${100 - feedback.high * 100}%` }}
        />
        <span className="absolute -inset-y-0.5 w-0.5 bg-accent" style={{ left: `${feedback.precision * 100}%` }} />
      </span>
      <span className="tnum text-xs">{Math.round(feedback.precision * 100)} %</span>
      <span className="sr-only">{precisionText(feedback)}</span>
    </span>
  );
}
