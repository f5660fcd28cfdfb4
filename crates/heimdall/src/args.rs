//! The command line; what people work with alerts by is in [`people`].

mod people;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use heimdall_simulate::BenchForm;
use serde::Serialize;

use crate::config::LogFormat;

pub(crate) use people::{
    ActionsArgs, ActionsCommand, AlertAction, AlertFilterArgs, AlertsArgs, DashboardsArgs, DashboardsCommand,
    IncidentsArgs, IncidentsCommand, NotificationsArgs, NotificationsCommand, SilenceAddArgs, SilencesArgs,
    SilencesCommand, SwitchPosition,
};

/// Self-hosted guardian for services and hosts: keeps logs, metrics and events, finds attacks and trouble, tells people.
#[derive(Debug, Parser)]
#[command(name = "heimdall", version, max_term_width = 110, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server
    Serve(ServeArgs),
    /// Watch this host: metrics, endpoints, logs; keep what the server has not yet, detect without it
    Agent(AgentArgs),
    /// Run the server and feed it with a simulated company that is attacked and breaks
    Demo(DemoArgs),
    /// Write simulated structured logs to standard output, a file or a server
    Generate(GenerateArgs),
    /// Send a log file (or standard input) to the server
    Ingest(IngestArgs),
    /// Send messages to a Kafka topic, for a server that reads it
    #[command(subcommand)]
    Kafka(KafkaCommand),
    /// Search records: `heimdall search 'level>=error "connection refused" | stats count() by service'`
    Search(SearchArgs),
    /// Ask in plain words: `heimdall ask errors of the payment service in the last hour`
    Ask(AskArgs),
    /// Ask in SQL: `heimdall sql 'select service, count(*) from logs group by 1 order by 2 desc'`
    Sql(SqlArgs),
    /// Follow records as they arrive
    Tail(TailArgs),
    /// Technician console: alerts as they happen, over TCP
    Watch(WatchArgs),
    /// List alerts, work with one, or ask why nobody was told of it
    Alerts(AlertsArgs),
    /// Alerts that belong together: list, take, resolve, export the post-mortem
    Incidents(IncidentsArgs),
    /// Keep quiet about alerts for a while
    Silences(SilencesArgs),
    /// Dashboards of the web app, as files: list, export, import
    Dashboards(DashboardsArgs),
    /// Who was told what, where alerts go, who is on call
    Notifications(NotificationsArgs),
    /// What Heimdall does about alerts by itself: plans, runs, approvals, the kill switch
    Actions(ActionsArgs),
    /// Issue, revoke and list access tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Check and test detection rules
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Try pipelines out: records before and after
    #[command(subcommand)]
    Pipeline(PipelineCommand),
    /// Records that were rejected or kept aside: look at them, try them again, remove them
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
    /// Run one part of the engine over lines on standard input, without a server
    #[command(subcommand)]
    Batch(BatchTask),
    /// Look after stored segments: of a data folder in which no server runs, or erase records of a running one
    #[command(subcommand)]
    Storage(StorageCommand),
    /// Measure this machine
    #[command(subcommand)]
    Bench(BenchCommand),
    /// What the server is doing
    Status(Remote),
    /// Print the reference of all configuration keys, in Markdown
    #[command(hide = true)]
    ConfigReference,
    /// Print shell completions
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
}

/// Where the server is and who asks.
#[derive(Debug, Clone, Args)]
pub(crate) struct Remote {
    /// Address of the server
    #[arg(long, env = "HEIMDALL_URL", default_value = "http://127.0.0.1:8000", global = true)]
    pub url: String,
    /// Access token; not needed from loopback on a loopback listener
    #[arg(long, env = "HEIMDALL_TOKEN", hide_env_values = true, global = true)]
    pub token: Option<String>,
    /// Tenant, where the token may choose
    #[arg(long, env = "HEIMDALL_TENANT", global = true)]
    pub tenant: Option<String>,
}

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ServeArgs {
    /// Configuration file [default: heimdall.toml, when it exists]
    #[arg(long, env = "HEIMDALL_CONFIG")]
    pub config: Option<PathBuf>,
    /// Folder of everything the server keeps [default: ./heimdall-data]
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1:8000]; port 0 takes a free one
    #[arg(long)]
    pub listen: Option<SocketAddr>,
    /// Address of the technician listener [default: 127.0.0.1:7007]
    #[arg(long)]
    pub watch_listen: Option<SocketAddr>,
    /// Every request needs a token
    #[arg(long)]
    pub auth: bool,
    /// Folder of detection rules, used besides the built-in ones
    #[arg(long)]
    pub rules_dir: Option<PathBuf>,
    /// Least serious level to log, or a filter
    #[arg(long)]
    pub log_level: Option<String>,
    /// How log lines look
    #[arg(long)]
    pub log_format: Option<LogFormat>,
    /// Show the effective configuration and where each value came from, and exit
    #[arg(long)]
    pub print_config: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    /// Configuration file [default: heimdall-agent.toml, when it exists]
    #[arg(long, env = "HEIMDALL_AGENT_CONFIG")]
    pub config: Option<PathBuf>,
    /// Address of the server; without one the agent works alone
    #[arg(long, env = "HEIMDALL_URL")]
    pub url: Option<String>,
    /// Access token with the scope `ingest`; better in a file, as `server.token_file`
    #[arg(long, env = "HEIMDALL_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Folder of the buffer and of checkpoints [default: ./heimdall-agent]
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// Folder of detection rules, used besides the built-in ones
    #[arg(long)]
    pub rules_dir: Option<PathBuf>,
    /// Least serious level to log, or a filter
    #[arg(long, default_value = "info")]
    pub log_level: String,
    /// Show the effective configuration, and exit
    #[arg(long)]
    pub print_config: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Seed of the story: the same seed gives the same one
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
    /// End after this many seconds of real time; 0 runs until interrupted
    #[arg(long, default_value_t = 0)]
    pub duration: u64,
    /// Simulated seconds per real second
    #[arg(long, default_value_t = 1.0)]
    pub speed: f64,
    /// Besides, make real containers, break them in turn, and heal them
    #[arg(long)]
    pub docker: bool,
    /// Image of these containers: anything with a shell and busybox's httpd
    #[arg(long, default_value = "busybox:stable", requires = "docker")]
    pub docker_image: String,
    /// Socket of the Docker engine
    #[arg(long, default_value = "/var/run/docker.sock", requires = "docker")]
    pub docker_socket: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// Seconds to run
    #[arg(long, default_value_t = 120.0)]
    pub duration: f64,
    /// Shortest pause between entries, in seconds
    #[arg(long, default_value_t = 0.05)]
    pub min_interval: f64,
    /// Longest pause between entries, in seconds
    #[arg(long, default_value_t = 0.2)]
    pub max_interval: f64,
    /// Seed: the same seed gives the same entries
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
    /// Do not wait between entries: write them as fast as possible with the times they would have
    #[arg(long)]
    pub no_wait: bool,
    /// Write this many benchmark lines instead, as fast as possible
    #[arg(long)]
    pub lines: Option<u64>,
    /// Send to the server at --url instead of writing
    #[arg(long)]
    pub send: bool,
    /// Write to this file instead of standard output
    #[arg(long, short)]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct IngestArgs {
    /// File to send (plain or gzip), or `-` for standard input
    pub file: String,
    /// Format of the lines
    #[arg(long, value_enum, default_value_t = LineFormat::Auto)]
    pub format: LineFormat,
    /// Service of records that name none
    #[arg(long)]
    pub service: Option<String>,
    /// Begin at the start even when an earlier run was interrupted
    #[arg(long)]
    pub restart: bool,
    /// No progress bar
    #[arg(long)]
    pub quiet: bool,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LineFormat {
    Auto,
    Ndjson,
    Syslog,
    Access,
    Logfmt,
    Plain,
}

#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// Search line; everything when left out
    #[arg(default_value = "")]
    pub query: String,
    /// Begin this long ago, such as 15m, 4h or 7d
    #[arg(long, default_value = "1h", conflicts_with = "from")]
    pub since: String,
    /// Begin at this time (RFC 3339, epoch, or now-15m)
    #[arg(long)]
    pub from: Option<String>,
    /// End before this time
    #[arg(long)]
    pub to: Option<String>,
    /// Rows at most
    #[arg(long, short = 'n', default_value_t = 100)]
    pub limit: usize,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Show the plan instead of running
    #[arg(long)]
    pub explain: bool,
    /// Colour
    #[arg(long, value_enum, default_value_t = Colour::Auto)]
    pub color: Colour,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct AskArgs {
    /// The question, quoted or not
    #[arg(required = true)]
    pub question: Vec<String>,
    /// Time zone of days and times of day, such as Europe/Berlin
    #[arg(long, default_value = "UTC")]
    pub zone: String,
    /// Rows at most
    #[arg(long, short = 'n', default_value_t = 100)]
    pub limit: usize,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Show what it was understood as and what it would cost, instead of running it
    #[arg(long)]
    pub explain: bool,
    /// Colour
    #[arg(long, value_enum, default_value_t = Colour::Auto)]
    pub color: Colour,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct SqlArgs {
    /// One statement that reads; `-` takes it from standard input
    pub query: String,
    /// Only records of this long ago or later, such as 15m, 4h or 7d; all when left out
    #[arg(long, conflicts_with = "from")]
    pub since: Option<String>,
    /// Only records at or after this time (RFC 3339, epoch, or now-15m)
    #[arg(long)]
    pub from: Option<String>,
    /// Only records before this time
    #[arg(long, visible_alias = "until")]
    pub to: Option<String>,
    /// Rows at most
    #[arg(long, short = 'n', default_value_t = 10_000)]
    pub limit: usize,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t = SqlFormat::Table)]
    pub format: SqlFormat,
    /// Show the plan instead of running
    #[arg(long)]
    pub explain: bool,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SqlFormat {
    /// Columns for people
    Table,
    /// A line of names, then one of values for each row
    Csv,
    /// The answer of the API: columns, rows, statistics
    Json,
    /// One object a line
    Ndjson,
    /// An Arrow IPC stream
    Arrow,
    /// A Parquet file
    Parquet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// Filter part of a search line; everything when left out
    #[arg(default_value = "")]
    pub query: String,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    /// End after this many records
    #[arg(long, short = 'n')]
    pub limit: Option<u64>,
    /// Colour
    #[arg(long, value_enum, default_value_t = Colour::Auto)]
    pub color: Colour,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Address of the technician listener
    #[arg(long, env = "HEIMDALL_WATCH", default_value = "127.0.0.1:7007")]
    pub address: String,
    /// Access token; not needed from loopback without auth
    #[arg(long, env = "HEIMDALL_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Tenant whose alerts to hear, where the token may choose
    #[arg(long, env = "HEIMDALL_TENANT")]
    pub tenant: Option<String>,
    /// The JSON lines as they come
    #[arg(long)]
    pub json: bool,
    /// Colour
    #[arg(long, value_enum, default_value_t = Colour::Auto)]
    pub color: Colour,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KafkaCommand {
    /// Send a demo security event, a text, or the lines of a file; every replica has them when it ends
    Produce(ProduceArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ProduceArgs {
    /// Brokers to ask first, separated by commas
    #[arg(long, env = "KAFKA_BROKERS", default_value = "localhost:9092")]
    pub brokers: String,
    /// Topic
    #[arg(long, env = "KAFKA_TOPIC", default_value = "security-events")]
    pub topic: String,
    /// How many times to send
    #[arg(long, default_value_t = 1)]
    pub count: u64,
    /// File whose lines are the messages; `-` is standard input
    #[arg(long, conflicts_with = "message")]
    pub file: Option<PathBuf>,
    /// The message, instead of the demo event
    #[arg(long)]
    pub message: Option<String>,
    /// User to log in as
    #[arg(long, requires = "password_file")]
    pub user: Option<String>,
    /// File with that user's password
    #[arg(long, requires = "user")]
    pub password_file: Option<PathBuf>,
    /// How to log in
    #[arg(long, value_enum, default_value_t = Login::ScramSha512)]
    pub sasl: Login,
    /// Encrypt connections
    #[arg(long)]
    pub tls: bool,
    /// PEM file of the authorities of the brokers' certificates
    #[arg(long, requires = "tls")]
    pub ca_file: Option<PathBuf>,
}

/// A way to log in to Kafka.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Login {
    Plain,
    #[value(name = "scram-sha-256")]
    ScramSha256,
    #[value(name = "scram-sha-512")]
    ScramSha512,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Issue a token; its secret is shown once
    Issue {
        /// Who or what it is for
        name: String,
        /// Comma-separated scopes: read, ingest, alerts:write, watch, admin
        #[arg(long, default_value = "read")]
        scopes: String,
        /// Time until it expires, such as 12h or 90d; 0 never does
        #[arg(long, default_value = "90d")]
        expires: String,
        /// It may speak for every tenant; otherwise only for the one of --tenant, or `default`
        #[arg(long, conflicts_with = "tenant")]
        all_tenants: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// Revoke a token; its live sessions end within a second
    Revoke {
        /// Id of the token
        id: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// List tokens
    List {
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// Load rule files and name what is wrong with them
    Check {
        /// Files or folders; the built-in rules when left out
        paths: Vec<PathBuf>,
    },
    /// Run the samples that rules carry
    Test {
        /// Files or folders; the built-in rules when left out
        paths: Vec<PathBuf>,
    },
    /// Run rules over what a server keeps: how often would they have fired, and about whom
    Backtest(BacktestArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum PipelineCommand {
    /// Show what a pipeline makes of records: `heimdall pipeline test nginx.yaml --input access.log`
    Test(PipelineTestArgs),
    /// List the pipelines of a running server, or with --dir those of a folder and the built-in ones
    List {
        /// Folder of pipelines
        #[arg(long)]
        dir: Option<PathBuf>,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PipelineTestArgs {
    /// The pipeline: a file, or the name of a built-in one. Tables are looked for in the file's folder
    pub pipeline: String,
    /// Records: a file, or `-` for standard input; without it the pipeline is only checked
    #[arg(long, short)]
    pub input: Option<String>,
    /// Format of the records: json, text, syslog, combined, logfmt or auto
    #[arg(long, default_value = "auto")]
    pub format: String,
    /// `logs`, `metrics` or `spans`
    #[arg(long, default_value = "logs")]
    pub dataset: String,
    /// The door they would come through
    #[arg(long, default_value = "http")]
    pub door: String,
    /// The tenant they would be of
    #[arg(long, default_value = "default")]
    pub tenant: String,
    /// Service of records that name none
    #[arg(long)]
    pub service: Option<String>,
    /// Folder of JSON Schemas
    #[arg(long)]
    pub schemas_dir: Option<PathBuf>,
    /// One JSON object a record
    #[arg(long)]
    pub json: bool,
}

/// Which dead letters.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct LetterFilterArgs {
    /// The door they came through
    #[arg(long)]
    pub door: Option<String>,
    /// `logs`, `metrics` or `spans`
    #[arg(long)]
    pub dataset: Option<String>,
    /// The receipt of their batch
    #[arg(long)]
    pub receipt: Option<String>,
    /// `rejected` or `quarantined`
    #[arg(long)]
    pub outcome: Option<String>,
    /// The field at fault
    #[arg(long)]
    pub field: Option<String>,
    /// From this arrival on (RFC 3339, epoch, or now-15m)
    #[arg(long)]
    pub from: Option<String>,
    /// Before this arrival
    #[arg(long)]
    pub to: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// List them, newest first
    List {
        #[command(flatten)]
        filter: LetterFilterArgs,
        /// At most this many
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show one with its text
    Show {
        /// Its id
        id: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Try them again; those taken are removed
    Replay {
        /// Their ids; or say which by conditions, or --all
        ids: Vec<String>,
        #[command(flatten)]
        filter: LetterFilterArgs,
        /// All of them
        #[arg(long)]
        all: bool,
        /// Through this pipeline of the server
        #[arg(long)]
        pipeline: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Remove them from disk
    Purge {
        #[command(flatten)]
        filter: LetterFilterArgs,
        /// All of them
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Debug, Args)]
pub(crate) struct BacktestArgs {
    /// Files or folders; the built-in rules when left out
    pub paths: Vec<PathBuf>,
    /// Only the rule with this id; may be given several times
    #[arg(long = "rule")]
    pub rules: Vec<String>,
    /// Start: RFC 3339, epoch, or like now-7d
    #[arg(long, default_value = "now-7d")]
    pub from: String,
    /// End
    #[arg(long, default_value = "now")]
    pub to: String,
    /// One JSON object a rule
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BatchTask {
    /// Mine templates: {"line","content"} in, {"line","template_id","template"} out at the end
    Templates,
    /// Run the detectors: lines in, alerts {"rule","severity","source_ip","first_line","last_line","time","count"} out
    Detect {
        /// Detector thresholds, as the [detect] section of the configuration
        #[arg(long)]
        config: Option<PathBuf>,
        /// Format of the lines
        #[arg(long, value_enum)]
        source: DetectSource,
    },
    /// Score points of series: {"series","timestamp","value"} in, {"series","timestamp","anomaly_score","is_anomaly","severity"} out, each before the next is read
    Anomaly,
    /// Find unusual ranges of rows in a table: {"start","end","score"} out, rows counted from 0
    AnomalyMv {
        /// Table of what is usual, as CSV with a header
        #[arg(long)]
        train: PathBuf,
        /// Table to judge, with the same columns
        #[arg(long)]
        test: PathBuf,
    },
    /// Match Sigma rules: {"event_id","logsource","event"} in, {"event_id","rule_ids"} out; exit code 1 when a rule does not load
    Sigma {
        /// Folder of rules, searched with the folders in it
        #[arg(long)]
        rules: PathBuf,
        /// Pipeline that maps field names: ecs, otel, auditd, web, or a file; may be given several times
        #[arg(long)]
        pipeline: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DetectSource {
    Syslog,
    Combined,
    Jsonl,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StorageCommand {
    /// List segments: of a data folder, or without --data-dir those of your tenant in a running server
    Ls {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        /// Data folder to read; a server may be running in it
        #[arg(long)]
        data_dir: Option<PathBuf>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Merge segments until nothing is left to merge, without waiting for days to settle
    Compact {
        /// No progress on standard error
        #[arg(long)]
        quiet: bool,
        #[command(flatten)]
        folder: Folder,
    },
    /// Erase records from all segments of a running server: `heimdall storage erase 'user_id:42' --yes`
    Erase {
        /// Filter part of a search line
        filter: String,
        /// Really erase; otherwise it is only said what would be
        #[arg(long)]
        yes: bool,
        /// `logs`, `metrics` or `spans`
        #[arg(long, default_value = "logs")]
        dataset: String,
        /// Begin at this time (RFC 3339, epoch, or now-15m)
        #[arg(long)]
        from: Option<String>,
        /// End before this time
        #[arg(long)]
        to: Option<String>,
        /// The report as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// Read every byte of the journal and of all segments, and name what is damaged; exit code 1 when something is
    Verify {
        /// One JSON object a line for each damaged file
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        folder: Folder,
    },
    /// Write records as one Parquet file that any program reads
    Export(ExportArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// File to write; it must not be there yet
    pub out: PathBuf,
    /// Filter part of a search line; all records when left out
    pub filter: Option<String>,
    /// `logs`, `metrics` or `spans`
    #[arg(long, default_value = "logs")]
    pub dataset: String,
    /// Whose records
    #[arg(long, default_value = "default")]
    pub tenant: String,
    /// Begin at this time (RFC 3339, epoch, or now-15m)
    #[arg(long)]
    pub from: Option<String>,
    /// End before this time
    #[arg(long)]
    pub to: Option<String>,
    /// Leave out segments that are damaged, and say which
    #[arg(long)]
    pub without_damaged: bool,
    #[command(flatten)]
    pub folder: Folder,
}

/// A data folder in which no server runs.
#[derive(Debug, Clone, Args)]
pub(crate) struct Folder {
    /// Configuration file of the server [default: heimdall.toml, when it exists]
    #[arg(long, env = "HEIMDALL_CONFIG")]
    pub config: Option<PathBuf>,
    /// Folder of everything the server keeps [default: ./heimdall-data]
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Send generated lines, or those of a file, over loopback HTTP and measure acknowledged throughput
    Ingest(BenchIngestArgs),
    /// Run a set of queries against a data folder and measure them
    Query(BenchQueryArgs),
    /// Post metric samples, each a request of its own, all at once, and check that each is answered and judged
    Flood {
        /// Requests
        #[arg(long, default_value_t = 2_000)]
        requests: usize,
        /// Results as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct BenchIngestArgs {
    /// Lines to send
    #[arg(long, default_value_t = 1_000_000)]
    pub lines: u64,
    /// Lines per request
    #[arg(long, default_value_t = 5_000)]
    pub batch: usize,
    /// Connections
    #[arg(long, default_value_t = 4)]
    pub connections: usize,
    /// Door the lines come through, in the form its senders write
    #[arg(long, value_enum, default_value = "native")]
    pub door: BenchDoor,
    /// Days of event time the lines cover
    #[arg(long, default_value_t = 7.0)]
    pub days: f64,
    /// Send this log file (plain or gzip) instead of generated lines
    #[arg(long, conflicts_with_all = ["lines", "batch", "days", "door"])]
    pub file: Option<String>,
    /// Folder to fill and keep; a temporary one when left out
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// Results as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BenchDoor {
    /// Heimdall's own, NDJSON
    Native,
    /// The bulk API of Elasticsearch
    Elasticsearch,
    /// Pushes to Loki, in JSON
    Loki,
    /// OTLP over HTTP, in protobuf
    Otlp,
    /// OTLP over HTTP, in JSON
    OtlpJson,
}

impl BenchDoor {
    /// The form its senders write.
    pub(crate) fn form(self) -> BenchForm {
        match self {
            BenchDoor::Native => BenchForm::Native,
            BenchDoor::Elasticsearch => BenchForm::Elasticsearch,
            BenchDoor::Loki => BenchForm::Loki,
            BenchDoor::Otlp => BenchForm::Otlp,
            BenchDoor::OtlpJson => BenchForm::OtlpJson,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct BenchQueryArgs {
    /// Folder with records, such as one filled by `bench ingest --data-dir`; no server may be running in it
    #[arg(long)]
    pub data_dir: PathBuf,
    /// Runs of each query [default: until its figures are steady or its time is up]
    #[arg(long)]
    pub runs: Option<usize>,
    /// Only queries whose name holds this text; may be given several times
    #[arg(long)]
    pub only: Vec<String>,
    /// Ask in SQL, the queries that have a form in it
    #[arg(long, conflicts_with = "clients")]
    pub sql: bool,
    /// Instead: this many clients at once ask a random mix of queries, values and time ranges
    #[arg(long, default_value_t = 0)]
    pub clients: usize,
    /// Seconds the clients ask
    #[arg(long, default_value_t = 10, requires = "clients")]
    pub seconds: u64,
    /// Send generated lines at full speed meanwhile; they stay in the folder
    #[arg(long, requires = "clients")]
    pub while_ingesting: bool,
    /// Let the server answer from its result cache where it can
    #[arg(long)]
    pub cache: bool,
    /// Results as JSON
    #[arg(long)]
    pub json: bool,
}
