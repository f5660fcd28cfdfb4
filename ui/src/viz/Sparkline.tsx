/** A line as small as a word. No library: it stands in lists by the hundred. */
import { token } from "./palette";

export function Sparkline({
  values,
  label,
  width = 96,
  height = 22,
  tone = "--accent",
}: {
  values: number[];
  label: string;
  width?: number;
  height?: number;
  tone?: string;
}) {
  if (values.length < 2) return <span className="text-xs text-faint">–</span>;
  const high = Math.max(...values);
  const low = Math.min(0, ...values);
  const span = high - low || 1;
  const step = width / (values.length - 1);
  const points = values.map(
    (value, index) => `${(index * step).toFixed(1)},${(height - 2 - ((value - low) / span) * (height - 4)).toFixed(1)}`,
  );
  const colour = token(tone);
  return (
    <svg width={width} height={height} role="img" aria-label={label} className="block">
      <polygon points={`0,${height} ${points.join(" ")} ${width},${height}`} fill={colour} opacity={0.14} />
      <polyline points={points.join(" ")} fill="none" stroke={colour} strokeWidth={1.4} strokeLinejoin="round" />
    </svg>
  );
}
