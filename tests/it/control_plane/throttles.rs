//! How many requests callers may make: each out of buckets of its own, shared by replicas, and never without end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use aegis_contract::problem;
use aegis_tests::callers::{Answer, Caller};
use aegis_tests::eventually::{eventually, until};
use aegis_tests::paths::{binary, random_name};
use aegis_tests::process::Launch;
use aegis_tests::redis::Redis;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use super::log::metric;

/// What the stack does takes moments; a busy machine is given much more before the test fails.
const WITHIN: Duration = Duration::from_secs(60);
/// Longest an answer may take, whatever Redis does: some hundred milliseconds and a busy machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

async fn start(control_planes: usize, settings: &[(&str, &str)]) -> Result<Stack> {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let control_plane_settings = settings.collect();
    Stack::start(StackOptions { control_planes, control_plane_settings, ..Default::default() }).await
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn number(answer: &Answer, name: &str) -> Result<u64> {
    header(answer, name).parse().with_context(|| format!("{name} of {:?}", answer.headers))
}

/// Sends until so many were let through and one was not, or until `most` were sent; returns how many were let through
/// and the last answer.
async fn exhaust(caller: &Caller, path: &str, status: u16, most: usize) -> Result<(usize, Answer)> {
    for admitted in 0..most {
        let answer = caller.get(path).await?;
        if answer.code() == "rate-limited" {
            return Ok((admitted, answer));
        }
        ensure!(answer.status == status, "expected {status}, got {}: {}", answer.status, answer.text);
    }
    anyhow::bail!("{most} requests were let through")
}

/// What a bucket of so many a minute lets through since a time, at most.
fn at_most(per_minute: usize, since: Instant) -> usize {
    per_minute + per_minute * usize::try_from(since.elapsed().as_secs() + 1).unwrap_or(usize::MAX) / 60 + 1
}

#[tokio::test]
async fn who_asks_too_much_is_told_when_to_ask_again_and_how_it_stands_before() -> Result<()> {
    let stack = start(1, &[("THROTTLES", "read=10")]).await?;
    let (client, admin) = (stack.client()?, stack.admin()?);
    let first = client.get("/api/v1/whoami").await?.expect(200)?;
    assert_eq!(header(&first, "ratelimit-policy"), "\"read\";q=10;w=60");
    assert_eq!(header(&first, "ratelimit"), "\"read\";r=9;t=6");
    let fields = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"];
    assert_eq!(fields.map(|name| header(&first, name)), ["10", "9", "6"]);

    let (_, refused) = exhaust(&client, "/api/v1/whoami", 200, 100).await?;
    assert_eq!(refused.status, 429, "{}", refused.text);
    assert!(header(&refused, "content-type").starts_with(problem::MEDIA_TYPE));
    let wait = number(&refused, "retry-after")?;
    assert!((1..=6).contains(&wait), "one every six seconds: {wait}");
    assert_eq!(refused.body["retryAfterSeconds"], wait);
    assert_eq!(number(&refused, "ratelimit-remaining")?, 0);
    assert!(number(&refused, "ratelimit-reset")? > 50, "{:?}", refused.headers);
    assert!(refused.body["requestId"].is_string() && refused.body["detail"].is_string(), "{}", refused.text);

    // Another class, another caller, and the same caller after the time it was told.
    client.post("/api/v1/policy/evaluate", &json!({})).await?.expect(400)?;
    admin.get("/api/v1/whoami").await?.expect(200)?;
    tokio::time::sleep(Duration::from_secs(wait)).await;
    client.get("/api/v1/whoami").await?.expect(200)?;
    assert!(
        metric(&stack, "aegis_throttle_decisions_total{class=\"read\",result=\"refused\"}").await? >= 1.0
    );
    Ok(())
}

#[tokio::test]
async fn replicas_share_the_buckets_of_callers_in_redis() -> Result<()> {
    let redis = Redis::start().await?;
    let file = redis.url_file();
    let file = file.to_str().context("a path as text")?;
    let stack = start(2, &[("THROTTLES", "read=30"), ("REDIS_URL_FILE", file)]).await?;
    let one = stack.client()?;
    let two = one.at(stack.control_plane(1).url());
    let (started, mut admitted) = (Instant::now(), 0);
    for round in 0.. {
        let answer = if round % 2 == 0 { &one } else { &two }.get("/api/v1/whoami").await?;
        if answer.status == 429 {
            break;
        }
        answer.expect(200)?;
        admitted += 1;
    }
    // One that Redis did not answer in time, because the machine is busy, was judged by its replica.
    let bound = at_most(30, started) + 5;
    assert!((30..=bound).contains(&admitted), "{admitted} in {:?}", started.elapsed());
    // Whichever is asked; and to start a replica again fills nothing.
    stack.control_plane(1).restart().await?;
    for replica in [&one, &two] {
        let (again, refused) = exhaust(replica, "/api/v1/whoami", 200, 100).await?;
        assert!(again + admitted <= at_most(30, started) + 5, "{again} more in {:?}", started.elapsed());
        assert_eq!(refused.status, 429);
    }
    two.post("/api/v1/policy/evaluate", &json!({})).await?.expect(400)?;
    stack.admin()?.get("/api/v1/whoami").await?.expect(200)?;
    is_shared_again(&stack, &stack.admin()?, 30).await
}

/// That requests go on while Redis does not, out of a quarter of the bucket, and all of them in time.
async fn is_strict(stack: &Stack, caller: &Caller) -> Result<()> {
    let mut admitted = 0;
    let started = Instant::now();
    loop {
        let asked = Instant::now();
        let answer = caller.get("/api/v1/whoami").await?;
        ensure!(asked.elapsed() < ANSWER_WITHIN, "an answer took {:?}", asked.elapsed());
        if answer.status == 429 {
            assert_eq!(header(&answer, "ratelimit-policy"), "\"read\";q=15;w=60", "a quarter of it");
            break;
        }
        answer.expect(200)?;
        admitted += 1;
    }
    assert!((1..=at_most(15, started)).contains(&admitted), "{admitted} in {:?}", started.elapsed());
    assert_eq!(metric(stack, "aegis_throttle_degraded").await?, 1.0);
    Ok(())
}

/// That Redis judges again, without anybody's doing.
async fn is_shared_again(stack: &Stack, caller: &Caller, per_minute: u32) -> Result<()> {
    until("throttles being shared again", WITHIN, async || {
        Ok(metric(stack, "aegis_throttle_degraded").await? == 0.0)
    })
    .await?;
    let policy = format!("\"read\";q={per_minute};w=60");
    until("a request being judged by Redis", WITHIN, async || {
        Ok(header(&caller.get("/api/v1/whoami").await?.expect(200)?, "ratelimit-policy") == policy)
    })
    .await
}

#[tokio::test]
async fn without_redis_each_replica_throttles_strictly_by_itself_until_it_is_back() -> Result<()> {
    let redis = Redis::start().await?;
    let url = redis.url();
    let stack = start(1, &[("THROTTLES", "read=60"), ("REDIS_URL", &url)]).await?;
    let person = async |name: &str| stack.new_person(name, &["user"]).await;
    let (first, second, third) = (person("ina").await?, person("ida").await?, person("ilse").await?);
    is_shared_again(&stack, &first, 60).await?;

    redis.process().kill()?;
    is_strict(&stack, &first).await?;
    redis.restart().await?;
    // It comes back empty: what was used up is forgotten, and nobody is held up by it.
    is_shared_again(&stack, &first, 60).await?;

    redis.process().stop()?;
    is_strict(&stack, &second).await?;
    redis.process().cont()?;
    is_shared_again(&stack, &second, 60).await?;

    // A replica that starts without it serves, and finds it later.
    redis.process().kill()?;
    stack.control_plane(0).restart().await?;
    is_strict(&stack, &third).await?;
    redis.restart().await?;
    is_shared_again(&stack, &third, 60).await?;
    let log = std::fs::read_to_string(stack.logs().join("control-plane.log"))?;
    for told in ["Redis is lost", "cannot be used", "throttles are shared by Redis"] {
        assert!(log.contains(told), "the log does not say `{told}`");
    }
    assert!(!log.contains(url.split('@').next().unwrap_or_default()), "the log holds Redis' password");
    Ok(())
}

#[tokio::test]
async fn guessing_and_floods_from_an_address_use_up_nobodys_requests() -> Result<()> {
    let throttles = "refused=20,public=20,sign-in=20,read=200";
    let stack = start(1, &[("THROTTLES", throttles)]).await?;
    let (url, known) = (stack.control_plane(0).url(), stack.registered_client());
    let (client, admin) = (stack.client()?, stack.admin()?);
    let other = stack.new_client("other", &stack.admin_user().email).await?;

    // The honest client's key with a wrong secret, a forged token, and nothing at all: one bucket of the address.
    let guesses = [
        Caller::client(url, &known.key_id, &other.secret)?,
        Caller::person(url, "x.y.z")?,
        stack.anonymous()?,
    ];
    let started = Instant::now();
    let mut told = 0;
    for round in 0..150 {
        let guess = guesses[round % 3].request(Method::GET, "/api/v1/whoami");
        // Nobody believes a caller who says that it is another.
        let answer = guess.header("x-forwarded-for", &format!("192.0.2.{round}")).send().await?;
        match answer.status {
            401 => told += 1,
            status => assert_eq!((status, answer.code()), (429, "rate-limited"), "{}", answer.text),
        }
        assert!(header(&answer, "ratelimit-policy").starts_with("\"refused\";q=20"), "{:?}", answer.headers);
    }
    assert!((20..=at_most(20, started)).contains(&told), "{told} in {:?}", started.elapsed());

    // Public pages, and what there is not.
    exhaust(&stack.anonymous()?, "/api/v1/policy/schema", 200, 200).await?;
    let nowhere = stack.anonymous()?.get("/api/v1/nowhere").await?;
    assert!([404, 429].contains(&nowhere.status), "{}", nowhere.text);
    // Passwords; they are not even looked at any more.
    let refused = eventually("sign-ins being refused", WITHIN, async || {
        // Of one account they would have to wait for another reason.
        let wrong =
            json!({ "email": format!("{}@example.com", random_name(8)), "password": "not the password" });
        let answer = stack.anonymous()?.post("/api/v1/auth/login", &wrong).await?;
        Ok((answer.status == 429).then_some(answer))
    })
    .await?;
    assert_eq!(refused.code(), "rate-limited", "{}", refused.text);

    for _ in 0..30 {
        client.get("/api/v1/whoami").await?.expect(200)?;
        admin.get("/api/v1/whoami").await?.expect(200)?;
        for exempt in ["/health/ping", "/health/ready", "/metrics"] {
            let answer = stack.anonymous()?.get(exempt).await?.expect(200)?;
            assert_eq!(header(&answer, "ratelimit-policy"), "", "{exempt}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn behind_a_trusted_proxy_callers_are_told_apart() -> Result<()> {
    let settings = [("THROTTLES", "sign-in=3"), ("TRUSTED_PROXIES", "127.0.0.0/8")];
    let stack = start(1, &settings).await?;
    let anonymous = stack.anonymous()?;
    let sign_in = async |from: &str| {
        let draft = anonymous.request(Method::POST, "/api/v1/auth/login").json(&json!({}));
        anyhow::Ok(draft.header("x-forwarded-for", from).send().await?.status)
    };
    for _ in 0..3 {
        assert_eq!(sign_in("192.0.2.1").await?, 400);
    }
    // The one in front of the proxy counts, whatever it wrote itself; IPv6 by the network.
    assert_eq!(sign_in("198.51.100.7, 192.0.2.1").await?, 429);
    assert_eq!(sign_in("192.0.2.2").await?, 400);
    for last in 1..=3 {
        assert_eq!(sign_in(&format!("2001:db8::{last}")).await?, 400);
    }
    assert_eq!(sign_in("2001:db8::4").await?, 429);
    assert_eq!(sign_in("2001:db8:0:1::4").await?, 400);
    Ok(())
}

#[tokio::test]
async fn every_route_answers_under_its_class() -> Result<()> {
    const NO_ID: &str = "019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90";
    let stack = start(1, &[]).await?;
    let description = stack.anonymous()?.get("/api/v1/openapi.json").await?.expect(200)?.body;
    let admin = stack.admin()?;
    let mut routes = Vec::new();
    for (path, operations) in description["paths"].as_object().context("paths")? {
        let methods = operations.as_object().context("operations")?.keys();
        routes.extend(methods.map(|method| (method.to_uppercase(), path)));
    }
    // What ends the admin's session comes last.
    routes.sort_by_key(|(method, path)| {
        path.ends_with("/logout") || (method == "DELETE" && path.ends_with("/sessions"))
    });
    let mut classes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (method, path) in routes {
        let concrete = path.replace("{id}", NO_ID).replace("{name}", "absent").replace("{version}", "1");
        let draft = admin.request(method.parse()?, &concrete.replace("{path}", "0/000"));
        let draft = if method == "GET" { draft } else { draft.json(&json!({})) };
        let answer = draft.send().await?;
        let policy = header(&answer, "ratelimit-policy").split(';').next().unwrap_or_default().to_owned();
        classes.entry(policy.trim_matches('"').to_owned()).or_default().insert(format!("{method} {path}"));
    }
    let exempt = classes.remove("").unwrap_or_default();
    assert_eq!(exempt, ["GET /health/ping", "GET /health/ready"].map(str::to_owned).into());
    // `refused`: the one after the other of the two that end sessions.
    let known = ["export", "heal", "public", "read", "refused", "search", "sign-in", "write"];
    assert!(classes.keys().all(|class| known.contains(&class.as_str())), "{classes:?}");
    for class in ["export", "heal", "public", "read", "search", "sign-in", "write"] {
        assert!(classes.contains_key(class), "no route of class {class}: {classes:?}");
    }
    Ok(())
}

#[tokio::test]
async fn aegisctl_waits_as_long_as_it_is_told_to() -> Result<()> {
    let stack = start(1, &[("THROTTLES", "heal=6")]).await?;
    stack.allow_everything().await?;
    let client = stack.client()?;
    let question = json!({ "action": "restart", "resource": "k8s/local/shop/Deployment/web" });
    until("the client's bucket being empty", WITHIN, async || {
        Ok(client.post("/api/v1/policy/evaluate", &question).await?.status == 429)
    })
    .await?;
    let known = stack.registered_client();
    let target = format!("{}/deployment/absent", stack.namespace());
    let launch = Launch::new(binary("aegisctl")?)
        .env("AEGIS_URL", stack.control_plane(0).url())
        .env("AEGIS_CLUSTER", stack.cluster_name())
        .env("AEGIS_KEY_ID", &known.key_id)
        .env("AEGIS_SECRET", &known.secret)
        .args(["-o", "json", "heal", "restart", &target, "--wait"]);
    let output = launch.output_with("").await?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains("more than 6 requests a minute (heal)") && told.contains("trying again in"),
        "{told}"
    );
    let action: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(action["outcome"]["code"], "target-absent", "{told}{action}");
    Ok(())
}
