/** An alert explained in words: what it is, how it was found, how far from the usual. Pure. */
import { formatNumber, formatSeconds, formatUnit, type Unit } from "@/lib/format";
import type { AlertDetail, Feature } from "../model";
import { distance, isBound, unitOf } from "./band";

const DETECTORS: Record<string, string> = {
  zscore: "Every value of this metric is compared with the mean and the deviation of its own recent history.",
  baseline: "Every value is compared with all that its own history held: the alert says how rare it is.",
  threshold: "The value is above a bound somebody configured, for longer than a moment.",
  "error-rate": "The share of failed records within a minute is compared with the usual share of the service.",
  flood: "Records of a second are compared with the usual second of the service.",
  ensemble:
    "Three models learnt from the service's own past look at its errors, volume, latency, CPU and memory; at least two find it unlike itself.",
  auth: "Logins are followed by source and by user: failures in quick succession, many users from one source, a success after many failures.",
  scan: "Refused requests and connections of a source are counted: somebody tries doors.",
  web: "Requests are read for the marks of known attacks; the clues of one source are added up.",
  signature: "A rule that is built in found records that say so.",
  sigma: "A Sigma rule found records that say so.",
  templates: "The messages of the service are followed by kind: new ones, missing ones, those at another rate.",
  llm: "A language model, or key words, found it worth a look. It may be nothing.",
  external: "Another system judged this and posted it; Heimdall keeps, groups and routes it.",
  availability: "Endpoints are asked again and again whether they answer.",
};

/** How such a thing is found. */
export function howFound(alert: AlertDetail): string {
  return DETECTORS[alert.detector] ?? `The detector ${alert.detector} found it.`;
}

/** Unit in which the baseline of an alert is measured. */
export function baselineUnit(alert: AlertDetail): Unit {
  const metric = alert.rule.slice(alert.rule.indexOf(".") + 1);
  if (alert.detector === "error-rate") return "share";
  if (alert.detector === "flood") return "per_second";
  if (alert.rule === "ensemble.service") {
    const usual = alert.features.find(
      (feature) => feature.name.endsWith("_usual") && feature.value === alert.baseline?.mean,
    );
    return usual ? unitOf(usual.name.slice(0, -6)) : "none";
  }
  if (/^(cpu|memory|disk)$/.test(metric)) return "percent";
  return unitOf(metric);
}

/** Sentences about how far from normal it is. */
export function howBad(alert: AlertDetail): string[] {
  const said: string[] = [];
  const { baseline } = alert;
  if (baseline) {
    const unit = baselineUnit(alert);
    const far = distance(baseline);
    if (isBound(baseline))
      said.push(`Seen ${formatUnit(baseline.observed, unit)}; the bound is ${formatUnit(baseline.threshold, unit)}.`);
    else
      said.push(
        `Seen ${formatUnit(baseline.observed, unit)}, usual ${formatUnit(baseline.mean, unit)}${far ? `: ${far}` : ""}. It counts from ${formatUnit(baseline.threshold, unit)} on, by ${formatNumber(baseline.samples)} samples of the past.`,
      );
  }
  if (alert.count > 1) {
    const seconds = (Date.parse(alert.last_seen) - Date.parse(alert.first_seen)) / 1000;
    said.push(`Found ${formatNumber(alert.count)} times${seconds >= 1 ? ` over ${formatSeconds(seconds)}` : ""}.`);
  }
  return said;
}

export interface Shown {
  label: string;
  value: string;
  /** What is usual, where it is known. */
  usual?: string;
  /** Share of the finding this number makes up, 0 to 1. */
  weight?: number;
}

/** Features for people: a number, what is usual for it, and how much it counted, in one line. */
export function featureRows(features: readonly Feature[]): Shown[] {
  const byName = new Map(features.map((feature) => [feature.name, feature.value]));
  const rows = features
    .filter(({ name }) => !/_(usual|weight)$/.test(name))
    .map(({ name, value }) => {
      const usual = byName.get(`${name}_usual`);
      return {
        label: words(name),
        value: shown(name, value),
        ...(usual === undefined ? {} : { usual: shown(name, usual) }),
        ...(byName.has(`${name}_weight`) ? { weight: byName.get(`${name}_weight`) } : {}),
      };
    });
  return rows.sort((a, b) => (b.weight ?? -1) - (a.weight ?? -1));
}

/** `distinct_users` → `Distinct users`; `latency_p95_ms` → `Latency p95`. */
export function words(name: string): string {
  const plain = name
    .replace(/_(ms|percent|bytes|seconds)$/, "")
    .replaceAll("_", " ")
    .trim();
  return plain.charAt(0).toUpperCase() + plain.slice(1);
}

function shown(name: string, value: number): string {
  if (/_score$|probability/.test(name)) return value.toFixed(value > 0.99 ? 4 : 2);
  const unit = unitOf(name);
  return unit === "none" ? formatNumber(value) : formatUnit(value, unit);
}
