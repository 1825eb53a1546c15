//! Proves that the fault proxy breaks what it is told to and nothing else.

use std::sync::Arc;
use std::time::Duration;

use aegis_tests::cluster::Cluster;
use aegis_tests::eventually::until;
use aegis_tests::fault_proxy::{FaultProxy, Matching, Moment};
use aegis_tests::kubernetes::Endpoint;
use aegis_tests::workload::deployment;
use anyhow::Result;
use http::{Method, StatusCode};
use serde_json::{Value, json};

/// A namespace with a Deployment, and an identity that may change it, through a proxy.
struct Scene {
    cluster: Arc<Cluster>,
    namespace: String,
    proxy: FaultProxy,
    token: String,
}

impl Scene {
    async fn set() -> Result<Self> {
        let cluster = Cluster::shared().await?;
        let namespace = cluster.create_namespace("proxy").await?;
        cluster.apply_in(&namespace, deployment("web", "app:1", 1)).await?;
        let grant = ["create", "rolebinding", "editor", "--clusterrole=edit"];
        let account = format!("--serviceaccount={namespace}:default");
        cluster.kubectl(["-n", &namespace].into_iter().chain(grant).chain([&*account])).await?;
        let token = cluster.kubectl(["-n", &namespace, "create", "token", "default"]).await?;
        let Endpoint { server, authority_pem } = cluster.endpoint().await?;
        let proxy = FaultProxy::start(vec![server], authority_pem.as_deref()).await?;
        Ok(Self { cluster, namespace, proxy, token: token.trim().to_owned() })
    }

    fn scale_to(&self, replicas: u32) -> impl Future<Output = reqwest::Result<reqwest::Response>> + use<> {
        let path = format!("apis/apps/v1/namespaces/{}/deployments/web/scale", self.namespace);
        let patch = json!({ "spec": { "replicas": replicas } }).to_string();
        let request = reqwest::Client::new().patch(format!("{}/{path}", self.proxy.url()));
        request
            .bearer_auth(&self.token)
            .header("content-type", "application/merge-patch+json")
            .body(patch)
            .send()
    }

    async fn replicas(&self) -> Result<Value> {
        Ok(self.cluster.get(&self.namespace, "deployment/web").await?["spec"]["replicas"].take())
    }
}

#[tokio::test]
async fn a_request_is_held_before_it_is_passed_on_and_then_let_go() -> Result<()> {
    let scene = Scene::set().await?;
    let mut hold = scene.proxy.hold(Matching::path("/scale").method(Method::PATCH), Moment::BeforePassingOn);

    let asking = tokio::spawn(scene.scale_to(2));
    assert!(hold.reached().await?.starts_with("PATCH /apis/apps/v1/"));
    assert_eq!(scene.replicas().await?, 1, "the API server heard of a held request");
    hold.release()?;

    assert_eq!(asking.await??.status(), 200);
    assert_eq!(scene.replicas().await?, 2);
    Ok(())
}

#[tokio::test]
async fn a_request_in_flight_arrives_after_its_caller_has_gone() -> Result<()> {
    let scene = Scene::set().await?;
    let mut hold = scene.proxy.hold(Matching::any().body("replicas"), Moment::BeforePassingOn);
    let asking = tokio::spawn(scene.scale_to(3));
    hold.reached().await?;

    asking.abort();
    assert!(asking.await.is_err_and(|error| error.is_cancelled()));
    hold.release()?;

    until("the late write", Duration::from_secs(20), async || Ok(scene.replicas().await? == 3)).await
}

#[tokio::test]
async fn a_held_answer_leaves_the_write_done_and_the_caller_without_an_answer() -> Result<()> {
    let scene = Scene::set().await?;
    let mut hold = scene.proxy.hold(Matching::path("/scale"), Moment::BeforeAnswering);

    let asking = tokio::spawn(scene.scale_to(4));
    hold.reached().await?;
    assert_eq!(scene.replicas().await?, 4);
    drop(hold);

    assert!(asking.await?.is_err(), "an answer came through a hold that was dropped");
    Ok(())
}

#[tokio::test]
async fn faults_strike_what_they_match_for_as_long_as_their_guard_lives() -> Result<()> {
    let scene = Scene::set().await?;

    let answering = scene.proxy.answer(Matching::path("/scale"), StatusCode::TOO_MANY_REQUESTS, "{}");
    assert_eq!(scene.scale_to(5).await?.status(), 429);
    drop(answering);

    let cut = scene.proxy.cut(Matching::path("/scale"), Moment::BeforeAnswering);
    assert!(scene.scale_to(5).await.is_err());
    assert_eq!(scene.replicas().await?, 5, "only the answer was to be cut");
    drop(cut);

    let cut_off = scene.proxy.cut_off();
    assert!(scene.scale_to(6).await.is_err());
    drop(cut_off);
    assert_eq!(scene.replicas().await?, 5, "a request passed a proxy that was cut off");

    assert_eq!(scene.scale_to(6).await?.status(), 200);
    assert_eq!(scene.proxy.seen().len(), 4);
    Ok(())
}

#[tokio::test]
async fn requests_go_to_the_next_replica_when_the_first_cannot_be_reached() -> Result<()> {
    let first = FaultProxy::start(vec![], None).await?;
    let gone = first.url().to_owned();
    drop(first);
    let scene = Scene::set().await?;
    let front = FaultProxy::start(vec![gone, scene.proxy.url().to_owned()], None).await?;
    let path = format!("{}/apis/apps/v1/namespaces/{}/deployments/web", front.url(), scene.namespace);

    let answer = reqwest::Client::new().get(&path).bearer_auth(&scene.token).send().await?;

    assert_eq!(answer.status(), 200);
    assert_eq!(scene.proxy.seen().len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_hold_may_let_some_requests_through_first() -> Result<()> {
    let scene = Scene::set().await?;
    let mut hold = scene.proxy.hold_after(1, Matching::path("/scale"), Moment::BeforePassingOn);

    assert_eq!(scene.scale_to(2).await?.status(), 200);
    let asking = tokio::spawn(scene.scale_to(3));
    hold.reached().await?;
    assert_eq!(scene.replicas().await?, 2);
    hold.release()?;

    assert_eq!(asking.await??.status(), 200);
    Ok(())
}
