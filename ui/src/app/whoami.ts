import { useQuery } from "@tanstack/react-query";
import { type ApiError, requestJson } from "@/api/client";
import { useSession } from "@/api/session";

export interface WhoAmI {
  principal: string;
  kind?: string;
  scopes: string[];
  tenant: string;
  all_tenants: boolean;
  auth_enabled: boolean;
  version: string;
}

/** Who the server takes the reader for. */
export function useWhoAmI() {
  const token = useSession((session) => session.token);
  const tenant = useSession((session) => session.tenant);
  return useQuery<WhoAmI, ApiError>({
    queryKey: ["whoami", token, tenant],
    queryFn: ({ signal }) => requestJson<WhoAmI>("/api/v1/whoami", { signal }),
    staleTime: 60_000,
    retry: (count, error) => error.isUnreachable || (error.status >= 500 && count < 3),
  });
}

/** Whether the reader holds a scope; `admin` holds all. Until it is known, the answer is yes and the server decides. */
export function useCan(scope: "read" | "ingest" | "alerts:write" | "watch" | "admin"): boolean {
  const { data } = useWhoAmI();
  return !data || data.scopes.includes("admin") || data.scopes.includes(scope);
}
