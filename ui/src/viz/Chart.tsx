/** A chart that follows its box, the theme and its options. Loaded when first drawn. */
import type { EChartsCoreOption, EChartsType } from "echarts/core";
import { useEffect, useRef, useState } from "react";
import { useTheme } from "@/app/theme";
import { cx } from "@/lib/cx";
import { Skeleton } from "@/ui/States";
import { seriesColours, token } from "./palette";

interface Props {
  /** What the chart shows, in words: its name for those who cannot see it. */
  label: string;
  option: EChartsCoreOption;
  height?: number | string;
  /** Drag over the chart to choose a span of its x axis (values of the axis). */
  onSelectRange?: (from: number, to: number) => void;
  onClick?: (event: { name: string; seriesName?: string; value: unknown; dataType?: string; data?: unknown }) => void;
  /** Merge with what is drawn (live data) instead of drawing anew. */
  merge?: boolean;
  /** The chart once it is there, null once it is gone: to lay something over it. */
  onReady?: (chart: EChartsType | null) => void;
  className?: string;
}

/** Parts of a chart that look the same everywhere. */
export function chartBase(): EChartsCoreOption {
  const fg = token("--muted");
  const line = token("--line");
  return {
    color: seriesColours(),
    textStyle: { fontFamily: token("--font-sans"), color: fg, fontSize: 11 },
    animationDuration: 250,
    animation: !matchMedia("(prefers-reduced-motion: reduce)").matches,
    grid: { left: 8, right: 12, top: 12, bottom: 4, containLabel: true },
    tooltip: tooltipBase(),
    axisPointer: { lineStyle: { color: token("--line-strong") } },
    legend: { show: false, textStyle: { color: fg, fontSize: 11 }, itemWidth: 12, itemHeight: 8 },
    // The name of a chart is the `label` it is given: the library would put its own in its place.
    aria: { enabled: true, label: { enabled: false } },
    __line: line,
  };
}

/** A tip in the colours of the page. */
export function tooltipBase(): Record<string, unknown> {
  return {
    backgroundColor: token("--raised"),
    borderColor: token("--line"),
    textStyle: { color: token("--fg"), fontSize: 12 },
    confine: true,
    appendTo: "body",
    extraCssText: "z-index:55",
  };
}

/** An axis in the colours of the page. */
export function axisBase(): Record<string, unknown> {
  return {
    axisLine: { lineStyle: { color: token("--line-strong") } },
    axisTick: { show: false },
    axisLabel: { color: token("--muted"), fontSize: 11, hideOverlap: true },
    splitLine: { lineStyle: { color: token("--line") } },
  };
}

export function Chart({ label, option, height = 220, onSelectRange, onClick, merge, onReady, className }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<EChartsType | null>(null);
  const [ready, setReady] = useState(false);
  const theme = useTheme((state) => state.theme);
  const handlers = useRef({ onSelectRange, onClick, onReady });
  handlers.current = { onSelectRange, onClick, onReady };

  useEffect(() => {
    let gone = false;
    let observer: ResizeObserver | null = null;
    void import("./echarts").then(({ echarts }) => {
      if (gone || !box.current) return;
      const made = echarts.init(box.current, null, { renderer: "canvas" });
      chart.current = made;
      observer = new ResizeObserver(() => made.resize());
      observer.observe(box.current);
      made.on("click", (event) => handlers.current.onClick?.(event as never));
      made.on("brushEnd", (event) => {
        const range = (event as { areas?: { coordRange?: [number, number] }[] }).areas?.[0]?.coordRange;
        made.dispatchAction({ type: "brush", areas: [] });
        if (range) handlers.current.onSelectRange?.(range[0], range[1]);
      });
      setReady(true);
      handlers.current.onReady?.(made);
    });
    return () => {
      gone = true;
      observer?.disconnect();
      chart.current?.dispose();
      chart.current = null;
      handlers.current.onReady?.(null);
    };
  }, []);

  const selects = Boolean(onSelectRange);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another theme means other colours
  useEffect(() => {
    const made = chart.current;
    if (!ready || !made) return;
    const brush = selects
      ? {
          // The library would draw buttons for its brush.
          toolbox: { show: false },
          brush: {
            xAxisIndex: 0,
            brushType: "lineX",
            brushMode: "single",
            transformable: false,
            brushStyle: { color: "rgba(79,195,211,.22)", borderColor: token("--accent") },
            outOfBrush: {},
          },
        }
      : {};
    const { __line, ...base } = chartBase() as Record<string, unknown>;
    made.setOption(
      { ...base, ...brush, ...option },
      merge ? { lazyUpdate: true, replaceMerge: ["series"] } : { notMerge: true },
    );
    if (selects)
      made.dispatchAction({
        type: "takeGlobalCursor",
        key: "brush",
        brushOption: { brushType: "lineX", brushMode: "single" },
      });
  }, [ready, option, theme, merge, selects]);

  return (
    <div className={cx("relative min-w-0", className)} style={{ height }}>
      <div ref={box} role="img" aria-label={label} className="absolute inset-0" />
      {ready ? null : <Skeleton rows={3} className="absolute inset-0" />}
    </div>
  );
}
