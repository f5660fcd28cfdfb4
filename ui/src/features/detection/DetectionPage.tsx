/** Detection: what judges the records, how well, and how it is changed without surprises. */
import { useUrl } from "@/app/url";
import { useGridKeys } from "@/lib/gridKeys";
import { PageHeader } from "@/ui/Card";
import { Tabs } from "@/ui/Tabs";
import { useDetectors, useRules } from "./api";
import { Detectors } from "./Detectors";
import { Rules } from "./Rules";

export function DetectionPage() {
  const { search, set } = useUrl();
  const detectors = useDetectors();
  const rules = useRules();
  useGridKeys();
  return (
    <div className="flex min-h-0 flex-1 flex-col">
      <PageHeader title="Detection" hint="Every record passes all of these as it arrives." />
      <Tabs
        label="Detection"
        // An address that names a rule means the rules.
        value={search.tab ?? (search.rule ? "rules" : "detectors")}
        onChange={(tab) => set({ tab, rule: undefined, copy: undefined, detector: undefined }, { replace: true })}
        tabs={[
          {
            value: "detectors",
            label: <Counted name="Detectors" count={detectors.data?.length} />,
            content: <Detectors />,
          },
          { value: "rules", label: <Counted name="Rules" count={rules.data?.length} />, content: <Rules /> },
        ]}
      />
    </div>
  );
}

function Counted({ name, count }: { name: string; count: number | undefined }) {
  return (
    <>
      {name} {count === undefined ? null : <span className="tnum text-xs text-faint">{count}</span>}
    </>
  );
}
