//! The API over TLS: for callers, with certificates that are replaced, and against strangers who are slow.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use aegis_tests::certificates::{Authority, End};
use aegis_tests::eventually::until;
use aegis_tests::paths::{RunFolder, binary, write_private};
use aegis_tests::process::Launch;
use aegis_tests::stack::{Stack, StackOptions};
use aegis_tests::wire::Wire;
use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::WITHIN;

/// How many are slow at once.
const STRANGERS: usize = 1_000;
/// The first bytes of a handshake: a record that announces more than follows.
const HALF_A_GREETING: &str = "\x16\x03\x01\x02\x00\x01\x00";

/// A stack whose control plane speaks TLS with the certificate `api` of an authority of its own.
struct Scene {
    stack: Stack,
    authority: Authority,
    /// Where the API is.
    url: String,
    _folder: RunFolder,
}

impl Scene {
    async fn start(settings: &[(&str, &str)]) -> Result<Self> {
        let folder = RunFolder::create("api-authority")?;
        let authority = Authority::create(&folder.path().join("tls"))?;
        authority.issue_server("api", "aegis")?;
        let stack = Stack::start(StackOptions::default()).await?;
        let settings = settings.iter().copied();
        let url = stack.control_plane(0).restart_over_tls(&authority, "api", settings).await?;
        Ok(Self { stack, authority, url, _folder: folder })
    }

    async fn metric(&self, line: &str) -> Result<f64> {
        let page = self.authority.http()?.get(format!("{}/metrics", self.url)).send().await?.text().await?;
        let value = page.lines().find_map(|found| found.strip_prefix(line)).map(str::trim);
        Ok(value.map(str::parse).transpose()?.unwrap_or_default())
    }
}

#[tokio::test]
async fn with_a_certificate_the_api_speaks_tls_alone_and_browsers_are_told_to_stay() -> Result<()> {
    let scene = Scene::start(&[]).await?;
    let http = scene.authority.http()?;
    for (path, status) in [("/health/ping", 200), ("/api/v1/whoami", 401), ("/nowhere", 404)] {
        let answer = http.get(format!("{}{path}", scene.url)).send().await?;
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(answer.headers()["strict-transport-security"], "max-age=31536000; includeSubDomains");
    }
    let plain = format!("{}/health/ping", scene.url.replace("https://", "http://"));
    assert!(super::plain()?.get(plain).send().await.is_err(), "it answers without TLS");
    // Who does not believe the authority does not go on.
    let stranger = super::plain()?.get(format!("{}/health/ping", scene.url)).send().await;
    assert!(stranger.is_err_and(|error| error.is_connect()));

    // The command line believes what the system does, and what it is told to.
    let known = scene.stack.registered_client();
    let whoami = Launch::new(binary("aegisctl")?)
        .env("SSL_CERT_FILE", scene.authority.path("ca.crt"))
        .env("AEGIS_URL", &scene.url)
        .env("AEGIS_KEY_ID", &known.key_id)
        .env("AEGIS_SECRET", &known.secret)
        .args(["-o", "json", "whoami"]);
    let told: Value = serde_json::from_str(&whoami.output().await?)?;
    assert_eq!(told["principal"], json!(known.principal), "{told}");
    Ok(())
}

#[tokio::test]
async fn the_apis_certificate_is_replaced_while_requests_run_and_none_fails() -> Result<()> {
    let scene = Scene::start(&[]).await?;
    let (is_over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let other = Authority::create(&scene.authority.path("other"))?;
    other.issue_server("api", "aegis")?;
    // Callers that believe both, with connections that they keep and with new ones.
    let both = [scene.authority.pem(), other.pem()].map(|pem| reqwest::Certificate::from_pem(pem.as_bytes()));
    let both = both.into_iter().collect::<Result<Vec<_>, _>>()?;
    let caller = |idle: usize| {
        let builder = reqwest::Client::builder().no_proxy().timeout(WITHIN);
        builder.tls_certs_only(both.clone()).pool_max_idle_per_host(idle).build()
    };
    let (keeping, anew) = (caller(1)?, caller(0)?);
    let asking = async |http: &reqwest::Client| {
        while !is_over.load(Ordering::Relaxed) {
            let answer = http.get(format!("{}/health/ping", scene.url)).send().await?;
            ensure!(answer.status() == 200, "{}", answer.status());
            answer.bytes().await?;
            done.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
        anyhow::Ok(())
    };
    let replacing = async {
        for ending in ["crt", "key"] {
            let file = format!("api.{ending}");
            write_private(&scene.authority.path(&file), std::fs::read(other.path(&file))?)?;
        }
        let believing = other.http()?;
        until("the new certificate being shown", WITHIN, async || {
            Ok(believing.get(format!("{}/health/ping", scene.url)).send().await.is_ok())
        })
        .await?;
        let wanted = done.load(Ordering::Relaxed) + 20;
        until("requests going on", WITHIN, async || Ok(done.load(Ordering::Relaxed) >= wanted)).await?;
        is_over.store(true, Ordering::Relaxed);
        anyhow::Ok(())
    };
    tokio::try_join!(replacing, asking(&keeping), asking(&anew))?;
    Ok(())
}

#[tokio::test]
async fn strangers_who_are_slow_with_their_handshakes_lose_the_connection_and_hold_up_nobody() -> Result<()> {
    let scene = Scene::start(&[("IDLE_SECONDS_MAX", "3")]).await?;
    let plain = scene.url.replace("https://", "http://");
    let mut strangers = Vec::new();
    for number in 0..STRANGERS {
        let mut wire = Wire::connect(&plain, 2).await?;
        // Nothing, a part of a greeting, or what is none at all.
        let _ = wire.send(["", HALF_A_GREETING, "GET / HTTP/1.1\r\n\r\n"][number % 3]).await;
        strangers.push(wire);
        if number % 100 == 0 {
            let ping = scene.authority.http()?.get(format!("{}/health/ping", scene.url));
            assert_eq!(ping.send().await?.status(), 200, "with {number} strangers");
        }
    }
    let ping = scene.authority.http()?.get(format!("{}/health/ping", scene.url));
    assert_eq!(ping.send().await?.status(), 200);
    for stranger in &mut strangers {
        stranger.ended().await?;
    }
    let slow = scene.metric("aegis_http_connections_refused_total{reason=\"handshake-slow\"}").await?;
    let failed = scene.metric("aegis_http_connections_refused_total{reason=\"handshake-failed\"}").await?;
    // Those that got no place at all are counted apart.
    assert!(slow >= 600.0 && failed >= 300.0, "{slow} slow, {failed} failed");
    Ok(())
}

#[tokio::test]
async fn a_control_plane_does_not_start_with_files_that_it_cannot_use() -> Result<()> {
    let scene = Scene::start(&[]).await?;
    scene.authority.issue_service("other", "aegis://other", End::Server)?;
    write_private(&scene.authority.path("api.key"), std::fs::read(scene.authority.path("other.key"))?)?;
    let path = |name: &str| scene.authority.path(name).display().to_string();
    let settings = [("TLS_CERTIFICATE_FILE", path("api.crt")), ("TLS_KEY_FILE", path("api.key"))];
    let refused = scene.stack.control_plane(0).command_with(settings, ["serve"]).await;
    let told = format!("{:#}", refused.err().ok_or_else(|| anyhow::anyhow!("it starts"))?);
    assert!(told.contains("TLS_CERTIFICATE_FILE, TLS_KEY_FILE"), "{told}");
    Ok(())
}
