//! The API as its clients see it: a real server, real sockets, real durability.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

mod access;
mod alertmanager;
mod desk;
mod edge;
mod explore;
mod feedback;
mod harness;
mod inbound;
mod ingest;
mod kept;
mod live;
mod page;
mod query;
mod spans;
mod work;
