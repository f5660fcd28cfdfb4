//! Rollback of a Kubernetes deployment, against a stand-in that does what the API server and the deployment controller do.

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;
use crate::runners::config::RunnersConfig;
use crate::runners::kubernetes::config_for;
use crate::runners::testing::{HttpStandIn, Request, clock, install_tls, webhooks};
use crate::runners::webhook::Webhooks;

const SOON: Duration = Duration::from_secs(5);

fn template(image: &str, hash: Option<&str>) -> Value {
    let mut labels = json!({"app": "web"});
    if let Some(hash) = hash {
        labels["pod-template-hash"] = hash.into();
    }
    json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": image}]}})
}

fn replica_set(revision: u64, history: &str, image: &str, owner: &str) -> Value {
    let annotations = json!({
        "deployment.kubernetes.io/revision": revision.to_string(),
        "deployment.kubernetes.io/revision-history": history,
    });
    let owners = json!([{"uid": owner, "controller": true, "kind": "Deployment", "name": "web"}]);
    json!({"metadata": {"annotations": annotations, "ownerReferences": owners}, "spec": {"template": template(image, Some("abc"))}})
}

fn deployment(revision: u64, image: &str) -> Value {
    json!({
        "metadata": {"uid": "u1", "resourceVersion": "41", "annotations": {"deployment.kubernetes.io/revision": revision.to_string()}},
        "spec": {"replicas": 4, "selector": {"matchLabels": {"app": "web"}}, "template": template(image, None)},
    })
}

/// The stand-in: a deployment at revision 3, with its replica sets and one of a stranger.
async fn cluster() -> HttpStandIn {
    let sets = json!([
        replica_set(1, "", "web:1", "u1"),
        replica_set(3, "", "web:3", "u1"),
        replica_set(2, "", "web:2", "u1"),
        replica_set(2, "", "stranger:2", "u2"),
    ]);
    let state = Mutex::new((deployment(3, "web:3"), sets));
    HttpStandIn::start(move |request| answer(&mut state.lock(), request)).await
}

fn answer((deployment, sets): &mut (Value, Value), request: &Request) -> (u16, String) {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    match (request.method.as_str(), path) {
        ("GET", "/apis/apps/v1/namespaces/shop/deployments/web") => (200, deployment.to_string()),
        ("GET", "/apis/apps/v1/namespaces/shop/replicasets") if query.contains("labelSelector=app%3Dweb") => {
            (200, json!({"kind": "ReplicaSetList", "items": sets}).to_string())
        }
        ("PATCH", "/apis/apps/v1/namespaces/shop/deployments/web") => patched(deployment, sets, request),
        _ => (404, json!({"message": "not found"}).to_string()),
    }
}

/// The patch, and what the controller then does: the set of that template becomes the newest revision.
fn patched(deployment: &mut Value, sets: &mut Value, request: &Request) -> (u16, String) {
    let patch: Value = serde_json::from_str(&request.body).unwrap_or_default();
    let test = json!({"op": "test", "path": "/metadata/resourceVersion", "value": "41"});
    if request.headers["content-type"] != "application/json-patch+json" || patch[0] != test {
        return (422, json!({"message": "the test of the patch failed"}).to_string());
    }
    let wanted = patch[1]["value"].clone();
    assert!(wanted["metadata"]["labels"].get("pod-template-hash").is_none(), "the hash is the controller's");
    let number = deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str().unwrap();
    let next = (number.parse::<u64>().unwrap() + 1).to_string();
    for set in sets.as_array_mut().unwrap() {
        if set["spec"]["template"]["spec"] == wanted["spec"] {
            let annotations = &mut set["metadata"]["annotations"];
            annotations["deployment.kubernetes.io/revision-history"] =
                annotations["deployment.kubernetes.io/revision"].clone();
            annotations["deployment.kubernetes.io/revision"] = next.clone().into();
        }
    }
    deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = next.into();
    deployment["spec"]["template"] = wanted;
    (200, deployment.to_string())
}

fn runner(server: &str) -> RollbackRunner {
    install_tls();
    let cluster = Arc::new(Cluster::build(&config_for(server)).unwrap());
    let commands = Arc::new(Commands::build(&std::collections::BTreeMap::new()).unwrap());
    let webhooks = webhooks("http://127.0.0.1:9/");
    RollbackRunner::build(&DeployRunnerConfig::default(), Some(cluster), &webhooks, &commands)
        .unwrap()
        .unwrap()
}

fn rollback() -> Action {
    action("rollback", "shop/web", [])
}

fn to(revision: u64) -> Action {
    action("rollback", "shop/web", [("revision", revision.into())])
}

async fn image(runner: &RollbackRunner, server: &HttpStandIn) -> String {
    runner.look(&rollback(), SOON).await.unwrap();
    let mut patches = server.requests().into_iter().filter(|request| request.method == "PATCH");
    let patch: Value = serde_json::from_str(&patches.next_back().unwrap().body).unwrap();
    patch[1]["value"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn rolls_back_to_the_revision_before_and_forward_again() {
    let server = cluster().await;
    let runner = runner(&server.url(""));
    let effect = runner.look(&rollback(), SOON).await.unwrap();
    assert_eq!(effect.summary, "roll `shop/web` back from revision 3 to 2");
    assert_eq!((effect.reach.touched, effect.inverse.as_ref()), (4, Some(&to(3))));
    let sure = action("rollback", "shop/web", [("from", 3.into())]);
    assert_eq!(runner.progress(&sure, Timestamp(0), SOON).await, Ok(Progress::NotDone));
    let outcome = runner.run(&sure, SOON).await.unwrap();
    assert_eq!(image(&runner, &server).await, "web:2");
    assert_eq!(runner.progress(&sure, Timestamp(0), SOON).await, Ok(Progress::Done));
    assert!(runner.run(&sure, SOON).await.is_err(), "not a second time");
    assert_eq!(runner.progress(&rollback(), Timestamp(0), SOON).await, Ok(Progress::Unknown));

    let inverse = outcome.inverse.unwrap();
    assert_eq!(inverse, to(3));
    assert_eq!(runner.progress(&inverse, Timestamp(0), SOON).await, Ok(Progress::NotDone));
    runner.run(&inverse, SOON).await.unwrap();
    assert_eq!(image(&runner, &server).await, "web:3");
    assert_eq!(
        runner.progress(&inverse, Timestamp(0), SOON).await,
        Ok(Progress::Done),
        "though it is renumbered"
    );
    let again = runner.run(&inverse, SOON).await.unwrap();
    assert_eq!(
        (again.inverse, server.requests().iter().filter(|it| it.method == "PATCH").count()),
        (None, 2)
    );
    assert!(runner.run(&to(9), SOON).await.is_err(), "there is no such revision");
}

#[tokio::test]
async fn a_command_gets_the_target_as_its_parameter() {
    install_tls();
    let config: RunnersConfig = serde_json::from_value(json!({
        "commands": {"undo": {"program": "/bin/echo", "args": ["undo", "{target}"], "parameters": {"target": "[a-z/]+"}}},
        "deploy": {"rollback_command": "undo"},
    }))
    .unwrap();
    let commands = Arc::new(Commands::build(&config.commands).unwrap());
    let webhooks = Arc::new(Webhooks::build(&config.webhooks, clock()).unwrap());
    let runner = RollbackRunner::build(&config.deploy, None, &webhooks, &commands).unwrap().unwrap();
    assert_eq!(runner.run(&rollback(), SOON).await.unwrap().summary, "ran `undo`: undo shop/web");
    assert!(runner.describe(&action("rollback", "Shop", [])).is_err());
}
