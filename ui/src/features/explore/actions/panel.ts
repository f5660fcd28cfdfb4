/** A question as a panel of a dashboard. */
import type { DashboardSpec, Panel, Place } from "@/features/dashboards/spec";
import type { VizKind } from "@/viz/Visualisation";

const COLUMNS = 24;

export interface NewPanel {
  title: string;
  query: string;
  language: Panel["language"];
  viz: VizKind;
}

function below(places: readonly Place[]): number {
  return places.reduce((bottom, place) => Math.max(bottom, place.y + place.h), 0);
}

/** The dashboard with another panel at its foot, in every layout it has. */
export function withPanel(spec: DashboardSpec, panel: NewPanel, id: string): DashboardSpec {
  const size = panel.viz === "number" ? { w: 6, h: 4 } : { w: 12, h: 8 };
  const put = (places: Place[], columns: number): Place[] => [
    ...places,
    { i: id, x: 0, y: below(places), w: Math.min(columns, size.w), h: size.h },
  ];
  const { lg, md, sm } = spec.layouts;
  return {
    ...spec,
    panels: [...spec.panels, { id, legend: true, ...panel }],
    layouts: {
      lg: put(lg, COLUMNS),
      ...(md ? { md: put(md, COLUMNS) } : {}),
      ...(sm ? { sm: put(sm, COLUMNS / 2) } : {}),
    },
  };
}

/** A dashboard without panels. */
export function emptySpec(range: { from: string; to: string }): DashboardSpec {
  return { variables: [], panels: [], layouts: { lg: [] }, time: range, refresh: null };
}
