import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

/** Writes `X.br` and `X.gz` beside every file worth compressing: the server compresses nothing itself. */
function precompress(): Plugin {
  const worthIt = /\.(?:js|css|html|svg|json|webmanifest)$/;
  const visit = (folder: string): void => {
    for (const name of readdirSync(folder)) {
      const path = join(folder, name);
      if (statSync(path).isDirectory()) visit(path);
      else if (worthIt.test(name)) {
        const bytes = readFileSync(path);
        if (bytes.length < 1024) continue;
        writeFileSync(`${path}.gz`, gzipSync(bytes, { level: 9 }));
        const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
        writeFileSync(`${path}.br`, brotliCompressSync(bytes, { params }));
      }
    }
  };
  return { name: "precompress", apply: "build", closeBundle: () => visit(resolve(import.meta.dirname, "dist")) };
}

/** The 3D library compiles sizes of its effects with `new Function`, which the page's policy forbids: they are read by us. */
function noEval(): Plugin {
  const compiled = "new Function('width', 'height', 'dpr', 'return ' + exprRes[1])";
  const reader = resolve(import.meta.dirname, "src/features/services/gl/sizeExpression");
  return {
    name: "no-eval",
    apply: "build",
    transform(code, id) {
      if (!id.endsWith("claygl/src/createCompositor.js")) return null;
      if (!code.includes(compiled)) throw new Error("claygl changed: look again where it compiles text");
      const read = code.replace(compiled, "sizeExpression(exprRes[1])");
      return { code: `import { sizeExpression } from ${JSON.stringify(reader)};\n${read}`, map: null };
    },
  };
}

const server = process.env.HEIMDALL_URL ?? "http://127.0.0.1:8000";
const served = ["/api", "/alerts/", "/logs", "/metrics", "/health", "/livez", "/readyz", "/openapi.json", "/ingest"];

export default defineConfig({
  plugins: [react(), tailwindcss(), noEval(), precompress()],
  resolve: { alias: { "@": resolve(import.meta.dirname, "src") } },
  server: {
    host: "127.0.0.1",
    port: 5173,
    // The server checks `Origin`: to it, the pages of the development server are its own.
    proxy: {
      ...Object.fromEntries(
        served.map((path) => [
          path,
          {
            target: server,
            ws: path === "/api",
            changeOrigin: true,
            headers: { origin: server },
            bypass: (request) => (request.headers.accept?.includes("text/html") ? "/index.html" : undefined),
          },
        ]),
      ),
      "/ws": { target: server.replace("http", "ws"), ws: true, changeOrigin: true, headers: { origin: server } },
    },
  },
  build: { target: "es2022", assetsInlineLimit: 0, chunkSizeWarningLimit: 1500, sourcemap: false },
  test: { environment: "happy-dom", include: ["src/**/*.test.{ts,tsx}"], setupFiles: ["src/test/setup.ts"] },
});
