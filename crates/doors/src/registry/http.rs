//! The registry's paths, at the root as its clients expect them, and below `/registry`.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use heimdall_model::Tenant;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::protobuf;
use super::store::{
    Found, Level, Proposed, Registry, RegistryError, SCHEMA_BYTES_MAX, SchemaType, Stored, Which,
};
use crate::Shared;
use crate::http::{Failure, Visitor, arrive};

const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";
/// Bytes of a request: a schema as a JSON text, and what is said about it.
const REQUEST_BYTES_MAX: usize = 8 * SCHEMA_BYTES_MAX;

/// What requests work with.
struct Desk {
    shared: Arc<Shared>,
    registry: Arc<Registry>,
}

/// The paths.
pub(crate) fn routes(shared: Arc<Shared>, registry: Arc<Registry>) -> Router {
    let paths = Router::new()
        .route("/subjects", get(subjects))
        .route("/subjects/{subject}", post(lookup).delete(delete_subject))
        .route("/subjects/{subject}/versions", get(versions).post(register))
        .route("/subjects/{subject}/versions/{version}", get(version).delete(delete_version))
        .route("/subjects/{subject}/versions/{version}/schema", get(version_text))
        .route("/subjects/{subject}/versions/{version}/referencedby", get(referenced_by))
        .route("/schemas/types", get(types))
        .route("/schemas/ids/{id}", get(schema))
        .route("/schemas/ids/{id}/schema", get(schema_text))
        .route("/schemas/ids/{id}/subjects", get(schema_subjects))
        .route("/schemas/ids/{id}/versions", get(schema_versions))
        .route("/config", get(global_level).put(set_global_level))
        .route("/config/{subject}", get(level).put(set_level).delete(unset_level))
        .route("/mode", get(mode))
        .route("/mode/{subject}", get(mode_of))
        .route("/contexts", get(contexts))
        .route("/compatibility/subjects/{subject}/versions", post(test_all))
        .route("/compatibility/subjects/{subject}/versions/{version}", post(test))
        .with_state(Arc::new(Desk { shared, registry }));
    Router::new().nest("/registry", paths.clone()).merge(paths)
}

/// Why a request failed.
enum Wrong {
    Registry(RegistryError),
    Request(Failure),
}

impl From<RegistryError> for Wrong {
    fn from(error: RegistryError) -> Wrong {
        Wrong::Registry(error)
    }
}

impl From<Failure> for Wrong {
    fn from(failure: Failure) -> Wrong {
        Wrong::Request(failure)
    }
}

type Answer = Result<Response, Wrong>;

/// The registry's number of an error; its first three digits are the status.
fn code(error: &RegistryError) -> u32 {
    match error {
        RegistryError::SubjectUnknown(_) => 40401,
        RegistryError::VersionUnknown(_) => 40402,
        RegistryError::SchemaUnknown(_) => 40403,
        RegistryError::SubjectNotDeleted(_) => 40405,
        RegistryError::VersionNotDeleted { .. } => 40407,
        RegistryError::LevelUnknown(_) => 40408,
        RegistryError::Incompatible { .. } => 409,
        RegistryError::Invalid(_) => 42201,
        RegistryError::VersionInvalid(_) => 42202,
        RegistryError::LevelInvalid => 42203,
        RegistryError::Full(_) => 42205,
        RegistryError::Referenced(_) => 42206,
        RegistryError::SubjectInvalid(_) => 42208,
        RegistryError::Store(_) => 50001,
    }
}

impl IntoResponse for Wrong {
    fn into_response(self) -> Response {
        match self {
            Wrong::Registry(error) => {
                let code = code(&error);
                let status = if code < 1000 { code } else { code / 100 };
                let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
                if let RegistryError::Store(error) = &error {
                    tracing::error!(%error, "schema registry could not write");
                }
                let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                answer(status, &json!({ "error_code": code, "message": error.to_string() }))
            }
            Wrong::Request(failure) => {
                let status = failure.status();
                let body = json!({ "error_code": status.as_u16(), "message": failure.to_string() });
                let mut response = answer(status, &body);
                failure.hint(response.headers_mut());
                response
            }
        }
    }
}

fn answer(status: StatusCode, value: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], value.to_string()).into_response()
}

fn found(value: &Value) -> Answer {
    Ok(answer(StatusCode::OK, value))
}

/// What may follow the `?`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    #[serde(deserialize_with = "flag")]
    deleted: bool,
    #[serde(deserialize_with = "flag")]
    permanent: bool,
    format: String,
    #[serde(rename = "subjectPrefix")]
    subject_prefix: String,
    #[serde(rename = "defaultToGlobal", deserialize_with = "flag")]
    default_to_global: bool,
    #[serde(deserialize_with = "flag")]
    verbose: bool,
}

/// `true` in any case, as clients write it; anything else is false.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(String::deserialize(deserializer)?.eq_ignore_ascii_case("true"))
}

impl Desk {
    fn tenant(visitor: &Visitor) -> Result<Tenant, Wrong> {
        Ok(visitor.caller()?.tenant)
    }

    /// Takes a request's JSON.
    async fn take<T: DeserializeOwned>(
        &self,
        visitor: &Visitor,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(Tenant, T), Wrong> {
        let caller = visitor.caller()?;
        let arrived = arrive(&self.shared, &caller, headers, body).await?;
        if arrived.body.len() > REQUEST_BYTES_MAX {
            return Err(RegistryError::Invalid(format!("larger than {REQUEST_BYTES_MAX} bytes")).into());
        }
        let value = serde_json::from_slice(&arrived.body)
            .map_err(|error| RegistryError::Invalid(format!("the request is not of its form: {error}")))?;
        Ok((caller.tenant, value))
    }

    /// A version of a subject, and the text of its schema as it is asked for.
    fn version(
        &self,
        visitor: &Visitor,
        subject: &str,
        version: &str,
        asked: &Asked,
    ) -> Result<(Found, String), Wrong> {
        let tenant = Desk::tenant(visitor)?;
        let found = self.registry.version(&tenant, subject, Which::parse(version)?, asked.deleted)?;
        let text = text(self, &tenant, &found.schema, asked)?;
        Ok((found, text))
    }

    /// Works off the async threads: schemas are parsed, files written.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Registry) -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<T, Wrong> {
        let registry = Arc::clone(&self.registry);
        let done = tokio::task::spawn_blocking(move || work(&registry)).await;
        Ok(done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?)
    }
}

async fn subjects(State(desk): State<Arc<Desk>>, visitor: Visitor, Query(asked): Query<Asked>) -> Answer {
    let tenant = Desk::tenant(&visitor)?;
    found(&json!(desk.registry.subjects(&tenant, &asked.subject_prefix, asked.deleted)))
}

async fn versions(
    State(desk): State<Arc<Desk>>,
    visitor: Visitor,
    Path(subject): Path<String>,
    Query(asked): Query<Asked>,
) -> Answer {
    let tenant = Desk::tenant(&visitor)?;
    found(&json!(desk.registry.versions(&tenant, &subject, asked.deleted)?))
}

async fn version(
    State(desk): State<Arc<Desk>>,
    visitor: Visitor,
    Path((subject, version)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Answer {
    let (version, text) = desk.version(&visitor, &subject, &version, &asked)?;
    found(&shown(&subject, &version, text))
}

async fn version_text(
    State(desk): State<Arc<Desk>>,
    visitor: Visitor,
    Path((subject, version)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Answer {
    plain(desk.version(&visitor, &subject, &version, &asked)?.1)
}

async fn register(
    State(desk): State<Arc<Desk>>,
    visitor: Visitor,
    Path(subject): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let (tenant, proposed): (_, Proposed) = desk.take(&visitor, &headers, body).await?;
    let kept = desk.work(move |registry| registry.register(&tenant, &subject, &proposed)).await?;
    let mut answer = of_schema(&kept.schema, kept.schema.schema.clone());
    answer.insert("id".to_owned(), kept.id.into());
    answer.insert("version".to_owned(), kept.version.into());
    found(&Value::Object(answer))
}

async fn lookup(
    State(desk): State<Arc<Desk>>,
    visitor: Visitor,
    Path(subject): Path<String>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let (tenant, proposed): (_, Proposed) = desk.take(&visitor, &headers, body).await?;
    let name = subject.clone();
    let version =
        desk.work(move |registry| registry.lookup(&tenant, &name, &proposed, asked.deleted)).await?;
    let text = version.schema.schema.clone();
    found(&shown(&subject, &version, text))
}

async fn delete_subject(
    State(desk): State<Arc<Desk>>,
    visitor: Visitor,
    Path(subject): Path<String>,
    Query(asked): Query<Asked>,
) -> Answer {
    let tenant = Desk::tenant(&visitor)?;
    let deleted =
        desk.work(move |registry| registry.delete_subject(&tenant, &subject, asked.permanent)).await?;
    found(&json!(deleted))
}

async fn delete_version(
    State(desk): State<Arc<Desk>>,
    visitor: Visitor,
    Path((subject, version)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Answer {
    let tenant = Desk::tenant(&visitor)?;
    let which = Which::parse(&version)?;
    let deleted =
        desk.work(move |registry| registry.delete_version(&tenant, &subject, which, asked.permanent)).await?;
    found(&json!(deleted))
}

async fn referenced_by(
    State(desk): State<Arc<Desk>>,
    visitor: Visitor,
    Path((subject, version)): Path<(String, String)>,
) -> Answer {
    let tenant = Desk::tenant(&visitor)?;
    let version = desk.registry.version(&tenant, &subject, Which::parse(&version)?, false)?;
    found(&json!(desk.registry.referenced_by(&tenant, &subject, version.version)))
}

async fn types() -> Answer {
    found(&json!(["JSON", "PROTOBUF", "AVRO"]))
}

async fn contexts() -> Answer {
    found(&json!(["."]))
}

async fn mode() -> Answer {
    found(&json!({ "mode": "READWRITE" }))
}

async fn mode_of(Path(_subject): Path<String>) -> Answer {
    mode().await
}

fn by_id(desk: &Desk, tenant: &Tenant, id: &str) -> Result<(u32, Arc<Stored>), Wrong> {
    let unknown = || RegistryError::SchemaUnknown(id.chars().take(40).collect());
    let id: u32 = id.parse().map_err(|_| unknown())?;
    Ok((id, desk.registry.schema(tenant, id).ok_or_else(unknown)?))
}

async fn schema(
    State(desk): State<Arc<Desk>>,
    visitor: Visitor,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Answer {
    let tenant = Desk::tenant(&visitor)?;
    let (_, schema) = by_id(&desk, &tenant, &id)?;
    let text = text(&desk, &tenant, &schema, &asked)?;
    found(&Value::Object(of_schema(&schema, text)))
}

async fn schema_text(
    State(desk): State<Arc<Desk>>,
    visitor: Visitor,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Answer {
    let tenant = Desk::tenant(&visitor)?;
    let (_, schema) = by_id(&desk, &tenant, &id)?;
    plain(text(&desk, &tenant, &schema, &asked)?)
}

async fn schema_subjects(State(desk): State<Arc<Desk>>, visitor: Visitor, Path(id): Path<String>) -> Answer {
    let tenant = Desk::tenant(&visitor)?;
    let (id, _) = by_id(&desk, &tenant, &id)?;
    let subjects: Vec<String> =
        desk.registry.places(&tenant, id).into_iter().map(|(subject, _)| subject).collect();
    found(&json!(subjects))
}

async fn schema_versions(State(desk): State<Arc<Desk>>, visitor: Visitor, Path(id): Path<String>) -> Answer {
    let tenant = Desk::tenant(&visitor)?;
    let (id, _) = by_id(&desk, &tenant, &id)?;
    let place = |(subject, version)| json!({ "subject": subject, "version": version });
    found(&Value::Array(desk.registry.places(&tenant, id).into_iter().map(place).collect()))
}

async fn global_level(State(desk): State<Arc<Desk>>, visitor: Visitor) -> Answer {
    let tenant = Desk::tenant(&visitor)?;
    found(&json!({ "compatibilityLevel": desk.registry.level(&tenant, None, true)? }))
}

async fn level(
    State(desk): State<Arc<Desk>>,
    visitor: Visitor,
    Path(subject): Path<String>,
    Query(asked): Query<Asked>,
) -> Answer {
    let tenant = Desk::tenant(&visitor)?;
    let level = desk.registry.level(&tenant, Some(&subject), asked.default_to_global)?;
    found(&json!({ "compatibilityLevel": level }))
}

/// The rule a request asks for.
fn wanted(value: &Value) -> Result<Level, RegistryError> {
    let name = value.get("compatibility").and_then(Value::as_str).ok_or(RegistryError::LevelInvalid)?;
    serde_json::from_value(name.to_uppercase().into()).map_err(|_| RegistryError::LevelInvalid)
}

async fn set_global_level(
    State(desk): State<Arc<Desk>>,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let (tenant, value): (_, Value) = desk.take(&visitor, &headers, body).await?;
    let level = wanted(&value)?;
    desk.work(move |registry| registry.set_level(&tenant, None, Some(level))).await?;
    found(&json!({ "compatibility": level }))
}

async fn set_level(
    State(desk): State<Arc<Desk>>,
    visitor: Visitor,
    Path(subject): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let (tenant, value): (_, Value) = desk.take(&visitor, &headers, body).await?;
    let level = wanted(&value)?;
    desk.work(move |registry| registry.set_level(&tenant, Some(&subject), Some(level))).await?;
    found(&json!({ "compatibility": level }))
}

async fn unset_level(State(desk): State<Arc<Desk>>, visitor: Visitor, Path(subject): Path<String>) -> Answer {
    let tenant = Desk::tenant(&visitor)?;
    let was = desk.registry.level(&tenant, Some(&subject), false)?;
    desk.work(move |registry| registry.set_level(&tenant, Some(&subject), None)).await?;
    found(&json!({ "compatibilityLevel": was }))
}

async fn test(
    State(desk): State<Arc<Desk>>,
    visitor: Visitor,
    Path((subject, version)): Path<(String, String)>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let which = Which::parse(&version)?;
    judge(&desk, &visitor, subject, Some(which), &asked, &headers, body).await
}

async fn test_all(
    State(desk): State<Arc<Desk>>,
    visitor: Visitor,
    Path(subject): Path<String>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    judge(&desk, &visitor, subject, None, &asked, &headers, body).await
}

async fn judge(
    desk: &Desk,
    visitor: &Visitor,
    subject: String,
    which: Option<Which>,
    asked: &Asked,
    headers: &HeaderMap,
    body: Body,
) -> Answer {
    let (tenant, proposed): (_, Proposed) = desk.take(visitor, headers, body).await?;
    let wrong = desk.work(move |registry| registry.test(&tenant, &subject, which, &proposed)).await?;
    let mut answer = json!({ "is_compatible": wrong.is_none() });
    if asked.verbose {
        answer["messages"] = json!(wrong.into_iter().collect::<Vec<_>>());
    }
    found(&answer)
}

/// A schema's text in the form that was asked for.
fn text(desk: &Desk, tenant: &Tenant, schema: &Stored, asked: &Asked) -> Result<String, Wrong> {
    if schema.kind != SchemaType::Protobuf || asked.format != "serialized" {
        return Ok(schema.schema.clone());
    }
    let references = desk.registry.references(tenant, &schema.references)?;
    let file = protobuf::compile(&schema.schema, &references).map_err(RegistryError::Invalid)?;
    Ok(protobuf::serialized(&file))
}

fn plain(text: String) -> Answer {
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

fn of_schema(schema: &Stored, text: String) -> Map<String, Value> {
    let mut answer = Map::new();
    answer.insert("schema".to_owned(), text.into());
    if schema.kind != SchemaType::Avro {
        answer.insert("schemaType".to_owned(), json!(schema.kind));
    }
    if !schema.references.is_empty() {
        answer.insert("references".to_owned(), json!(schema.references));
    }
    answer
}

fn shown(subject: &str, version: &Found, text: String) -> Value {
    let mut answer = of_schema(&version.schema, text);
    answer.insert("subject".to_owned(), subject.into());
    answer.insert("version".to_owned(), version.version.into());
    answer.insert("id".to_owned(), version.id.into());
    Value::Object(answer)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;
    use crate::testing::{TestShared, shared};

    struct Fixture {
        test: TestShared,
        registry: Arc<Registry>,
    }

    impl Fixture {
        fn new() -> Fixture {
            let test = shared();
            let registry = Arc::new(Registry::open(&test.path().join("registry")).expect("a registry"));
            Fixture { test, registry }
        }

        #[track_caller]
        fn check(&self, request: &str, body: &str, expected: &str) -> impl Future<Output = ()> {
            let (method, path) = request.split_once(' ').expect("a method and a path");
            let asked = Request::builder().method(method).uri(path).body(Body::from(body.to_owned()));
            let routes = routes(Arc::clone(&self.test.shared), Arc::clone(&self.registry));
            let (asked, expected) = (asked.expect("a request"), expected.to_owned());
            let request = request.to_owned();
            async move {
                let (status, body) = self.test.ask(routes, asked).await;
                assert_eq!(format!("{} {body}", status.as_u16()), expected, "{request}");
            }
        }
    }

    #[tokio::test]
    async fn clients_get_what_they_expect() {
        let f = Fixture::new();
        let v1 = r#"{"schema":"{\"type\":\"record\",\"name\":\"E\",\"fields\":[]}"}"#;
        let text = r#""schema":"{\"type\":\"record\",\"name\":\"E\",\"fields\":[]}""#;
        f.check("GET /subjects", "", "200 []").await;
        f.check(
            "GET /subjects/s/versions",
            "",
            r#"404 {"error_code":40401,"message":"Subject 's' not found."}"#,
        )
        .await;
        f.check("POST /subjects/s/versions", v1, &format!(r#"200 {{"id":1,{text},"version":1}}"#)).await;
        f.check(
            "POST /registry/subjects/s/versions?normalize=false",
            v1,
            &format!(r#"200 {{"id":1,{text},"version":1}}"#),
        )
        .await;
        f.check("GET /subjects/s/versions", "", "200 [1]").await;
        let whole = format!(r#"200 {{"id":1,{text},"subject":"s","version":1}}"#);
        f.check("GET /subjects/s/versions/latest", "", &whole).await;
        f.check("GET /subjects/s/versions/1", "", &whole).await;
        f.check("POST /subjects/s", v1, &whole).await;
        f.check("GET /schemas/ids/1?subject=s", "", &format!("200 {{{text}}}")).await;
        f.check("GET /schemas/ids/1/schema", "", "200 {\"type\":\"record\",\"name\":\"E\",\"fields\":[]}")
            .await;
        f.check("GET /schemas/ids/1/versions", "", r#"200 [{"subject":"s","version":1}]"#).await;
        f.check("GET /schemas/ids/9", "", r#"404 {"error_code":40403,"message":"Schema 9 not found"}"#).await;
        f.check("GET /schemas/types", "", r#"200 ["JSON","PROTOBUF","AVRO"]"#).await;
        f.check(
            "GET /subjects/s/versions/7",
            "",
            r#"404 {"error_code":40402,"message":"Version 7 not found."}"#,
        )
        .await;
        f.check("GET /subjects/s/versions/x", "", r#"422 {"error_code":42202,"message":"The specified version 'x' is not a valid version id. Allowed values are between [1, 2^31-1] and the string \"latest\""}"#).await;
        f.check("DELETE /subjects/s", "", "200 [1]").await;
        f.check("DELETE /subjects/s?permanent=true", "", "200 [1]").await;
    }

    #[tokio::test]
    async fn rules_are_kept_and_asked() {
        let f = Fixture::new();
        let v1 = r#"{"schemaType":"JSON","schema":"{\"type\":\"object\",\"additionalProperties\":false}"}"#;
        let v2 = r#"{"schemaType":"JSON","schema":"{\"type\":\"object\",\"required\":[\"a\"]}"}"#;
        f.check("GET /config", "", r#"200 {"compatibilityLevel":"BACKWARD"}"#).await;
        f.check("POST /subjects/s/versions", v1, r#"200 {"id":1,"schema":"{\"type\":\"object\",\"additionalProperties\":false}","schemaType":"JSON","version":1}"#).await;
        f.check("POST /compatibility/subjects/s/versions/latest", v2, r#"200 {"is_compatible":false}"#).await;
        f.check(
            "POST /compatibility/subjects/s/versions?verbose=True",
            v2,
            r##"200 {"is_compatible":false,"messages":["#: `a` is required now; version 1"]}"##,
        )
        .await;
        f.check("POST /subjects/s/versions", v2, r##"409 {"error_code":409,"message":"Schema being registered is incompatible with an earlier schema for subject \"s\", details: [#: `a` is required now; version 1]"}"##).await;
        f.check("PUT /config/s", r#"{"compatibility":"NONE"}"#, r#"200 {"compatibility":"NONE"}"#).await;
        f.check("GET /config/s", "", r#"200 {"compatibilityLevel":"NONE"}"#).await;
        f.check("POST /compatibility/subjects/s/versions/1", v2, r#"200 {"is_compatible":true}"#).await;
        f.check("DELETE /config/s", "", r#"200 {"compatibilityLevel":"NONE"}"#).await;
        f.check("GET /config/s", "", r#"404 {"error_code":40408,"message":"Subject 's' does not have subject-level compatibility configured"}"#).await;
        f.check("GET /config/s?defaultToGlobal=true", "", r#"200 {"compatibilityLevel":"BACKWARD"}"#).await;
        f.check("PUT /config", r#"{"compatibility":"SOME"}"#, r#"422 {"error_code":42203,"message":"Invalid compatibility level. Valid values are none, backward, forward, full, backward_transitive, forward_transitive, and full_transitive"}"#).await;
    }
}
