import { Download } from "lucide-react";
import { useRef, useState } from "react";
import { asApiError } from "@/api/problem";
import { formatBytes, formatNumber } from "@/lib/format";
import type { TimeRange } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Field, Input, Segmented } from "@/ui/Field";
import { toast } from "@/ui/Toasts";
import { writeName } from "../line/filters";
import { columnsOf, recordsLine } from "../line/shape";
import type { Asked } from "../question";
import type { Run } from "../run/useRun";
import { EXPORT_ROWS_MAX, exportRows, FORMATS, type Format } from "./export";

interface Props {
  run: Run;
  asked: Asked;
  span: TimeRange;
  open: boolean;
  onOpenChange: (open: boolean) => void;
}

/** The answer as a file: which format, which columns, how many rows; how far it is, and a way to stop. */
export function ExportDialog({ run, asked, span, open, onOpenChange }: Props) {
  const total = run.answer?.rows.length ?? run.histogram?.total ?? run.rows?.total ?? 0;
  const [format, setFormat] = useState<Format>("csv");
  const [which, setWhich] = useState<"all" | "shown">("all");
  const [limit, setLimit] = useState("10000");
  const [bytes, setBytes] = useState<number | null>(null);
  const abort = useRef<AbortController | null>(null);
  const rows = Number(limit);
  const mistake = !Number.isInteger(rows) || rows < 1 || rows > EXPORT_ROWS_MAX;
  const isTable = run.shape === "table";
  const chosen = columnsOf(run.line) ?? asked.columns;
  const query = isTable
    ? run.line
    : which === "all"
      ? run.shape === "stream"
        ? recordsLine(run.line, asked.order)
        : run.line
      : `${run.shape === "stream" ? recordsLine(run.line, asked.order) : run.line} | fields ${["timestamp", "level", ...chosen].map(writeName).join(", ")}`;
  const start = async (): Promise<void> => {
    const controller = new AbortController();
    abort.current = controller;
    setBytes(0);
    try {
      const language = run.language === "sql" ? "sql" : "search";
      const done = await exportRows({ query, language, range: span, limit: rows, format }, setBytes, controller.signal);
      toast.ok(`Saved ${formatBytes(done.bytes)}${done.isPartial ? "; the answer was cut at its limit" : ""}`);
      onOpenChange(false);
    } catch (error) {
      if (controller.signal.aborted) toast.calm("The export was stopped");
      else toast.failed(error instanceof Error && !("status" in error) ? asApiError(error) : error);
    } finally {
      setBytes(null);
    }
  };
  const close = (next: boolean): void => {
    if (!next) abort.current?.abort();
    onOpenChange(next);
  };
  return (
    <Dialog
      open={open}
      onOpenChange={close}
      title="Export"
      description={`${formatNumber(total)} ${isTable ? "rows" : "records"} found`}
      footer={
        bytes === null ? (
          <Button kind="primary" icon={Download} disabled={mistake} onClick={() => void start()}>
            Export
          </Button>
        ) : (
          <>
            <span role="status" className="tnum mr-auto text-sm text-muted">
              {formatBytes(bytes)} read…
            </span>
            <Button onClick={() => abort.current?.abort()}>Stop</Button>
          </>
        )
      }
    >
      <div className="flex flex-col gap-3">
        <Segmented<Format>
          label="Format"
          value={format}
          onChange={setFormat}
          options={Object.entries(FORMATS).map(([value, one]) => ({
            value: value as Format,
            label: one.label,
            title: one.hint,
          }))}
        />
        <p className="text-xs text-muted">{FORMATS[format].hint}</p>
        {isTable ? null : (
          <Segmented
            label="Columns"
            value={which}
            onChange={setWhich}
            options={[
              { value: "all", label: "All fields" },
              { value: "shown", label: `Shown: ${chosen.join(", ").slice(0, 40)}` },
            ]}
          />
        )}
        <Field
          label="Rows at most"
          hint={`${asked.order === "newest" ? "The newest" : "The oldest"} of them; up to ${formatNumber(EXPORT_ROWS_MAX)}, or 64 MiB of the server's answer.`}
          error={mistake ? `A whole number from 1 to ${formatNumber(EXPORT_ROWS_MAX)}` : undefined}
        >
          {(ids) => (
            <Input {...ids} inputMode="numeric" value={limit} onChange={(event) => setLimit(event.target.value)} />
          )}
        </Field>
      </div>
    </Dialog>
  );
}
