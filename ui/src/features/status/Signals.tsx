import type { ReactNode } from "react";
import { formatMs, formatNumber, formatShare, formatShort } from "@/lib/format";
import { Card } from "@/ui/Card";
import { lookOf } from "@/ui/Severity";
import { type SelfStatus, type Signal, standingLook } from "./api";

const SIGNS = { ok: "NORMAL", warn: "WARNING", bad: "CRITICAL", unknown: "" };

/** Latency, traffic, errors, saturation: the four golden signals, each beside what it shall not exceed. */
export function Signals({ status }: { status: SelfStatus }) {
  const { latency, traffic, errors, saturation } = status;
  return (
    <div className="grid gap-3 sm:grid-cols-2 lg:grid-cols-4">
      <Card title="Query latency" hint={`${formatNumber(latency.queries)} in 5 min`}>
        <Line name="p50" signal={latency.p50_ms} format={formatMs} />
        <Line name="p95" signal={latency.p95_ms} format={formatMs} />
        <Line name="p99" signal={latency.p99_ms} format={formatMs} />
      </Card>
      <Card title="Traffic" hint="a second">
        <Plain name="Records" value={formatShort(traffic.records_per_second)} />
        <Plain name="Queries" value={formatShort(traffic.queries_per_second)} />
        <Plain name="Requests" value={formatShort(traffic.requests_per_second)} />
      </Card>
      <Card title="Errors" hint="answers with 5xx">
        <Line name="Share" signal={errors.rate} format={formatShare} />
        <Plain name="Answers" value={formatNumber(errors.requests)} />
        <Plain name="Failed" value={formatNumber(errors.errors)} />
      </Card>
      <Card title="Saturation" hint={ownText(saturation)}>
        <Line name="CPU" signal={saturation.cpu} format={formatShare} />
        <Line name="Memory" signal={saturation.memory} format={formatShare} />
        <Line name="Disk" signal={saturation.disk} format={formatShare} />
      </Card>
    </div>
  );
}

function ownText({ cpu_own, memory_own }: SelfStatus["saturation"]): string | undefined {
  return typeof cpu_own !== "number" || typeof memory_own !== "number"
    ? undefined
    : `own: ${formatShare(cpu_own)} CPU, ${formatShare(memory_own)} memory`;
}

function Line({ name, signal, format }: { name: string; signal: Signal; format: (value: number) => string }) {
  const look = standingLook(signal.state);
  const sign = lookOf(SIGNS[signal.state]);
  return (
    <Row name={name}>
      <span className="text-xs text-faint">of {format(signal.target)}</span>
      <span className="tnum w-20 text-right font-medium">
        {typeof signal.value === "number" ? format(signal.value) : "–"}
      </span>
      <sign.icon size={14} role="img" aria-label={look.text} className={sign.text} />
    </Row>
  );
}

function Plain({ name, value }: { name: string; value: string }) {
  return (
    <Row name={name}>
      <span className="tnum font-medium">{value}</span>
    </Row>
  );
}

function Row({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div className="flex items-center gap-2 py-0.5 text-sm">
      <span className="flex-1 text-muted">{name}</span>
      {children}
    </div>
  );
}
