import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { setNonce } from "get-nonce";
import { Tooltip } from "radix-ui";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { ApiError } from "@/api/problem";
import { router } from "@/app/router";
import { cspNonce } from "@/lib/nonce";
import { Toasts } from "@/ui/Toasts";
import "./styles.css";

// What locks the scrolling behind a dialog writes a style sheet: the policy lets it under the nonce of this page.
setNonce(cspNonce());

const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 2000,
      // What the server refused is refused again; what did not reach it may.
      retry: (count, error) =>
        count < 2 && (!(error instanceof ApiError) || error.isUnreachable || error.status >= 500),
      refetchOnWindowFocus: true,
    },
  },
});

const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={queries}>
        <Tooltip.Provider delayDuration={350}>
          <RouterProvider router={router} />
          <Toasts />
        </Tooltip.Provider>
      </QueryClientProvider>
    </StrictMode>,
  );
}
