import { cx } from "@/lib/cx";
import { formatMs, formatNumber } from "@/lib/format";
import { Card } from "@/ui/Card";
import { Badge } from "@/ui/Severity";
import { Sparkline } from "@/viz/Sparkline";
import { type Slo, type Standing, standingLook } from "./api";

/** `0.9995` → `99.95 %`, with as many digits as an objective needs. */
export function sharePrecise(share: number): string {
  return `${(share * 100).toFixed(3).replace(/\.?0+$/, "")} %`;
}

/** What is left of a budget; one that is overspent says how far. */
export function budgetText(remaining: number | null | undefined): string {
  if (typeof remaining !== "number") return "–";
  const percent = Math.round(remaining * 1000) / 10;
  return remaining < 0 ? `none, ${-percent} % over` : `${percent} %`;
}

/** How fast a budget is spent, in a word. */
export function burnText(state: Standing): string {
  return { ok: "slow enough", warn: "too fast", bad: "wakes somebody", unknown: "not known" }[state];
}

/** The objectives: what was promised, how it was kept, how fast the budget is being spent. */
export function Slos({ slos }: { slos: Slo[] }) {
  return (
    <div className="grid gap-3 lg:grid-cols-2">
      {slos.map((slo) => {
        const look = standingLook(slo.state);
        const known = slo.history.map((point) => point.ratio).filter((ratio) => typeof ratio === "number");
        return (
          <Card
            key={slo.id}
            title={slo.name}
            hint={<span title={slo.description}>{slo.description}</span>}
            actions={<Badge tone={look.tone}>{look.text}</Badge>}
          >
            <div className="flex flex-wrap items-end gap-x-6 gap-y-2">
              <div>
                <div className="text-xs text-muted">Kept in {slo.window}</div>
                <div className="tnum text-xl font-semibold">
                  {typeof slo.ratio === "number" ? sharePrecise(slo.ratio) : "–"}
                </div>
                <div className="text-xs text-faint">
                  promised {sharePrecise(slo.objective)}
                  {slo.target_ms ? ` within ${formatMs(slo.target_ms)}` : ""}
                </div>
              </div>
              <div>
                <div className="text-xs text-muted">Budget left</div>
                <div className={cx("tnum text-xl font-semibold", (slo.budget_remaining ?? 1) <= 0 && "text-critical")}>
                  {budgetText(slo.budget_remaining)}
                </div>
                <div className="text-xs text-faint">
                  {formatNumber(slo.bad)} of {formatNumber(slo.total)} missed it
                </div>
              </div>
              <div className="ml-auto">
                <Sparkline
                  values={known.map((ratio) => 1 - ratio)}
                  label="Share that missed it, the last hour by minute"
                  width={140}
                  height={34}
                  tone="--critical"
                />
              </div>
            </div>
            <table className="mt-3 w-full text-sm">
              <caption className="sr-only">How fast the budget of {slo.name} is spent</caption>
              <thead className="text-left text-xs text-muted">
                <tr>
                  <th className="py-1 font-medium">Window</th>
                  <th className="py-1 text-right font-medium">Burn rate</th>
                  <th className="py-1 text-right font-medium">Wakes somebody from</th>
                  <th className="py-1 text-right font-medium">State</th>
                </tr>
              </thead>
              <tbody>
                {slo.burn.map((burn) => (
                  <tr key={burn.window} className="border-t border-line/60">
                    <td className="py-1">{burn.window}</td>
                    <td className="tnum py-1 text-right">
                      {typeof burn.rate === "number" ? `${burn.rate.toFixed(2)} ×` : "–"}
                    </td>
                    <td className="tnum py-1 text-right text-muted">{burn.threshold.toFixed(1)} ×</td>
                    <td className="py-1 text-right">
                      <Badge tone={standingLook(burn.state).tone}>{burnText(burn.state)}</Badge>
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </Card>
        );
      })}
    </div>
  );
}
