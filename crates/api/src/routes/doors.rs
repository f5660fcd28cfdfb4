//! `GET /api/v1/doors`: which doors are open, and where.

use axum::Json;
use axum::extract::State;
use heimdall_guard::Scope;
use serde::Serialize;
use utoipa::ToSchema;

use crate::AppState;
use crate::access::Access;
use crate::problem::Problem;
use crate::wire::Page;

/// A door that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DoorView {
    /// Its name, as in receipts.
    pub name: String,
    /// Where it listens; none for doors that fetch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// The doors that have a listener of their own, or that fetch. Those of HTTP are on every HTTP listener.
#[utoipa::path(
    get, path = "/api/v1/doors", tag = "ingest",
    responses((status = 200, description = "the doors", body = Page<DoorView>))
)]
pub(crate) async fn doors(
    State(state): State<AppState>,
    access: Access,
) -> Result<Json<Page<DoorView>>, Problem> {
    access.require(Scope::Read)?;
    Ok(Json(Page::whole(state.doors.clone())))
}
