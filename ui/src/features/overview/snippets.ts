/** Ways to send the first record: one for each door that is open. A new door is one entry here. */

export interface Sender {
  /** Address of this server as the reader's browser knows it. */
  url: string;
  /** A token is needed. */
  token: boolean;
}

export interface Snippet {
  id: string;
  title: string;
  /** What it is for, in one line. */
  hint: string;
  code: (sender: Sender) => string;
  /** What arrives can be told by this: a search line that finds it and nothing else. */
  finds: string;
}

const header = ({ token }: Sender): string => (token ? ` \\\n  -H "Authorization: Bearer $HEIMDALL_TOKEN"` : "");
const env = ({ url, token }: Sender): string =>
  `export HEIMDALL_URL=${url}${token ? "\nexport HEIMDALL_TOKEN=…    # scope ingest" : ""}\n`;

export const SNIPPETS: Snippet[] = [
  {
    id: "curl",
    title: "curl",
    hint: "A log record as JSON: an object, an array or NDJSON, plain, gzip or zstd.",
    code: (sender) =>
      `curl ${sender.url}/api/v1/ingest/logs${header(sender)} \\
  -d '{"service":"hello-curl","level":"info","message":"hello from curl"}'`,
    finds: "service:hello-curl",
  },
  {
    id: "event",
    title: "A security event",
    hint: "An event of a firewall. This one is a brute force attempt: it raises the first alert.",
    code: (sender) =>
      `curl ${sender.url}/ingest${header(sender)} \\
  -d '{"timestamp":"'"$(date -u +%Y-%m-%dT%H:%M:%SZ)"'","source":"hello-firewall",
       "ip":"203.0.113.5","message":"Multiple failed logins detected; possible brute force"}'`,
    finds: "service:hello-firewall",
  },
  {
    id: "file",
    title: "A log file",
    hint: "NDJSON, syslog, access logs, logfmt or plain text: the format is found. A run that was interrupted goes on where it stopped.",
    code: (sender) => `${env(sender)}heimdall ingest /var/log/nginx/access.log --service hello-file`,
    finds: "service:hello-file",
  },
  {
    id: "syslog",
    title: "Syslog lines",
    hint: "Lines of RFC 3164 or 5424, sent over HTTP. Services are named by the lines.",
    code: (sender) =>
      `tail -n 200 /var/log/syslog |
  curl '${sender.url}/api/v1/ingest/logs?format=syslog'${header(sender)} --data-binary @-
# a line to know it by
echo "<14>$(date '+%b %e %T') $(hostname) hello-syslog: hello from syslog" |
  curl '${sender.url}/api/v1/ingest/logs?format=syslog'${header(sender)} --data-binary @-`,
    finds: "service:hello-syslog",
  },
  {
    id: "docker",
    title: "Docker",
    hint: "The output of a container.",
    code: (sender) => `${env(sender)}docker logs --since 1h CONTAINER 2>&1 | heimdall ingest - --service hello-docker`,
    finds: "service:hello-docker",
  },
  {
    id: "metric",
    title: "A metric",
    hint: "A sample: name, value and what it is of.",
    code: (sender) =>
      `curl ${sender.url}/api/v1/ingest/metrics${header(sender)} \\
  -d '{"service":"hello-metric","host":"web-1","name":"cpu_usage","value":71.5}'`,
    finds: "dataset:metrics service:hello-metric",
  },
  {
    id: "agent",
    title: "Heimdall agent",
    hint: "The same binary on every host: CPU, memory, disk, files, journald, probes; keeps everything on disk until it is here.",
    code: ({ url, token }) =>
      `cat > agent.toml <<'EOF'
[server]
url = "${url}"${token ? '\ntoken_file = "/etc/heimdall/token"    # scope ingest' : ""}

[[tails]]
paths = ["/var/log/*.log"]
EOF
heimdall agent --config agent.toml`,
    finds: "dataset:metrics name:agent.heartbeat",
  },
];
