/** Detection: what judges the records, how well, and how it is changed without surprises. */
import { useUrl } from "@/app/url";
import { PageHeader } from "@/ui/Card";
import { Tabs } from "@/ui/Tabs";
import { Detectors } from "./Detectors";
import { Rules } from "./Rules";

export function DetectionPage() {
  const { search, set } = useUrl();
  return (
    <div className="flex min-h-0 flex-1 flex-col">
      <PageHeader title="Detection" hint="Every record passes all of these as it arrives." />
      <Tabs
        label="Detection"
        value={search.tab ?? "detectors"}
        onChange={(tab) => set({ tab, rule: undefined, detector: undefined }, { replace: true })}
        tabs={[
          { value: "detectors", label: "Detectors", content: <Detectors /> },
          { value: "rules", label: "Rules", content: <Rules /> },
        ]}
      />
    </div>
  );
}
