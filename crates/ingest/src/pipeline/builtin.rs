//! The pipelines that come with Heimdall: files in `pipelines/`, compiled in. They are off until `ingest.pipelines` names them;
//! others may route to them.

pub(super) const FILES: [(&str, &str); 5] = [
    ("pipelines/ecs.yaml", include_str!("../../../../pipelines/ecs.yaml")),
    ("pipelines/ocsf.yaml", include_str!("../../../../pipelines/ocsf.yaml")),
    ("pipelines/otel.yaml", include_str!("../../../../pipelines/otel.yaml")),
    ("pipelines/sigma.yaml", include_str!("../../../../pipelines/sigma.yaml")),
    ("pipelines/windows.yaml", include_str!("../../../../pipelines/windows.yaml")),
];
