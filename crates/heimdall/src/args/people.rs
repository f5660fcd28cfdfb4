//! Arguments of the commands people work with alerts by: alerts, incidents, silences, notifications, actions; and dashboards.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Remote;

#[derive(Debug, Args)]
pub(crate) struct AlertsArgs {
    /// Alert to show or change; several are separated by commas
    pub id: Option<String>,
    /// What to do with it
    #[arg(value_enum, requires = "id")]
    pub action: Option<AlertAction>,
    /// What `assign` (a name, or `nobody`), `comment` (the words) and `priority` (p1, p2, p3) need
    #[arg(requires = "action")]
    pub value: Option<String>,
    /// Why
    #[arg(long)]
    pub note: Option<String>,
    /// With `suppress`: only for this long, such as 2h; it is open again then
    #[arg(long = "for", value_name = "DURATION", conflicts_with = "until")]
    pub period: Option<String>,
    /// With `suppress`: only until this time (RFC 3339, epoch, or now+2h)
    #[arg(long)]
    pub until: Option<String>,
    #[command(flatten)]
    pub filter: AlertFilterArgs,
    /// Alerts at most
    #[arg(long, short = 'n', default_value_t = 50)]
    pub limit: usize,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub remote: Remote,
}

/// Which alerts to list.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct AlertFilterArgs {
    /// Only alerts of this status: open, acknowledged, suppressed, resolved; several with commas
    #[arg(long)]
    pub status: Option<String>,
    /// Only alerts of this severity: normal, warning, critical
    #[arg(long)]
    pub severity: Option<String>,
    /// Only alerts of this rule
    #[arg(long)]
    pub rule: Option<String>,
    /// Only alerts about this service
    #[arg(long)]
    pub service: Option<String>,
    /// Only alerts somebody works on
    #[arg(long)]
    pub assignee: Option<String>,
    /// Only alerts of this incident
    #[arg(long)]
    pub incident: Option<String>,
    /// Only alerts that say this somewhere
    #[arg(long)]
    pub text: Option<String>,
    /// Only alerts whose label passes, such as 'service=~"pay.*"'; may be given several times
    #[arg(long = "match", value_name = "MATCHER")]
    pub matchers: Vec<String>,
    /// Only alerts raised at this time or later (RFC 3339, epoch, or now-2h)
    #[arg(long)]
    pub since: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AlertAction {
    /// All that is known of it, and earlier alerts like it
    Show,
    /// Who was told of it, who was not, and why
    Why,
    /// What playbooks would do about it
    Plan,
    /// Somebody takes it
    #[value(alias = "ack")]
    Acknowledge,
    /// Keep quiet about it, and go on counting
    #[value(alias = "snooze")]
    Suppress,
    /// It is over
    Resolve,
    /// It is not over
    Reopen,
    /// Somebody works on it: `assign ann`, or `assign nobody`
    Assign,
    /// Write something on it: `comment "the disk is full"`
    Comment,
    /// How urgent it is: `priority p1`
    Priority,
    /// It was so, and worth telling: thresholds follow
    TruePositive,
    /// It was not so, or nobody needed to know: thresholds follow
    FalsePositive,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IncidentsCommand {
    /// List incidents, newest first
    List {
        /// Only incidents of this status: open, acknowledged, resolved; several with commas
        #[arg(long)]
        status: Option<String>,
        /// Only incidents somebody owns
        #[arg(long)]
        owner: Option<String>,
        /// Only incidents of this service
        #[arg(long)]
        service: Option<String>,
        /// Incidents at most
        #[arg(long, short = 'n', default_value_t = 50)]
        limit: usize,
    },
    /// Everything about one: alerts, timeline, comments
    Show {
        /// Its number or id
        id: String,
    },
    /// Somebody takes it, and all its open alerts
    #[command(alias = "acknowledge")]
    Ack {
        /// Its number or id
        id: String,
        /// Why
        #[arg(long)]
        note: Option<String>,
    },
    /// It is over, and so are its alerts
    Resolve {
        /// Its number or id
        id: String,
        /// What ended it
        #[arg(long)]
        note: Option<String>,
    },
    /// It is not over
    Reopen {
        /// Its number or id
        id: String,
        /// Why
        #[arg(long)]
        note: Option<String>,
    },
    /// Somebody owns it: `heimdall incidents assign 12 ann`, or `nobody`
    Assign {
        /// Its number or id
        id: String,
        /// Who
        owner: String,
    },
    /// Write something on it
    Comment {
        /// Its number or id
        id: String,
        /// The words
        text: String,
    },
    /// The post-mortem, in Markdown
    Export {
        /// Its number or id
        id: String,
        /// Write to this file instead of standard output
        #[arg(long, short)]
        output: Option<std::path::PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct IncidentsArgs {
    #[command(subcommand)]
    pub command: Option<IncidentsCommand>,
    /// JSON: one object a line in lists
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct DashboardsArgs {
    #[command(subcommand)]
    pub command: Option<DashboardsCommand>,
    /// JSON: one object a line in lists
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DashboardsCommand {
    /// List dashboards, changed last first
    List {
        /// Only those with this in title, description or tags
        text: Option<String>,
    },
    /// Print one as JSON, for `import` to read: `heimdall dashboards export executive-dashboard > mine.json`
    Export {
        /// Its id
        id: String,
    },
    /// Keep dashboards that `export` printed; prints their ids
    Import {
        /// Put it in the place of this one, whatever was changed in it since
        #[arg(long, value_name = "ID")]
        replace: Option<String>,
        /// Files; `-` is standard input
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SilencesArgs {
    #[command(subcommand)]
    pub command: Option<SilencesCommand>,
    /// JSON: one object a line in lists
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "one of them is read, once")]
pub(crate) enum SilencesCommand {
    /// List silences and maintenance windows, those in force first
    List {
        /// Those that are over too
        #[arg(long)]
        expired: bool,
        /// Only those with this matcher, such as 'service=payment'
        matchers: Vec<String>,
    },
    /// Keep quiet about alerts: `heimdall silences add service=payment 'severity=~"warning|critical"' --for 2h --comment "deploy"`
    Add(SilenceAddArgs),
    /// End silences now
    Expire {
        /// Their ids
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SilenceAddArgs {
    /// Matchers as amtool writes them: `label=value`, `!=`, `=~` or `!~`; a bare word first is the alert's name
    #[arg(required = true)]
    pub matchers: Vec<String>,
    /// For how long
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", conflicts_with = "end")]
    pub period: String,
    /// From when (RFC 3339, epoch, or now+2h); now when left out
    #[arg(long)]
    pub start: Option<String>,
    /// Until when (RFC 3339, epoch, or now+2h)
    #[arg(long)]
    pub end: Option<String>,
    /// Why
    #[arg(long, short)]
    pub comment: String,
    /// Who; whoever the token belongs to when left out
    #[arg(long)]
    pub author: Option<String>,
    /// It is planned work, not a nuisance
    #[arg(long)]
    pub maintenance: bool,
    /// Only on these days, such as mon,tue or sat-sun: it recurs until --end
    #[arg(long, value_delimiter = ',', requires = "from")]
    pub weekdays: Vec<String>,
    /// Only from this time of day, such as 02:00
    #[arg(long, requires = "to")]
    pub from: Option<String>,
    /// Only until this time of day; before --from it is on the next day
    #[arg(long, requires = "from")]
    pub to: Option<String>,
    /// Time zone of --from and --to
    #[arg(long, default_value = "UTC")]
    pub zone: String,
}

#[derive(Debug, Args)]
pub(crate) struct NotificationsArgs {
    #[command(subcommand)]
    pub command: Option<NotificationsCommand>,
    /// JSON: one object a line in lists
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NotificationsCommand {
    /// What was sent to whom, and what came of it, newest first
    Log {
        /// Only to this receiver
        #[arg(long)]
        receiver: Option<String>,
        /// Only with this state: queued, sent, failed …
        #[arg(long)]
        state: Option<String>,
        /// Messages at most
        #[arg(long, short = 'n', default_value_t = 50)]
        limit: usize,
    },
    /// Send a test message to a receiver, and say what came of it
    Test {
        /// The receiver
        receiver: String,
    },
    /// Receivers, and where an alert would go
    Routes {
        /// Id of an alert; the receivers when left out
        alert: Option<String>,
    },
    /// Who is on call
    Oncall {
        /// The schedule; all when left out
        schedule: Option<String>,
        /// At this time (RFC 3339, epoch, or now+12h)
        #[arg(long)]
        at: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ActionsArgs {
    #[command(subcommand)]
    pub command: Option<ActionsCommand>,
    /// JSON: one object a line in lists
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ActionsCommand {
    /// What playbooks would do about an alert; nothing is done
    Plan {
        /// Id of the alert
        alert: String,
    },
    /// What was done, is being done, or waits for approval, newest first
    List {
        /// Only runs in this state; several with commas
        #[arg(long)]
        state: Option<String>,
        /// Runs at most
        #[arg(long, short = 'n', default_value_t = 50)]
        limit: usize,
    },
    /// Everything about one run
    Show {
        /// Its id
        run: String,
    },
    /// Let a run that waits go on
    Approve {
        /// Its id
        run: String,
        /// Why
        #[arg(long)]
        note: Option<String>,
    },
    /// Do not let it go on
    Reject {
        /// Its id
        run: String,
        /// Why
        #[arg(long)]
        note: Option<String>,
    },
    /// Stop a run once the action under way has ended; what was done stays
    Cancel {
        /// Its id
        run: String,
        /// Why
        #[arg(long)]
        note: Option<String>,
    },
    /// Stop all actions, or let them be taken again; says how it stands when neither is given
    KillSwitch {
        /// `on` stops all actions
        #[arg(value_enum)]
        position: Option<SwitchPosition>,
        /// Why
        #[arg(long)]
        note: Option<String>,
    },
    /// Playbooks in force, and how far each may go at present
    Playbooks,
    /// What playbooks have earned by verified successes
    Autonomy,
    /// Circuit breakers, and how they stand
    Breakers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SwitchPosition {
    /// No action is taken
    On,
    /// Actions are taken as configured
    Off,
}
