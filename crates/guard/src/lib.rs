//! Who may do what, and what was done.
//!
//! - [`principal`]: who is asking, with which scopes, for which tenant
//! - [`token`]: tokens issued, verified without touching the disk, revoked at once
//! - [`door`]: admitting a request: token, or loopback with `Host` and `Origin` checked; which addresses may be bound
//! - [`audit`]: the hash-chained trail of what people and the system did
//! - [`assessment_log`]: the audit files of measured values, one per tenant and service
//!
//! Not here: HTTP status codes (see `heimdall-api`), TLS.

pub mod assessment_log;
pub mod audit;
pub mod door;
mod hex;
pub mod principal;
pub mod token;

pub use assessment_log::{AssessmentLog, AssessmentLogConfig};
pub use audit::{Audit, AuditEntry, AuditError, AuditEvent, AuditPage, NewAuditEvent, Outcome};
pub use door::{Admitted, BindRefused, Ends, Guard, Knock, check_bind, check_host, check_origin};
pub use principal::{Denied, Principal, PrincipalKind, Scope, ScopeError, Scopes, TenantAccess};
pub use token::{NewToken, Revocations, TokenError, TokenInfo, TokenSecret, Tokens};
