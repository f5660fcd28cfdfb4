import { Card } from "@/ui/Card";
import type { AlertDetail } from "../model";
import { featureRows, howBad, howFound } from "./explain";

/** The explanation: what was seen, how it was found, which numbers carried it. */
export function Why({ alert }: { alert: AlertDetail }) {
  const rows = featureRows(alert.features);
  const compared = rows.some((row) => row.usual !== undefined || row.weight !== undefined);
  const said = howBad(alert);
  return (
    <Card title="What happened, and why it is told">
      <div className="flex flex-col gap-2 text-sm">
        <p className="text-base break-words">{alert.summary}</p>
        {said.map((sentence) => (
          <p key={sentence}>{sentence}</p>
        ))}
        <p className="text-muted">{howFound(alert)}</p>
        {alert.muted ? <p className="text-muted">It is kept quiet: {alert.muted.reason}.</p> : null}
      </div>
      {rows.length > 0 ? (
        <div className="mt-3 overflow-x-auto border-t border-line pt-2">
          <table className={compared ? "w-full text-sm" : "min-w-64 text-sm"}>
            <caption className="sr-only">Numbers the finding rests on</caption>
            <thead>
              <tr className="text-left text-xs text-muted">
                <th className="py-1 font-medium">Number</th>
                <th className="text-right font-medium">Seen</th>
                {compared ? (
                  <>
                    <th className="pl-4 text-right font-medium">Usual</th>
                    <th className="w-2/5 pl-4 font-medium">Weight</th>
                  </>
                ) : null}
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <tr key={row.label} className="border-t border-line/60">
                  <td className="py-1">{row.label}</td>
                  <td className="tnum text-right font-medium">{row.value}</td>
                  {compared ? (
                    <>
                      <td className="tnum pl-4 text-right text-muted">{row.usual ?? ""}</td>
                      <td className="pl-4">{row.weight === undefined ? null : <Bar share={row.weight} />}</td>
                    </>
                  ) : null}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      ) : null}
    </Card>
  );
}

function Bar({ share }: { share: number }) {
  const percent = Math.round(Math.max(0, Math.min(1, share)) * 100);
  return (
    <span className="flex items-center gap-2">
      <span aria-hidden className="h-1.5 flex-1 rounded-full bg-hover">
        <span className="block h-full rounded-full bg-accent" style={{ width: `${percent}%` }} />
      </span>
      <span className="tnum w-9 text-right text-xs text-muted">{percent} %</span>
    </span>
  );
}
