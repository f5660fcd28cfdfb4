//! The channels: how a notice reaches people, each by the rules of its own other side.
//!
//! - [`notice`]: what is told, and the port every channel is behind
//! - [`config`]: what a channel is configured with, and how it is built
//! - [`alertmanager`], [`pagerduty`], [`slack`]: also what these send us: signatures and messages, pure
//!
//! Not here: when, to whom and how often something is told (routing), retries and the log of deliveries (the pipeline), the HTTP
//! paths others send to (`heimdall-api`), what an acknowledgement does.

pub mod alertmanager;
pub mod config;
mod discord;
mod email;
mod http;
mod inbound;
pub mod notice;
mod ntfy;
mod opsgenie;
pub mod pagerduty;
mod secret;
mod signature;
pub mod slack;
mod stdout;
mod teams;
mod telegram;
#[cfg(test)]
mod tests;
mod text;
mod webhook;

pub use config::{ChannelConfig, ChannelContext, ChannelError, Secret};
pub use inbound::InboundError;
pub use secret::SecretError;
pub use signature::SignatureError;
