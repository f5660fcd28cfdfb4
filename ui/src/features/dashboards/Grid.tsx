/** Panels in their places; with the pointer they are dragged by their title and resized by their corner. */
import { type ReactNode, useMemo } from "react";
import { GridLayout, type Layout, useContainerWidth, verticalCompactor } from "react-grid-layout";
import { useWidth } from "@/lib/width";
import { type Breakpoint, breakpointOf, COLUMNS, GAP_PX, leastSize, placesFor, ROW_PX } from "./layout";
import type { DashboardSpec, Panel, Place } from "./spec";
import "./grid.css";

interface Props {
  spec: DashboardSpec;
  editing: boolean;
  onPlaces: (places: Place[], breakpoint: Breakpoint) => void;
  render: (panel: Panel, place: Place, breakpoint: Breakpoint) => ReactNode;
}

export function Grid({ spec, editing, onPlaces, render }: Props) {
  const { width, containerRef, mounted } = useContainerWidth();
  const breakpoint = breakpointOf(useWidth());
  const places = useMemo(() => placesFor(spec, breakpoint), [spec, breakpoint]);
  const layout = useMemo(() => places.map((place) => ({ ...place, ...leastSize(breakpoint) })), [places, breakpoint]);
  const panels = new Map(spec.panels.map((panel) => [panel.id, panel]));
  // Phones show what wider windows arrange.
  const movable = editing && breakpoint !== "xs";
  const moved = (next: Layout): void =>
    onPlaces(
      next.map(({ i, x, y, w, h }) => ({ i, x, y, w, h })),
      breakpoint,
    );
  return (
    <div ref={containerRef}>
      {mounted ? (
        <GridLayout
          width={width}
          layout={layout}
          gridConfig={{
            cols: COLUMNS[breakpoint],
            rowHeight: ROW_PX,
            margin: [GAP_PX, GAP_PX],
            containerPadding: [0, 0],
          }}
          dragConfig={{ enabled: movable, handle: ".panel-drag", cancel: ".panel-actions" }}
          resizeConfig={{ enabled: movable }}
          compactor={verticalCompactor}
          onDragStop={(next) => moved(next)}
          onResizeStop={(next) => moved(next)}
        >
          {places.map((place) => {
            const panel = panels.get(place.i);
            return <div key={place.i}>{panel ? render(panel, place, breakpoint) : null}</div>;
          })}
        </GridLayout>
      ) : null}
    </div>
  );
}
