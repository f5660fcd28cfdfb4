import { Link } from "@tanstack/react-router";
import { cx } from "@/lib/cx";

/** A service by name, leading to its page. Nothing where no service is known. */
export function ServiceLink({ service, className }: { service: string | null | undefined; className?: string }) {
  if (!service) return <span className="text-faint">–</span>;
  return (
    <Link
      to="/services/$service"
      params={{ service }}
      className={cx("truncate font-medium hover:text-accent hover:underline", className)}
      title={service}
    >
      {service}
    </Link>
  );
}
