// What the browser tests send: records of a small shop, the same ones every time.

const SERVICES = ["checkout", "payment", "catalog", "auth"];
const LINES = [
  ["info", "order 4711 is paid by u17 in 31 ms"],
  ["info", "GET /cart 200 in 12 ms"],
  ["warn", "retry 2 of 3 for card network"],
  ["error", "connection refused by card-network:443"],
];

/**
 * Sends log records spread over the last half hour, a few errors among them, and waits until they are found.
 * Record `n` is of service `SERVICES[n % 4]`, of user `u(n % 50)`, and every twentieth is an error.
 */
export async function sendLogs(server, count, { marker = "story" } = {}) {
  const end = Date.now() - 1000;
  const step = 1_800_000 / count;
  for (let from = 0; from < count; from += 1000) {
    const lines = [];
    for (let n = from; n < Math.min(count, from + 1000); n += 1) {
      const [level, text] = n % 20 === 0 ? LINES[3] : LINES[n % 3];
      lines.push(
        JSON.stringify({
          timestamp: new Date(end - (count - n) * step).toISOString(),
          service: SERVICES[n % SERVICES.length],
          level,
          message: text.replace("4711", String(4000 + n)),
          user_id: `u${n % 50}`,
          duration_ms: 5 + (n % 90),
          trace_id: (n + 1).toString(16).padStart(32, "0"),
          marker,
        }),
      );
    }
    await server.json("/api/v1/ingest/logs", { method: "POST", body: lines.join("\n") });
  }
}

/** Sends the event that raises the alert `Brute force reported` about an address. */
export async function raiseAlert(server, ip) {
  await server.json("/ingest", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({
      timestamp: new Date().toISOString(),
      source: "web-firewall",
      ip,
      message: "Multiple failed logins detected; possible brute force",
    }),
  });
}
