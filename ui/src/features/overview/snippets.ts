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
  /** What arrives can be told by this: a search line that finds it and nothing else … */
  finds?: string;
  /** … or by receipts of these doors, where the sender decides what the records are called. */
  doors?: string[];
}

/** Host of this server, and a port beside the HTTP listener's. */
const host = ({ url }: Sender, port: number): string => `${new URL(url).hostname}:${port}`;
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
  {
    id: "otel",
    title: "OpenTelemetry",
    hint: "Logs, metrics and traces of any OpenTelemetry SDK or Collector, over gRPC or HTTP.",
    code: (sender) => `# an instrumented program
export OTEL_EXPORTER_OTLP_ENDPOINT=http://${host(sender, 4317)}${
      sender.token ? '\nexport OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer $HEIMDALL_TOKEN"' : ""
    }

# or a Collector
exporters:
  otlp:
    endpoint: ${host(sender, 4317)}
    tls: { insecure: true }${sender.token ? `\n    headers: { authorization: "Bearer \${env:HEIMDALL_TOKEN}" }` : ""}`,
    doors: ["otlp", "otlp_grpc"],
  },
  {
    id: "beats",
    title: "Filebeat, Logstash, Elasticsearch clients",
    hint: "Whatever writes to Elasticsearch: the bulk interface, with the answers Beats ask for.",
    code: (sender) => `# filebeat.yml
output.elasticsearch:
  hosts: ["${sender.url}"]${sender.token ? `\n  username: heimdall\n  password: "\${HEIMDALL_TOKEN}"` : ""}
setup.ilm.enabled: false
setup.template.enabled: false`,
    doors: ["elasticsearch"],
  },
  {
    id: "rsyslog",
    title: "rsyslog, syslog-ng, network devices",
    hint: "Syslog over TCP or UDP, RFC 5424 or 3164.",
    code: (sender) => `# /etc/rsyslog.d/heimdall.conf
*.* action(type="omfwd" target="${new URL(sender.url).hostname}" port="5514" protocol="tcp"
           TCP_Framing="octet-counted" template="RSYSLOG_SyslogProtocol23Format"
           action.resumeRetryCount="-1" queue.type="LinkedList" queue.filename="heimdall" queue.saveOnShutdown="on")`,
    doors: ["syslog_tcp", "syslog_udp", "syslog_tls", "relp"],
  },
  {
    id: "fluent",
    title: "Fluent Bit, Fluentd, Docker's fluentd driver",
    hint: "The forward protocol; a chunk is acknowledged when it is on disk.",
    code: (sender) => `# fluent-bit.conf
[OUTPUT]
    Name                 forward
    Match                *
    Host                 ${new URL(sender.url).hostname}
    Port                 24224
    Require_ack_response True`,
    doors: ["fluent"],
  },
  {
    id: "loki",
    title: "Alloy, Promtail, whatever writes to Loki",
    hint: "Loki's push interface; labels become fields.",
    code: (sender) => `# config.alloy
loki.write "heimdall" {
  endpoint {
    url = "${sender.url}/loki/api/v1/push"${sender.token ? '\n    bearer_token = sys.env("HEIMDALL_TOKEN")' : ""}
  }
}`,
    doors: ["loki"],
  },
  {
    id: "hec",
    title: "Splunk HTTP event collector",
    hint: "Splunk's forwarders and loggers, Docker's splunk driver. The token goes where Splunk's would.",
    code: (sender) =>
      `curl ${sender.url}/services/collector/event${sender.token ? ' \\\n  -H "Authorization: Splunk $HEIMDALL_TOKEN"' : ""} \\
  -d '{"source":"hello-hec","event":{"service":"hello-hec","message":"hello from the event collector"}}'`,
    doors: ["hec"],
  },
  {
    id: "prometheus",
    title: "Prometheus",
    hint: "Remote write, version 1 and 2. Or let Heimdall scrape: [[doors.scrape]] in its configuration.",
    code: (sender) => `# prometheus.yml
remote_write:
  - url: ${sender.url}/api/v1/write${
    sender.token ? "\n    authorization: { credentials_file: /etc/heimdall/token }" : ""
  }`,
    doors: ["remote_write", "scrape"],
  },
  {
    id: "kafka",
    title: "Kafka, Redpanda",
    hint: "Heimdall reads topics as a consumer group: JSON, Avro or Protobuf. Each message once.",
    code: () => `KAFKA_BROKERS=localhost:9092 KAFKA_TOPIC=security-events heimdall serve
# a demo message
heimdall kafka produce --brokers localhost:9092 --topic security-events`,
    doors: ["kafka"],
  },
  {
    id: "journald",
    title: "systemd's journal",
    hint: "systemd-journal-upload on any host.",
    code: (sender) => `# /etc/systemd/journal-upload.conf
[Upload]
URL=${sender.url}`,
    doors: ["journald"],
  },
  {
    id: "telegraf",
    title: "Telegraf, Influx line protocol",
    hint: "What writes to InfluxDB.",
    code: (sender) => `# telegraf.conf
[[outputs.influxdb_v2]]
  urls = ["${sender.url}"]
  token = "${sender.token ? "$HEIMDALL_TOKEN" : ""}"
  organization = "heimdall"
  bucket = "telegraf"`,
    doors: ["influx"],
  },
  {
    id: "datadog",
    title: "Datadog agent",
    hint: "Logs, sent here instead.",
    code: (sender) => `# datadog.yaml
logs_enabled: true
logs_config:
  force_use_http: true
  logs_dd_url: ${new URL(sender.url).host}
  logs_no_ssl: ${sender.url.startsWith("https") ? "false" : "true"}`,
    doors: ["datadog"],
  },
];
