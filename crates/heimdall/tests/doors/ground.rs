//! What every test of a door stands on: a server that comes back on its addresses, a count of what arrived, a verdict.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use heimdall_testkit::{Running, Server, Tool, wait_for_within};
use serde_json::{Value, json};

/// Longest wait for a shipper to come to its end.
pub(crate) const SHIPPER_PATIENCE: Duration = Duration::from_secs(300);

/// A shipper and the server it sends to.
pub(crate) struct Ground {
    pub(crate) server: Server,
    pub(crate) run: String,
    pub(crate) records: usize,
    name: &'static str,
    dataset: &'static str,
    /// The column that tells records apart.
    column: &'static str,
    /// Which of the dataset's records are this run's.
    filter: String,
    started: Instant,
}

/// What arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) rows: usize,
    pub(crate) distinct: usize,
}

/// How many records a shipper sends.
pub(crate) fn records() -> usize {
    let given = std::env::var("HEIMDALL_DOOR_RECORDS").ok().and_then(|text| text.parse().ok());
    given.unwrap_or(3_000)
}

/// An address nobody listens on.
pub(crate) fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound")
}

/// The Python that has the shippers' libraries.
pub(crate) fn python() -> Option<Tool> {
    Tool::find("python-shippers")
}

impl Ground {
    /// A server whose HTTP address, and the `settings` (environment), stay the same over restarts.
    pub(crate) fn new(name: &'static str, settings: &[(&str, String)]) -> Ground {
        let builder = Server::builder(env!("CARGO_BIN_EXE_heimdall")).listen(free());
        // A fixed HTTP port would have the other doors take their usual ones.
        let elsewhere =
            ["OTLP__GRPC_LISTEN", "OTLP__HTTP_LISTEN", "GRPC__LISTEN", "HEC__LISTEN", "FLUENT__LISTEN"]
                .into_iter()
                .chain(["SYSLOG__TCP_LISTEN", "SYSLOG__UDP_LISTEN"])
                .map(|door| format!("HEIMDALL_DOORS__{door}"));
        let elsewhere = elsewhere.filter(|name| settings.iter().all(|(set, _)| set != name));
        let builder = elsewhere.fold(builder, |builder, name| builder.env(name, "127.0.0.1:0"));
        let builder = builder.env("HEIMDALL_SERVER__WATCH_LISTEN", "127.0.0.1:0");
        let builder = settings.iter().fold(builder, |builder, (name, value)| builder.env(name, value));
        let ground = Ground {
            server: builder.start(),
            run: format!("run_{}_{name}", std::process::id()),
            records: records(),
            name,
            dataset: "",
            column: "",
            filter: String::new(),
            started: Instant::now(),
        };
        ground.texts("logs", "message")
    }

    /// Record n has `RUN n` in this column.
    pub(crate) fn texts(mut self, dataset: &'static str, column: &'static str) -> Ground {
        (self.dataset, self.column) = (dataset, column);
        self.filter = format!("\"{column}\" LIKE '{} %'", self.run);
        self
    }

    /// Record n is a sample of the metric RUN, its value n.
    pub(crate) fn samples(mut self) -> Ground {
        (self.dataset, self.column) = ("metrics", "value");
        self.filter = format!("name = '{}'", self.run);
        self
    }

    /// What of this run is in the store.
    pub(crate) fn arrived(&self) -> Arrived {
        let (table, column, filter) = (self.dataset, self.column, &self.filter);
        let sql =
            format!("SELECT count(*) AS n, count(DISTINCT \"{column}\") AS d FROM {table} WHERE {filter}");
        let body = json!({"query": sql, "language": "sql", "from": "1990-01-01T00:00:00Z", "to": "now+1d"});
        let (status, answer) =
            self.server.post("/api/v1/query", body.to_string(), &[("Content-Type", "application/json")]);
        assert_eq!(status, 200, "{sql}: {answer}");
        let cell =
            |n: usize| answer["rows"][0][n].as_u64().map_or(0, |n| usize::try_from(n).expect("a count"));
        Arrived { rows: cell(0), distinct: cell(1) }
    }

    /// Kills the server `times` times while `shipper` sends: each time when another share of the records is there.
    pub(crate) fn kill(&mut self, shipper: &mut Running, times: usize) {
        for time in 1..=times {
            let enough = self.records * time / (times + 1);
            wait_for_within(SHIPPER_PATIENCE, "enough records to kill the server among them", || {
                (self.arrived().rows >= enough || !shipper.is_running()).then_some(())
            });
            self.server.kill9();
            self.server.restart();
        }
    }

    /// Waits until every record is there, and says what was lost and doubled.
    #[track_caller]
    pub(crate) fn verdict(&self) -> Value {
        let deadline = Instant::now() + SHIPPER_PATIENCE;
        let mut arrived = self.arrived();
        while arrived.distinct < self.records && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
            arrived = self.arrived();
        }
        let verdict = json!({
            "sent": self.records,
            "lost": self.records.saturating_sub(arrived.distinct),
            "doubled": arrived.rows - arrived.distinct,
            "seconds": self.started.elapsed().as_secs_f64().round(),
        });
        eprintln!("door {}: {verdict}", self.name);
        verdict
    }
}

/// Waits for a shipper to say that all is sent.
#[track_caller]
pub(crate) fn finish(shipper: Running) {
    let done = shipper.wait_within(SHIPPER_PATIENCE).expect(0);
    eprint!("{}", done.stdout);
}
