import { useState } from "react";
import { useUrl } from "@/app/url";
import { formatNumber, formatShort } from "@/lib/format";
import { Badge } from "@/ui/Severity";
import { Partial, Remote, Skeleton } from "@/ui/States";
import { Table } from "@/ui/Table";
import { type Detector, useDetectors } from "./api";
import { DetectorPanel } from "./DetectorPanel";
import { PrecisionBar } from "./PrecisionBar";

/** The detectors: whether they run, what they follow, how often people found them right. */
export function Detectors() {
  const { search, set } = useUrl();
  const detectors = useDetectors();
  const [inHand, setInHand] = useState<string | null>(null);
  const open = detectors.data?.find((one) => one.name === search.detector) ?? null;
  return (
    <div className="flex h-full min-h-0 flex-col">
      <Remote of={detectors} loading={<Skeleton rows={8} />}>
        {(items) => (
          <Table<Detector>
            label="Detectors"
            rows={items}
            rowHeight={36}
            keyOf={(one) => one.name}
            active={search.detector ?? inHand}
            onActive={(one) => setInHand(one.name)}
            onOpen={(one) => set({ detector: one.name })}
            columns={[
              {
                id: "name",
                header: "Detector",
                width: "minmax(8rem,1fr)",
                cell: (one) => <span className="font-medium">{one.name}</span>,
              },
              { id: "state", header: "State", width: "6.5rem", cell: (one) => <State detector={one} /> },
              {
                id: "keys",
                header: "Follows",
                width: "6rem",
                align: "right",
                from: "sm",
                cell: (one) => <span title="Baselines and counts it keeps">{formatNumber(one.keys)}</span>,
              },
              {
                id: "evaluated",
                header: "Judged",
                width: "6.5rem",
                align: "right",
                from: "md",
                cell: (one) => formatShort(one.evaluated),
              },
              {
                id: "verdicts",
                header: "Findings",
                width: "6rem",
                align: "right",
                cell: (one) => formatNumber(one.verdicts),
              },
              {
                id: "late",
                header: "Too late",
                width: "6rem",
                align: "right",
                from: "lg",
                cell: (one) => <span className={one.late > 0 ? "" : "text-muted"}>{formatShort(one.late)}</span>,
              },
              {
                id: "factor",
                header: "Threshold",
                width: "6.5rem",
                align: "right",
                from: "md",
                cell: (one) =>
                  one.adjustable ? (
                    <span title="Factor on its thresholds: set by hand, times what follows from feedback">
                      × {(one.threshold_factor * one.adjustment).toFixed(2)}
                    </span>
                  ) : (
                    <span className="text-muted" title="It has no thresholds that a factor moves">
                      –
                    </span>
                  ),
              },
              {
                id: "precision",
                header: "Precision by feedback",
                width: "minmax(9rem,.9fr)",
                from: "sm",
                cell: (one) => <PrecisionBar feedback={one.feedback} />,
              },
            ]}
          />
        )}
      </Remote>
      {search.detector && detectors.data && !open ? (
        <Partial warnings={[`there is no detector ${search.detector}`]} />
      ) : null}
      {open ? <DetectorPanel key={open.name} detector={open} onClose={() => set({ detector: undefined })} /> : null}
    </div>
  );
}

export function State({ detector }: { detector: Detector }) {
  if (!detector.enabled) return <Badge>off</Badge>;
  return detector.dry_run ? <Badge tone="accent">dry run</Badge> : <Badge tone="ok">on</Badge>;
}
