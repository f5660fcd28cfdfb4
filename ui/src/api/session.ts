/** Who is asking: the token and the tenant that every request carries. A token lives in this tab, or in this browser when
 * the reader says so; it is never put into a URL. */
import { create } from "zustand";

const TOKEN = "heimdall.token";
const TENANT = "heimdall.tenant";

interface Session {
  token: string | null;
  tenant: string | null;
  /** True once the server asked for a token: the sign-in page is shown. */
  refused: boolean;
  signIn: (token: string, remember: boolean) => void;
  signOut: () => void;
  setTenant: (tenant: string | null) => void;
  refuse: () => void;
}

export const useSession = create<Session>()((set) => ({
  token: sessionStorage.getItem(TOKEN) ?? localStorage.getItem(TOKEN),
  tenant: localStorage.getItem(TENANT),
  refused: false,
  signIn: (token, remember) => {
    sessionStorage.setItem(TOKEN, token);
    if (remember) localStorage.setItem(TOKEN, token);
    set({ token, refused: false });
  },
  signOut: () => {
    sessionStorage.removeItem(TOKEN);
    localStorage.removeItem(TOKEN);
    set({ token: null, refused: true });
  },
  setTenant: (tenant) => {
    if (tenant) localStorage.setItem(TENANT, tenant);
    else localStorage.removeItem(TENANT);
    set({ tenant });
  },
  refuse: () => set({ refused: true }),
}));

/** Headers of every request. */
export function sessionHeaders(): Record<string, string> {
  const { token, tenant } = useSession.getState();
  return {
    ...(token ? { Authorization: `Bearer ${token}` } : {}),
    ...(tenant ? { "X-Scope-OrgID": tenant } : {}),
  };
}

/** Subprotocols of a WebSocket: a browser cannot set headers on one. */
export function sessionProtocols(): string[] {
  const { token } = useSession.getState();
  return token ? ["heimdall.v1", `bearer.${token}`] : ["heimdall.v1"];
}
