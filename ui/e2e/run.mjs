// Runs the browser tests: `npm run e2e [-- FILE…]`, against the binary $HEIMDALL_BIN.
import { spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";

const folder = import.meta.dirname;
const binary = process.env.HEIMDALL_BIN;
if (!binary || !existsSync(resolve(binary))) {
  console.error("HEIMDALL_BIN must name the heimdall binary, built with the app in it");
  process.exit(2);
}
const named = process.argv.slice(2);
const files =
  named.length > 0
    ? named
    : readdirSync(folder)
        .filter((name) => name.endsWith(".e2e.mjs"))
        .map((name) => join(folder, name));
// Ends what hangs. Node counts it for a whole file as well as for each test, and the longest file takes over four minutes on a
// slow machine, 90 s of which the demo needs for its first alerts; every wait within a test has a shorter limit of its own.
const TIMEOUT_MS = 15 * 60_000;
const child = spawn(process.execPath, ["--test", "--test-concurrency=1", `--test-timeout=${TIMEOUT_MS}`, ...files], {
  stdio: "inherit",
  env: { ...process.env, HEIMDALL_BIN: resolve(binary) },
});
child.on("exit", (code) => process.exit(code ?? 1));
