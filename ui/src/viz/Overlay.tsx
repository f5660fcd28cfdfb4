/** What lies over the plot of a time axis: marks (deployments, incidents …) as flags that take the focus, and the time that is
 * pointed at in another chart of the group. */
import type { EChartsType } from "echarts/core";
import { useContext, useEffect, useRef, useState } from "react";
import { cx } from "@/lib/cx";
import { formatTime } from "@/lib/time";
import { Tip } from "@/ui/Tip";
import { HoverGroup } from "./hover";
import type { Mark } from "./Visualisation";

/** Room that the labels of the time axis take below the plot, px. */
const AXIS_PX = 22;
const TOP_PX = 12;
/** Flags drawn at once; more would hide the plot. */
const MARKS_MAX = 100;

const LINES = { critical: "border-critical", warning: "border-warning", info: "border-info" } as const;
const FILLS = { critical: "bg-critical", warning: "bg-warning", info: "bg-info" } as const;

interface Placed {
  mark: Mark;
  left: number;
  width: number;
}

/** Where marks stand, in px, and what of them is inside the plot. */
export function placeMarks(marks: Mark[], toPx: (ms: number) => number, left: number, right: number): Placed[] {
  const placed: Placed[] = [];
  for (const mark of marks) {
    const start = toPx(mark.at);
    const end = mark.until ? toPx(mark.until) : start;
    if (Number.isNaN(start) || Number.isNaN(end) || end < left - 1 || start > right + 1) continue;
    const from = Math.max(left, start);
    placed.push({ mark, left: from, width: Math.max(0, Math.min(right, end) - from) });
    if (placed.length === MARKS_MAX) break;
  }
  return placed;
}

function pixel(chart: EChartsType, ms: number): number {
  const at = chart.convertToPixel({ xAxisIndex: 0 }, ms as never) as unknown;
  return typeof at === "number" ? at : Number.NaN;
}

export function Overlay({ chart, marks, zone }: { chart: EChartsType; marks: Mark[]; zone: string }) {
  const [placed, setPlaced] = useState<Placed[]>([]);
  const bus = useContext(HoverGroup);
  const line = useRef<HTMLDivElement>(null);
  const current = useRef(marks);
  current.current = marks;

  // biome-ignore lint/correctness/useExhaustiveDependencies: other marks are placed anew
  useEffect(() => {
    let last = "";
    const place = (): void => {
      if (chart.isDisposed()) return;
      const next = placeMarks(current.current, (ms) => pixel(chart, ms), 0, chart.getWidth());
      const key = JSON.stringify(next);
      if (key !== last) setPlaced(next);
      last = key;
    };
    place();
    chart.on("finished", place);
    return () => {
      if (!chart.isDisposed()) chart.off("finished", place);
    };
  }, [chart, marks]);

  useEffect(() => {
    if (!bus) return;
    const moved = (event: unknown): void => {
      const at = (event as { axesInfo?: { axisDim: string; value: number }[] }).axesInfo?.find(
        (axis) => axis.axisDim === "x",
      );
      if (at) bus.tell(at.value, chart);
    };
    const left = (): void => bus.tell(null, chart);
    chart.on("updateAxisPointer", moved);
    chart.getZr().on("globalout", left);
    const end = bus.listen((at, from) => {
      const element = line.current;
      if (!element || chart.isDisposed()) return;
      const x = at === null || from === chart ? Number.NaN : pixel(chart, at);
      element.hidden = Number.isNaN(x) || x < 0 || x > chart.getWidth();
      if (!element.hidden) element.style.transform = `translateX(${x}px)`;
    });
    return () => {
      end();
      if (!chart.isDisposed()) {
        chart.off("updateAxisPointer", moved);
        chart.getZr().off("globalout", left);
      }
    };
  }, [bus, chart]);

  return (
    <div className="pointer-events-none absolute inset-0 overflow-hidden">
      <div
        ref={line}
        hidden
        className="absolute left-0 w-0 border-l border-dashed border-line-strong"
        style={{ top: TOP_PX, bottom: AXIS_PX }}
      />
      {placed.map(({ mark, left, width }) => {
        const tone = mark.tone ?? "info";
        const when = `${formatTime(mark.at, zone)}${mark.until ? ` – ${formatTime(mark.until, zone)}` : ""}`;
        return (
          <div key={`${mark.at}${mark.text}`} className="absolute top-0" style={{ left, width, bottom: AXIS_PX }}>
            {width > 0 ? (
              <div className={cx("absolute inset-x-0 bottom-0 opacity-10", FILLS[tone])} style={{ top: TOP_PX }} />
            ) : null}
            <div className={cx("absolute top-1 bottom-0 left-0 border-l border-dashed", LINES[tone])} />
            <Tip text={`${mark.text} · ${when}`}>
              <button
                type="button"
                aria-label={`${mark.text}, ${when}`}
                onClick={mark.onOpen}
                className={cx(
                  "pointer-events-auto absolute top-0 -left-1.5 size-3 rotate-45 rounded-xs border border-surface",
                  FILLS[tone],
                )}
              />
            </Tip>
          </div>
        );
      })}
    </div>
  );
}
