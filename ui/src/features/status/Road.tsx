import { ArrowRight } from "lucide-react";
import { formatBytes, formatNumber, formatSeconds, formatShort } from "@/lib/format";
import { Card } from "@/ui/Card";
import { Partial, Remote } from "@/ui/States";
import { useServerStatus } from "./api";

/** The road of a record, station by station, and what stands in its way. */
export function Road() {
  const status = useServerStatus();
  return (
    <Card
      title="The road of a record"
      hint={status.data ? `version ${status.data.version}, up ${formatSeconds(status.data.uptime_seconds)}` : undefined}
      padded={false}
    >
      <Remote of={status}>
        {({ stream, store, detectors, rules, rule_faults }) => {
          const stations: [string, string, string][] = [
            ["Journal", `${formatShort(stream.durable_seq)} frames durable`, formatBytes(stream.journal_bytes)],
            [
              "Stream",
              stream.processed_seq === stream.durable_seq
                ? "nothing waits"
                : `${formatNumber(stream.durable_seq - stream.processed_seq)} frames wait`,
              `${formatShort(stream.records)} records since the start`,
            ],
            [
              "Detection",
              `${detectors.filter((one) => one.enabled).length} of ${detectors.length} detectors on`,
              `${formatNumber(rules)} rules`,
            ],
            ["Memory", `${formatShort(store.memtable_rows)} records`, formatBytes(store.memtable_bytes)],
            [
              "Segments",
              `${formatShort(store.segment_rows)} records in ${formatNumber(store.segments)}`,
              formatBytes(store.segment_bytes),
            ],
          ];
          const faults = [
            ...(stream.trouble ? [stream.trouble] : []),
            ...(store.cold_trouble ? [store.cold_trouble] : []),
            ...(store.damaged.length > 0 ? [`${store.damaged.length} damaged segments are set aside`] : []),
            ...rule_faults.map((fault) => `${fault.file}: ${fault.reason}`),
          ];
          return (
            <>
              <Partial warnings={faults} />
              <ol className="flex flex-wrap items-stretch gap-2 p-3">
                {stations.map(([name, what, more], index) => (
                  <li key={name} className="flex items-center gap-2">
                    {index > 0 ? <ArrowRight size={14} aria-hidden className="text-faint" /> : null}
                    <div className="rounded-md border border-line bg-bg px-3 py-2">
                      <div className="text-xs text-muted">{name}</div>
                      <div className="tnum text-sm font-medium">{what}</div>
                      <div className="tnum text-xs text-faint">{more}</div>
                    </div>
                  </li>
                ))}
              </ol>
            </>
          );
        }}
      </Remote>
    </Card>
  );
}
