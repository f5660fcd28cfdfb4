//! Watches one host from within: what it measures, probes and reads becomes batches, kept on disk until a server has them.
//!
//! Not here: what a server does with records (`heimdall-stream`), how an action is done (`heimdall-respond`).
