//! Splunk's answers, word for word.
//!
//! Source: Splunk, "Troubleshoot HTTP Event Collector", possible error codes.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use heimdall_guard::Denied;
use serde::Serialize;

use crate::http::Failure;

/// A code of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Success,
    TokenDisabled,
    TokenRequired,
    InvalidAuthorization,
    InvalidToken,
    NoData,
    InvalidData,
    IncorrectIndex,
    Internal,
    Busy,
    ChannelMissing,
    ChannelInvalid,
    EventRequired,
    EventBlank,
    AckDisabled,
    IndexedFields,
    Healthy,
    Unhealthy,
    ShuttingDown,
    TooLarge,
}

impl Code {
    const fn facts(self) -> (u8, u16, &'static str) {
        match self {
            Code::Success => (0, 200, "Success"),
            Code::TokenDisabled => (1, 403, "Token disabled"),
            Code::TokenRequired => (2, 401, "Token is required"),
            Code::InvalidAuthorization => (3, 401, "Invalid authorization"),
            Code::InvalidToken => (4, 403, "Invalid token"),
            Code::NoData => (5, 400, "No data"),
            Code::InvalidData => (6, 400, "Invalid data format"),
            Code::IncorrectIndex => (7, 400, "Incorrect index"),
            Code::Internal => (8, 500, "Internal server error"),
            Code::Busy => (9, 503, "Server is busy"),
            Code::ChannelMissing => (10, 400, "Data channel is missing"),
            Code::ChannelInvalid => (11, 400, "Invalid data channel"),
            Code::EventRequired => (12, 400, "Event field is required"),
            Code::EventBlank => (13, 400, "Event field cannot be blank"),
            Code::AckDisabled => (14, 400, "ACK is disabled"),
            Code::IndexedFields => (15, 400, "Error in handling indexed fields"),
            Code::Healthy => (17, 200, "HEC is healthy"),
            Code::Unhealthy => (18, 503, "HEC is unhealthy, queues are full"),
            Code::ShuttingDown => (23, 503, "Server is shutting down"),
            Code::TooLarge => (27, 413, "Request entity too large"),
        }
    }

    /// What it says.
    pub(super) const fn text(self) -> &'static str {
        self.facts().2
    }

    /// The code of a failure.
    pub(super) fn of(failure: &Failure, has_authorization: bool) -> Code {
        match failure {
            Failure::Denied(Denied::NoToken) => Code::TokenRequired,
            // A header that offers no token at all is no authorization; one that offers a wrong one is.
            Failure::Denied(Denied::BadToken) if has_authorization => Code::InvalidToken,
            Failure::Denied(Denied::BadToken) => Code::InvalidAuthorization,
            Failure::Denied(Denied::Expired) => Code::TokenDisabled,
            Failure::Denied(Denied::Tenant { .. }) => Code::IncorrectIndex,
            Failure::Denied(_) => Code::InvalidToken,
            failure => match failure.status() {
                StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Code::Busy,
                status if status.is_server_error() => Code::Internal,
                _ => Code::InvalidData,
            },
        }
    }
}

/// The body of an answer.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    text: &'static str,
    code: u8,
    #[serde(skip_serializing_if = "Option::is_none", rename = "invalid-event-number")]
    invalid_event_number: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "ackId")]
    ack_id: Option<u64>,
    #[serde(skip)]
    status: u16,
}

impl Answer {
    pub(super) const fn of(code: Code) -> Answer {
        let (number, status, text) = code.facts();
        Answer { text, code: number, invalid_event_number: None, ack_id: None, status }
    }

    /// The event that was not accepted, from 0.
    pub(super) fn at(mut self, event: u64) -> Answer {
        self.invalid_event_number = Some(event);
        self
    }

    /// The id to ask for.
    pub(super) fn with_ack(mut self, ack: Option<u64>) -> Answer {
        self.ack_id = ack;
        self
    }

    /// The same with another status, such as 429 for one that is busy.
    pub(super) fn with_status(mut self, status: StatusCode) -> Answer {
        self.status = status.as_u16();
        self
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_string(&self).unwrap_or_default();
        (status, [(header::CONTENT_TYPE, "application/json; charset=UTF-8")], body).into_response()
    }
}
