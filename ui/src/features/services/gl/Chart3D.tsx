import type { EChartsCoreOption, EChartsType } from "echarts/core";
import { useEffect, useRef, useState } from "react";
import { Failed, Skeleton } from "@/ui/States";

interface Props {
  /** What it shows, in words. */
  label: string;
  option: EChartsCoreOption;
  onClick?: (dataIndex: number, seriesIndex: number) => void;
}

/** A chart in three dimensions: drag turns it, the wheel brings it nearer. */
export function Chart3D({ label, option, onClick }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<EChartsType | null>(null);
  const [ready, setReady] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const click = useRef(onClick);
  click.current = onClick;
  useEffect(() => {
    let gone = false;
    let observer: ResizeObserver | null = null;
    import("./echartsGl")
      .then(({ echarts }) => {
        if (gone || !box.current) return;
        const made = echarts.init(box.current, null, { renderer: "canvas" });
        chart.current = made;
        observer = new ResizeObserver(() => made.resize());
        observer.observe(box.current);
        made.on("click", (event) => {
          const { dataIndex, seriesIndex } = event as { dataIndex?: number; seriesIndex?: number };
          if (dataIndex !== undefined && seriesIndex !== undefined) click.current?.(dataIndex, seriesIndex);
        });
        setReady(true);
      })
      .catch(setError);
    return () => {
      gone = true;
      observer?.disconnect();
      chart.current?.dispose();
      chart.current = null;
    };
  }, []);
  useEffect(() => {
    if (!ready) return;
    try {
      chart.current?.setOption(option, { replaceMerge: ["series"] });
    } catch (thrown) {
      setError(thrown);
    }
  }, [ready, option]);
  if (error) return <Failed error={error} />;
  return (
    <div className="relative min-h-0 min-w-0 flex-1">
      <div ref={box} role="img" aria-label={label} className="absolute inset-0" />
      {ready ? null : <Skeleton rows={3} className="absolute inset-0" />}
    </div>
  );
}
