//! Runs the real binary for end-to-end tests.
//!
//! - [`Server`]: a server in a process of its own, on free loopback ports, in a temporary folder
//! - [`Command`]: any command, run to its end with a deadline; [`Tool`]: a foreign program that may be absent
//! - [`Engine`]: a Docker engine of our own
//! - [`http`]: a small blocking HTTP/1.1 client; [`Lines`]: a TCP stream read line by line
//! - [`wait_for`]: looks until something is so, or says what was not
//! - [`mutants`]: damaged messages for the fuzz tests of decoders; [`data`]: files that tests share; these start nothing
//!
//! Invariants:
//! - no wait is without a deadline, and none has a fixed length;
//! - only processes started here are ended, by their id;
//! - children see neither the caller's `HEIMDALL_*` settings nor its working folder.
//!
//! A test failure is a panic: everything here panics with what was expected and what the server said.

mod command;
pub mod data;
mod engine;
pub mod http;
mod lines;
pub mod mutants;
mod process;
mod server;
mod tool;
mod wait;

pub use command::{Command, Finished, Running};
pub use engine::Engine;
pub use lines::Lines;
pub use server::{Builder, Server};
pub use tool::Tool;
pub use wait::{PATIENCE, wait_for, wait_for_within};

/// Ends the test that calls it, with a line that says what was not checked and why.
#[macro_export]
macro_rules! skip {
    ($($why:tt)*) => {{
        eprintln!("skipped: {}", format_args!($($why)*));
        return;
    }};
}
