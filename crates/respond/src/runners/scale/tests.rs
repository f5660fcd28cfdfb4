//! Replicas of a Kubernetes deployment, against a stand-in that holds requests to the documented form; webhooks. Docker is
//! tested with the real engine in `docker`.

use parking_lot::Mutex;
use serde_json::json;

use super::*;
use crate::runners::kubernetes::config_for;
use crate::runners::testing::{HttpStandIn, Request, black_hole, closed_port, install_tls, webhooks};

const SOON: Duration = Duration::from_secs(5);
const PATH: &str = "/apis/apps/v1/namespaces/shop/deployments/web/scale";

fn runner(server: &str) -> ScaleRunner {
    install_tls();
    let cluster = Arc::new(Cluster::build(&config_for(server)).unwrap());
    ScaleRunner::build(&DeployRunnerConfig::default(), None, Some(cluster), &webhooks("http://127.0.0.1:9/"))
        .unwrap()
        .unwrap()
}

fn scale(kind: &str, name: &str, number: u32) -> Action {
    action(kind, "shop/web", [(name, number.into())])
}

/// A stand-in for the API server with one deployment of so many replicas.
async fn cluster(replicas: u32) -> HttpStandIn {
    let state = Mutex::new((replicas, 7_u32));
    HttpStandIn::start(move |request| answer(&mut state.lock(), request)).await
}

fn answer(state: &mut (u32, u32), request: &Request) -> (u16, String) {
    let path = request.path.split('?').next().unwrap_or_default();
    if path != PATH {
        return (404, json!({"kind": "Status", "message": "not found"}).to_string());
    }
    if request.method == "PATCH" {
        let patch: Value = serde_json::from_str(&request.body).unwrap_or_default();
        if request.headers.get("content-type").map(String::as_str) != Some("application/merge-patch+json") {
            return (415, json!({"message": "unsupported media type"}).to_string());
        }
        if patch["metadata"]["resourceVersion"].as_str() != Some(state.1.to_string().as_str()) {
            return (409, json!({"message": "the object has been modified"}).to_string());
        }
        *state = (u32::try_from(patch["spec"]["replicas"].as_u64().unwrap()).unwrap(), state.1 + 1);
    }
    let metadata = json!({"name": "web", "namespace": "shop", "resourceVersion": state.1.to_string()});
    (200, json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": {"replicas": state.0}}).to_string())
}

#[tokio::test]
async fn a_deployment_is_scaled_and_scaled_back() {
    let server = cluster(2).await;
    let runner = runner(&server.url(""));
    let effect = runner.look(&scale("scale.up", "by", 3), SOON).await.unwrap();
    assert_eq!(effect.summary, "change `shop/web` from 2 to 5 replicas");
    assert_eq!((effect.reach.touched, effect.reach.instances), (3, 5));
    let outcome = runner.run(&scale("scale.up", "by", 3), SOON).await.unwrap();
    let inverse = outcome.inverse.unwrap();
    assert_eq!(inverse, scale("scale.to", "replicas", 2));
    assert_eq!(
        runner.progress(&scale("scale.to", "replicas", 5), Timestamp(0), SOON).await,
        Ok(Progress::Done)
    );
    assert_eq!(runner.progress(&scale("scale.up", "by", 3), Timestamp(0), SOON).await, Ok(Progress::Unknown));
    runner.run(&inverse, SOON).await.unwrap();
    assert_eq!(
        runner.progress(&scale("scale.to", "replicas", 5), Timestamp(0), SOON).await,
        Ok(Progress::NotDone)
    );
    let patched = server.requests().into_iter().filter(|request| request.method == "PATCH").count();
    assert_eq!(patched, 2);
}

#[tokio::test]
async fn a_step_from_another_count_is_refused_and_can_be_told_after_a_crash() {
    let server = cluster(2).await;
    let runner = runner(&server.url(""));
    let step = |from: u32| action("scale.up", "shop/web", [("by", 1.into()), ("from", from.into())]);
    assert!(runner.describe(&step(2)).unwrap().is_idempotent);
    assert_eq!(runner.progress(&step(2), Timestamp(0), SOON).await, Ok(Progress::NotDone));
    runner.run(&step(2), SOON).await.unwrap();
    assert_eq!(runner.progress(&step(2), Timestamp(0), SOON).await, Ok(Progress::Done));
    assert!(runner.run(&step(2), SOON).await.is_err(), "not a second time");
}

#[tokio::test]
async fn limits_and_the_allow_list_hold() {
    let server = cluster(1).await;
    let runner = runner(&server.url(""));
    assert!(runner.describe(&scale("scale.to", "replicas", 0)).is_err());
    assert!(runner.describe(&scale("scale.to", "replicas", 11)).is_err());
    assert!(runner.describe(&action("scale.to", "bank/web", [("replicas", 2.into())])).is_err());
    assert!(runner.describe(&action("scale.to", "shop/../web", [("replicas", 2.into())])).is_err());
    let error = runner.run(&scale("scale.down", "by", 1), SOON).await.unwrap_err();
    assert!(error.to_string().contains("between 1 and 10"), "{error}");
    let other = action("scale.to", "shop/none", [("replicas", 2.into())]);
    assert_eq!(
        runner.look(&other, SOON).await,
        Err(ActionError::NotFound { target: "shop/none".to_owned() })
    );
}

#[tokio::test]
async fn an_api_server_that_is_not_there_is_unreachable_in_time() {
    let (hole, closed) = (black_hole(), closed_port());
    for address in [hole.address, closed] {
        let error =
            runner(&format!("http://{address}")).run(&scale("scale.up", "by", 1), SOON).await.unwrap_err();
        assert!(matches!(error, ActionError::Unreachable { .. }), "{address}: {error}");
    }
}

#[tokio::test]
async fn a_webhook_that_tells_the_count_before_can_be_undone() {
    let server = HttpStandIn::start(|_| (200, json!({"replicas_before": 4}).to_string())).await;
    let config =
        DeployRunnerConfig { scale_webhook: Some("hook".to_owned()), ..DeployRunnerConfig::default() };
    let runner = ScaleRunner::build(&config, None, None, &webhooks(&server.url("/"))).unwrap().unwrap();
    let outcome = runner.run(&scale("scale.down", "by", 1), SOON).await.unwrap();
    assert_eq!(outcome.inverse, Some(scale("scale.to", "replicas", 4)));
    let unknown =
        DeployRunnerConfig { scale_webhook: Some("none".to_owned()), ..DeployRunnerConfig::default() };
    let error = ScaleRunner::build(&unknown, None, None, &webhooks("http://127.0.0.1:9/")).err().unwrap();
    assert_eq!(error.key, "deploy.scale_webhook");
}
