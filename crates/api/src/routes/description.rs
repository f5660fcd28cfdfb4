//! `/openapi.json`: what there is.

use std::sync::{Arc, OnceLock};

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use crate::AppState;

/// The description of the API, written once when the router is built.
#[derive(Debug, Clone, Default)]
pub(crate) struct Description(Arc<OnceLock<Bytes>>);

impl Description {
    pub(crate) fn set(&self, openapi: &utoipa::openapi::OpenApi) {
        let json = serde_json::to_vec(openapi).expect("plain data serialises");
        let _ = self.0.set(json.into());
    }
}

/// The description of this API, OpenAPI 3.1.
#[utoipa::path(
    get, path = "/openapi.json", tag = "status",
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
pub(crate) async fn openapi(State(state): State<AppState>) -> Response {
    let json = state.description.0.get().cloned().unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], json).into_response()
}
