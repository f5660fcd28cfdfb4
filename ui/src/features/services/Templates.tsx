import { Link } from "@tanstack/react-router";
import { FileSearch } from "lucide-react";
import { useMemo } from "react";
import { useAnswer } from "@/api/query";
import { useRange, useUrl } from "@/app/url";
import { formatNumber, formatShare } from "@/lib/format";
import { formatAgo, formatTime, resolveRange, toRfc3339, useZone } from "@/lib/time";
import { Card } from "@/ui/Card";
import { Segmented } from "@/ui/Field";
import { Empty, Remote } from "@/ui/States";
import { refreshOf } from "./api";
import { exploreSearch, serviceIs } from "./line";
import { newTemplates, type Template, templatesOf } from "./templates";

type Kind = "top" | "new" | "errors";

/** Time looked back for what is new, ms: a day, or as long as the range. */
const BEFORE_MS = 86_400_000;
/** Templates compared; those beyond are too rare to be told. */
const COMPARED = 1000;
const SHOWN = 10;

/** What a service writes: the commonest kinds of messages, the new ones, those of errors. */
export function Templates({ service }: { service: string }) {
  const { range } = useRange();
  const { search, set } = useUrl();
  const kind: Kind = search.templates === "new" || search.templates === "errors" ? search.templates : "top";
  const refreshMs = refreshOf(range);
  const of = serviceIs(service);
  const now = useAnswer(
    {
      query:
        kind === "errors"
          ? `${of} level>=error | patterns ${SHOWN}`
          : `${of} | patterns ${kind === "new" ? COMPARED : SHOWN}`,
      ...range,
    },
    { refreshMs },
  );
  // The time before stands still while the page is looked at, so that its answer is kept.
  const before = useMemo(() => {
    const { from, to } = resolveRange(range);
    return { from: toRfc3339(from - Math.max(BEFORE_MS, to - from)), to: toRfc3339(from) };
  }, [range]);
  const earlier = useAnswer(kind === "new" ? { query: `${of} | patterns ${COMPARED}`, ...before } : null);
  const ready = kind !== "new" || earlier.data !== undefined || earlier.isError;
  return (
    <Card
      title="Messages"
      padded={false}
      actions={
        <Segmented
          label="Kinds of messages"
          value={kind}
          onChange={(value) => set({ templates: value === "top" ? undefined : value }, { replace: true })}
          options={[
            { value: "top", label: "Top" },
            { value: "new", label: "New", title: "Not there in the day before the range" },
            { value: "errors", label: "Errors" },
          ]}
        />
      }
    >
      <Remote of={kind === "new" && !ready ? earlier : now}>
        {(answer) => {
          const found = templatesOf(answer);
          const first = kind === "new" && earlier.data?.rows.length === 0;
          const shown = kind === "new" ? newTemplates(found, earlier.data ? templatesOf(earlier.data) : []) : found;
          return (
            <>
              {first ? (
                <p className="px-3 pt-2 text-xs text-muted">
                  Nothing of this service was kept before the range: every kind of message counts as new.
                </p>
              ) : null}
              <List templates={shown.slice(0, SHOWN)} kind={kind} of={of} />
              {shown.length > SHOWN ? (
                <p className="px-3 pb-2 text-xs text-muted">{shown.length - SHOWN} more that are new</p>
              ) : null}
            </>
          );
        }}
      </Remote>
    </Card>
  );
}

const NONE: Record<Kind, string> = {
  top: "No record in this range",
  new: "Nothing new: every kind of message was there before",
  errors: "No error in this range",
};

function List({ templates, kind, of }: { templates: Template[]; kind: Kind; of: string }) {
  const { range } = useRange();
  const zone = useZone((state) => state.zone);
  if (templates.length === 0) return <Empty icon={FileSearch} title={NONE[kind]} className="py-6" />;
  return (
    <ol className="divide-y divide-line/60">
      {templates.map((template) => (
        <li key={template.id} className="relative flex items-start gap-3 px-3 py-1.5 hover:bg-hover">
          <Link
            to="/explore"
            search={
              exploreSearch(
                `${of} template_id:${template.id}${kind === "errors" ? " level>=error" : ""}`,
                range,
              ) as never
            }
            className="min-w-0 flex-1 font-mono text-xs leading-5 break-words line-clamp-2 hover:text-accent hover:underline"
            title={template.text}
          >
            {template.text}
          </Link>
          <span className="tnum shrink-0 text-right text-xs">
            {formatNumber(template.count)}
            <span className="block text-muted" title={formatTime(template.firstSeen, zone)}>
              {kind === "new" ? `${formatAgo(template.firstSeen)} ago` : formatShare(template.share)}
            </span>
          </span>
        </li>
      ))}
    </ol>
  );
}
