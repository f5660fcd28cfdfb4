/** Whether records come in and are kept. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { type ApiError, client, requestJson, type Schemas, unwrap } from "@/api/client";
import type { Page } from "@/features/services/api";
import { formatBytes, formatNumber, formatSeconds, formatShare, formatShort } from "@/lib/format";
import { formatAgo, formatTime, useZone } from "@/lib/time";
import { Card } from "@/ui/Card";
import { Sign } from "@/ui/Severity";
import { Remote } from "@/ui/States";
import { doorsOf, type Receipt, storeFacts } from "./plumbing";

export type Status = Schemas["StatusDocument"];

export function useStatus() {
  return useQuery<Status, ApiError>({
    queryKey: ["status"],
    queryFn: ({ signal }) => unwrap(client.GET("/api/v1/status", { signal })),
    refetchInterval: 10_000,
  });
}

/** Receipts looked at: the latest. */
const RECEIPTS = 500;

function useReceipts() {
  return useQuery<Receipt[], ApiError>({
    queryKey: ["receipts", "latest", RECEIPTS],
    queryFn: async ({ signal }) =>
      (await requestJson<Page<Receipt>>(`/api/v1/receipts?limit=${RECEIPTS}`, { signal })).items,
    refetchInterval: 15_000,
  });
}

export function Plumbing({ summary }: { summary: Schemas["Summary"] }) {
  const status = useStatus();
  const receipts = useReceipts();
  return (
    <Card
      title="Ingest and storage"
      padded={false}
      actions={
        <Link to="/status" className="text-xs text-accent hover:underline">
          System status
        </Link>
      }
    >
      <dl className="divide-y divide-line/60">
        <Line name="Coming in" state="OK">
          {formatShort(summary.logs.per_second)} records/s · {formatShort(summary.samples.per_second)} samples/s
        </Line>
        <Remote of={receipts}>{(found) => <Receipts receipts={found} />}</Remote>
        <Remote of={status}>{(data) => <Store status={data} summary={summary} />}</Remote>
      </dl>
    </Card>
  );
}

function Receipts({ receipts }: { receipts: Receipt[] }) {
  const zone = useZone((state) => state.zone);
  const all = doorsOf(receipts);
  const share = all.rejected / Math.max(1, all.accepted + all.rejected);
  const last = receipts[0];
  return (
    <>
      <Line name="Accepted" state="OK" note={last ? `the last ${formatAgo(last.time)} ago` : undefined}>
        {formatNumber(all.accepted)} in {counted(all.receipts, "receipt")}
        {all.doors.length > 0 ? ` by ${all.doors.map(([door]) => door).join(", ")}` : ""}
      </Line>
      <Line
        name="Rejected"
        state={all.rejected === 0 ? "OK" : share > 0.05 ? "CRITICAL" : "WARNING"}
        note={
          all.refusal ? (
            <span title={formatTime(all.refusal.time, zone)}>
              {all.refusal.field ? <code className="font-mono">{all.refusal.field}</code> : null} {all.refusal.reason},{" "}
              {formatAgo(all.refusal.time)} ago
            </span>
          ) : undefined
        }
      >
        {all.rejected === 0 ? "nothing" : `${formatNumber(all.rejected)} (${formatShare(share)})`}
      </Line>
    </>
  );
}

function Store({ status, summary }: { status: Status; summary: Schemas["Summary"] }) {
  const facts = storeFacts(status.store as Record<string, unknown>);
  const behind = status.stream.durable_seq - status.stream.processed_seq;
  const detectors = status.detectors as unknown as { enabled: boolean }[];
  const kept = summary.logs.total + summary.samples.total;
  return (
    <>
      <Line name="Judged" state={behind > 100 ? "WARNING" : "OK"}>
        {behind > 0 ? `${formatNumber(behind)} batches behind` : "up to the last record"}
      </Line>
      <Line
        name="Kept"
        state={facts.damaged > 0 ? "CRITICAL" : status.stream.trouble ? "CRITICAL" : "OK"}
        note={
          status.stream.trouble ??
          (facts.damaged > 0
            ? `${facts.damaged} damaged ${facts.damaged === 1 ? "segment" : "segments"}, ${formatNumber(summary.damaged_records ?? 0)} records`
            : facts.bytes && facts.rows
              ? `${(facts.bytes / facts.rows).toFixed(0)} bytes a record`
              : undefined)
        }
      >
        {counted(kept, "record")}
        {facts.bytes === null ? "" : `, ${formatBytes(facts.bytes)} in ${counted(facts.segments ?? 0, "segment")}`}
        {facts.coldBytes ? `, ${formatBytes(facts.coldBytes)} of them cold` : ""}
      </Line>
      <Line name="Journal" state="OK">
        {formatBytes(status.stream.journal_bytes)}
        {facts.memoryRows === null ? "" : ` · ${counted(facts.memoryRows, "record")} in memory`}
      </Line>
      <Line
        name="Detection"
        state={status.rule_faults.length > 0 ? "WARNING" : "OK"}
        note={
          status.rule_faults.length > 0
            ? `${counted(status.rule_faults.length, "rule")} could not be loaded`
            : undefined
        }
      >
        {detectors.filter((detector) => detector.enabled).length} of {detectors.length} detectors, {status.rules} rules
      </Line>
      <Line name="Up" state={status.ready ? "OK" : "CRITICAL"} note={status.ready ? undefined : status.reason}>
        {formatSeconds(status.uptime_seconds)}
      </Line>
    </>
  );
}

function Line({ name, state, note, children }: { name: string; state: string; note?: ReactNode; children: ReactNode }) {
  return (
    <div className="flex items-start gap-2 px-3 py-1.5">
      <dt className="flex w-24 shrink-0 items-center gap-2 text-sm text-muted">
        <Sign of={state} size={14} />
        {name}
      </dt>
      <dd className="tnum min-w-0 flex-1 text-sm">
        {children}
        {note ? <div className="text-xs text-muted">{note}</div> : null}
      </dd>
    </div>
  );
}

function counted(count: number, word: string): string {
  return `${formatNumber(count)} ${word}${count === 1 ? "" : "s"}`;
}
