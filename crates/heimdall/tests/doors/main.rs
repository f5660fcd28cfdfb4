//! Real shippers against the real binary, which is killed in the middle: what they sent is there, once.
//!
//! `HEIMDALL_DOOR_RECORDS` says how many records each sends (default 3,000: enough for every kill to fall among them).
//! Each test prints a line `door NAME: …` with what was sent, lost and doubled.

mod clients;
mod daemons;
mod ground;
mod local;
