import { Link } from "@tanstack/react-router";
import { Compass, TriangleAlert } from "lucide-react";
import { Button } from "@/ui/Button";
import { Notice } from "@/ui/States";

export function Lost() {
  return (
    <Notice
      icon={Compass}
      title="There is no such page"
      action={
        <Link to="/" className="text-accent hover:underline">
          To the overview
        </Link>
      }
    />
  );
}

/** A page that broke: the rest of the app goes on. A chunk that a newer server no longer has means a reload. */
export function PageFailed({ error }: { error: unknown }) {
  const message = error instanceof Error ? error.message : String(error);
  const outdated = /dynamically imported module|Importing a module script failed/.test(message);
  return (
    <Notice
      icon={TriangleAlert}
      tone="bad"
      title={outdated ? "Heimdall was updated, or does not answer" : "This page failed"}
      action={<Button onClick={() => location.reload()}>Load it again</Button>}
    >
      <span className="font-mono text-xs">{message}</span>
    </Notice>
  );
}
