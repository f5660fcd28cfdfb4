import { useQuery } from "@tanstack/react-query";
import { Copy, Download } from "lucide-react";
import { Button } from "@/ui/Button";
import { Remote } from "@/ui/States";
import { toast } from "@/ui/Toasts";
import { getReport } from "./api";
import { Report } from "./Report";

/** The report on an incident, as it stands now. */
export function PostMortem({ id, number }: { id: string; number: number }) {
  const report = useQuery({
    queryKey: ["incident", id, "report"],
    queryFn: ({ signal }) => getReport(id, signal),
    staleTime: 0,
  });
  const download = (text: string): void => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/markdown" }));
    link.download = `incident-${number}.md`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  };
  return (
    <div className="p-4">
      <Remote of={report}>
        {(text) => (
          <>
            <div className="mb-3 flex gap-1.5">
              <Button icon={Download} onClick={() => download(text)}>
                Download Markdown
              </Button>
              <Button
                icon={Copy}
                onClick={() =>
                  navigator.clipboard.writeText(text).then(
                    () => toast.ok("The report was copied"),
                    () => toast.calm("The browser does not allow copying: download it"),
                  )
                }
              >
                Copy
              </Button>
            </div>
            <Report markdown={text} under={1} />
          </>
        )}
      </Remote>
    </div>
  );
}
