//! Control plane and executor over mutual TLS: each is refused by the other, during the handshake, unless its
//! certificate names it and the private authority vouches for that.

use aegis_contract::peer::Peer;
use aegis_tests::certificates::{Authority, End};
use aegis_tests::eventually::until;
use aegis_tests::paths::RunFolder;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Result, ensure};
use reqwest::tls::Version;
use reqwest::{Client, ClientBuilder, Identity};
use serde_json::json;

use super::{WITHIN, metric, metrics, plain};
use crate::actions::scene::Scene;

pub(super) fn options() -> StackOptions {
    StackOptions { mutual_tls: true, ..StackOptions::default() }
}

/// Settings besides those of the stack.
const NOTHING_ELSE: [(&str, &str); 0] = [];

/// Tells the control plane where the executor is.
async fn point_at(stack: &Stack, url: &str) -> Result<()> {
    let cluster = stack.cluster_name();
    stack.command(["cluster", "set-executor-url", "--name", cluster, "--executor-url", url]).await?;
    Ok(())
}

fn builder() -> ClientBuilder {
    // These tests are about whom the executor believes.
    Client::builder().no_proxy().timeout(WITHIN).tls_danger_accept_invalid_certs(true)
}

/// A client that shows a certificate of an authority.
pub(super) fn showing(authority: &Authority, name: &str) -> Result<ClientBuilder> {
    let read = |ending: &str| std::fs::read_to_string(authority.path(&format!("{name}.{ending}")));
    let pem = format!("{}{}", read("crt")?, read("key")?);
    Ok(builder().identity(Identity::from_pem(pem.as_bytes())?))
}

/// Whether somebody is let in so far that an order of theirs would be looked at.
pub(super) async fn is_let_in(stack: &Stack, client: ClientBuilder) -> Result<bool> {
    let order = client.build()?.post(format!("{}/v1/orders", stack.executor(0).url())).json(&json!({}));
    match order.send().await {
        Ok(answer) => {
            ensure!(answer.status() == 400, "an empty order is answered {}", answer.status());
            Ok(true)
        }
        Err(_) => Ok(false),
    }
}

#[tokio::test]
async fn a_heal_goes_over_mutual_tls_and_probes_see_health_and_no_orders() -> Result<()> {
    let scene = Scene::open(options()).await?;
    scene.deploy_small(&["web"]).await?;
    let action = scene.carry_out(&scene.restart("web")).await?;
    scene.expect_whole_story(&action).await?;
    let health = scene.stack.anonymous()?.get("/api/v1/health").await?.expect(200)?.body;
    assert_eq!(health["executors"][0]["status"], "up", "{health}");

    let executor = scene.stack.executor(0);
    let at = |path: &str| format!("{}{path}", executor.observe_url());
    for path in ["/health/ping", "/health/ready", "/metrics"] {
        assert_eq!(plain()?.get(at(path)).send().await?.status(), 200, "{path}");
    }
    let order = plain()?.post(at("/v1/orders")).json(&json!({})).send().await?;
    assert_eq!(order.status(), 404);
    Ok(())
}

#[tokio::test]
async fn an_executor_ends_the_handshake_of_everybody_but_the_control_plane() -> Result<()> {
    let stack = Stack::start(options()).await?;
    let (ours, folder) = (stack.authority()?, RunFolder::create("foreign-authority")?);
    let foreign = Authority::create(&folder.path().join("tls"))?;
    let control_plane = Peer::ControlPlane.to_string();
    foreign.issue_service("foreign", &control_plane, End::Client)?;
    ours.issue_service("other-service", "aegis://executor/local", End::Client)?;
    ours.issue_service("other-spelling", "aegis://control-plane/", End::Client)?;
    ours.issue_service("other-use", &control_plane, End::Server)?;
    ours.issue_host("host", "control-plane", End::Client)?;
    ours.issue_expired("expired", &control_plane, End::Client)?;

    assert!(is_let_in(&stack, showing(ours, "control-plane")?).await?);
    let line = "aegis_http_connections_refused_total{reason=\"handshake-failed\"}";
    let before = metric(stack.executor(0), line).await?;
    let refused = [
        ("no certificate", builder()),
        ("a foreign authority", showing(&foreign, "foreign")?),
        ("another service", showing(ours, "other-service")?),
        ("nearly the name", showing(ours, "other-spelling")?),
        ("a certificate for servers", showing(ours, "other-use")?),
        ("a host of that name", showing(ours, "host")?),
        ("an expired certificate", showing(ours, "expired")?),
        ("an old version of TLS", showing(ours, "control-plane")?.tls_version_max(Version::TLS_1_2)),
    ];
    for (number, (who, client)) in (1_u32..).zip(refused) {
        assert!(!is_let_in(&stack, client).await?, "{who} was let in");
        until(&format!("{who} being counted as refused in the handshake"), WITHIN, async || {
            Ok(metric(stack.executor(0), line).await? >= before + f64::from(number))
        })
        .await?;
    }
    let url = stack.executor(0).url().replace("https://", "http://");
    assert!(plain()?.get(format!("{url}/health/ping")).send().await.is_err(), "without TLS");

    let orders = "aegis_http_requests_total{method=\"POST\",route=\"/v1/orders\",status=\"400\"}";
    assert_eq!(metric(stack.executor(0), orders).await?, 1.0, "the one that was let in");
    assert!(is_let_in(&stack, showing(ours, "control-plane")?).await?);
    Ok(())
}

#[tokio::test]
async fn a_control_plane_sends_nothing_to_anybody_but_the_executor_of_the_cluster() -> Result<()> {
    let scene = Scene::open(options()).await?;
    scene.deploy_small(&["web"]).await?;
    let (stack, folder) = (&scene.stack, RunFolder::create("foreign-authority")?);
    let ours = stack.authority()?;
    let foreign = Authority::create(&folder.path().join("tls"))?;
    let executor = Peer::Executor { cluster: stack.cluster_name().to_owned() }.to_string();
    foreign.issue_service("foreign", &executor, End::Server)?;
    ours.issue_service("other-cluster", "aegis://executor/elsewhere", End::Server)?;
    ours.issue_service("other-service", &Peer::ControlPlane.to_string(), End::Server)?;
    ours.issue_service("other-use", &executor, End::Client)?;
    ours.issue_server("host", stack.cluster_name())?;
    ours.issue_expired("expired", &executor, End::Server)?;
    let mut rehearsal = scene.restart("web");
    rehearsal["dryRun"] = json!(true);

    for (authority, name, told) in [
        (ours, "other-cluster", "the certificate names aegis://executor/elsewhere, and not"),
        (ours, "other-service", "the certificate names aegis://control-plane, and not"),
        (ours, "host", "the certificate names no service, and not"),
        (ours, "other-use", "does not allow extended key usage for server authentication"),
        (ours, "expired", "certificate expired"),
        (&foreign, "foreign", "BadSignature"),
    ] {
        let (certificate, key) = (format!("{name}.crt"), format!("{name}.key"));
        let files =
            [("TLS_CERTIFICATE_FILE", authority.path(&certificate)), ("TLS_KEY_FILE", authority.path(&key))];
        stack.executor(0).restart_with(files).await?;
        let refused = scene.client.ask(&rehearsal, 60).await?;
        assert_eq!((refused.status, refused.code()), (503, "executor-unavailable"), "{name}");
        until(&format!("the log saying `{told}` of {name}"), WITHIN, async || {
            Ok(std::fs::read_to_string(stack.logs().join("control-plane.log"))?.contains(told))
        })
        .await?;
        let page = metrics(stack.executor(0)).await?;
        assert!(!page.contains("/v1/orders"), "{name}: an order arrived");
    }

    // Nor without TLS: whoever can change an address cannot have orders sent in the clear.
    let without = [("TLS_CERTIFICATE_FILE", ""), ("TLS_KEY_FILE", ""), ("TLS_CLIENT_CA_FILE", "")];
    stack.executor(0).restart_with(without).await?;
    let url = stack.executor(0).url().replace("https://", "http://");
    for url in [stack.executor(0).url(), &url] {
        point_at(stack, url).await?;
        let refused = scene.client.ask(&rehearsal, 60).await?;
        assert_eq!((refused.status, refused.code()), (503, "executor-unavailable"), "{url}");
        let page = metrics(stack.executor(0)).await?;
        assert!(!page.contains("/v1/orders"), "{url}: an order arrived");
    }

    // As it was, it is believed again.
    point_at(stack, stack.executor(0).url()).await?;
    stack.executor(0).restart_with(NOTHING_ELSE).await?;
    scene.carry_out(&scene.restart("web")).await?;
    Ok(())
}
