//! Secrets change while everything runs, and nobody's request fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aegis_tests::callers::Caller;
use aegis_tests::cluster::Cluster;
use aegis_tests::database::{Database, Server, Service, execute};
use aegis_tests::eventually::until;
use aegis_tests::paths::{random, random_name, write_private};
use aegis_tests::redis::Redis;
use aegis_tests::stack::{Part, Stack, StackOptions, sign_in};
use aegis_tests::workload::deployment;
use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PKCS_ED25519};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, Row, raw_sql};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What is waited for takes seconds; a busy machine is given much more before the test fails.
const WITHIN: Duration = Duration::from_secs(120);
const REPLICAS: usize = 2;
const NEW_ORDER_KEY: &str = "local-2";

/// People and automation at work on every replica, who take no failure.
struct Work {
    stack: Arc<Stack>,
    token: watch::Sender<String>,
    rounds: Arc<[AtomicU64; REPLICAS]>,
    workers: JoinSet<Result<()>>,
}

impl Work {
    async fn begin(stack: Arc<Stack>) -> Result<Self> {
        let token = watch::Sender::new(signed_in(&stack, 0).await?);
        let rounds = Arc::new([const { AtomicU64::new(0) }; REPLICAS]);
        let mut workers = JoinSet::new();
        for replica in 0..REPLICAS {
            let (stack, token, rounds) = (stack.clone(), token.clone(), rounds.clone());
            workers.spawn(async move {
                loop {
                    let person = token.borrow().clone();
                    round(&stack, replica, &person).await.with_context(|| format!("replica {replica}"))?;
                    rounds[replica].fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Ok(Self { stack, token, rounds, workers })
    }

    /// Waits until everybody has been through everything, from the beginning, under what holds now.
    async fn goes_on(&mut self) -> Result<()> {
        let counts = |work: &Self| work.rounds.each_ref().map(|count| count.load(Ordering::Relaxed));
        let before = counts(self);
        until("everybody having worked", WITHIN, async || {
            if let Some(ended) = self.workers.try_join_next() {
                ended??;
            }
            Ok(counts(self).iter().zip(before).all(|(now, before)| *now >= before + 2))
        })
        .await
    }

    /// The same, with a token of a sign-in of now.
    async fn sign_in_anew(&mut self) -> Result<()> {
        let token = signed_in(&self.stack, 1).await?;
        drop(self.token.send_replace(token));
        self.goes_on().await
    }
}

async fn signed_in(stack: &Stack, replica: usize) -> Result<String> {
    let (url, admin) = (stack.control_plane(replica).url(), stack.admin_user());
    sign_in(url, &admin.email, &admin.password).await
}

async fn round(stack: &Stack, replica: usize, token: &str) -> Result<()> {
    let url = stack.control_plane(replica).url();
    Caller::person(url, token)?.get("/api/v1/actions?limit=5").await?.expect(200)?;
    let known = stack.registered_client();
    let client = Caller::client(url, &known.key_id, &known.secret)?;
    let question =
        json!({ "action": "restart", "resource": format!("k8s/local/{}/Deployment/web", stack.namespace()) });
    client.post("/api/v1/policy/evaluate", &question).await?.expect(200)?;
    let mut heal = stack.action("restart", "Deployment", "web", &json!({ "duringRollout": true }));
    heal["dryRun"] = json!(true);
    let ended = client.ask(&heal, 60).await?.expect(202)?;
    ensure!(ended.body["state"] == "succeeded", "a rehearsal did not succeed: {}", ended.text);
    Ok(())
}

/// How often the process at an address has taken new secrets, and whether there are some that it cannot take.
pub(crate) async fn renewals(url: &str) -> Result<(u64, bool)> {
    let page = Caller::anonymous(url)?.get("/metrics").await?.expect(200)?.text;
    let value = |name: &str| -> Result<u64> {
        let line = page.lines().find_map(|line| line.strip_prefix(name));
        Ok(line.with_context(|| format!("no {name}"))?.trim().parse()?)
    };
    Ok((value("aegis_secrets_renewed_total")?, value("aegis_secrets_unusable")? == 1))
}

/// Changes files as one, and waits until every one of the processes has taken that.
async fn change(stack: &Stack, parts: &[Part], files: &[(&str, &str)]) -> Result<()> {
    let mut before = Vec::new();
    for part in parts {
        before.push(renewals(part.url()).await?.0);
    }
    for (name, content) in files {
        write_private(&stack.secret_file(name), content)?;
    }
    for (part, before) in parts.iter().zip(before) {
        until("new secrets being in force", WITHIN, async || {
            let (renewed, unusable) = renewals(part.url()).await?;
            ensure!(!unusable, "{} cannot use {files:?}", part.url());
            Ok(renewed > before)
        })
        .await?;
    }
    Ok(())
}

fn secret() -> String {
    STANDARD.encode(random::<32>())
}

fn read(stack: &Stack, name: &str) -> Result<String> {
    Ok(std::fs::read_to_string(stack.secret_file(name))?)
}

/// Another role that may do what the service's may; where it signs in, with its password.
async fn another_role(database: &Database, service: Service) -> Result<String> {
    let (role, first, password) = (format!("another_{}", random_name(8)), service.role(), random_name(24));
    let create = format!("create role {role} login password '{password}' in role {first}");
    execute(&database.superuser_url, create).await?;
    let (_, place) = database.url.split_once('@').context("a place")?;
    Ok(format!("postgres://{role}:{password}@{place}"))
}

/// Waits until the service's first role has no connection to a database any more, and lets it in no more.
async fn retire_first_role(database: &Database, service: Service) -> Result<()> {
    let (role, name) = (service.role(), &database.name);
    let mut connection = PgConnection::connect(&database.superuser_url).await?;
    let left =
        format!("select count(*) from pg_stat_activity where usename = '{role}' and datname = '{name}'");
    until("the first role having gone", WITHIN, async || {
        let row = raw_sql(sqlx::AssertSqlSafe(left.clone())).fetch_one(&mut connection).await?;
        Ok(row.try_get::<i64, _>(0)? == 0)
    })
    .await?;
    execute(&database.superuser_url, format!("alter role {role} nologin")).await
}

#[tokio::test]
async fn every_secret_changes_while_everybody_works_and_no_request_fails() -> Result<()> {
    let redis = Redis::start().await?;
    let options = StackOptions {
        control_planes: REPLICAS,
        order_lifetime_seconds: 30,
        control_plane_settings: vec![("REDIS_URL_FILE".to_owned(), redis.url_file().display().to_string())],
        ..Default::default()
    };
    // Roles belong to a whole server.
    let stack = Stack::start_on(Cluster::shared().await?, Server::start().await?, options).await?;
    stack.allow_everything().await?;
    let mut manifest = deployment("web", "app:1", 1);
    manifest["metadata"]["namespace"] = json!(stack.namespace());
    stack.kubernetes().apply(&manifest).await?;
    let stack = Arc::new(stack);
    let mut work = Work::begin(stack.clone()).await?;
    work.goes_on().await?;

    access_tokens(&stack, &mut work).await?;
    databases(&stack, &mut work).await?;
    order_keys(&stack, &mut work).await?;
    receipt_keys(&stack, &mut work).await?;

    let (first, second) = (redis.url(), redis.admit("second")?);
    write_private(&redis.url_file(), &second)?;
    for part in stack.control_planes() {
        until("Redis being asked as somebody else", WITHIN, async || Ok(renewals(part.url()).await?.0 >= 5))
            .await?;
    }
    redis.shut_out_first()?;
    work.goes_on().await?;
    for part in stack.control_planes() {
        let page = Caller::anonymous(part.url())?.get("/metrics").await?.expect(200)?.text;
        ensure!(page.contains("\naegis_throttle_degraded 0\n"), "Redis is lost: {first} {second}");
    }
    Ok(())
}

async fn access_tokens(stack: &Stack, work: &mut Work) -> Result<()> {
    let (old, new) = (read(stack, "jwt-secret")?, secret());
    let first = work.token.borrow().clone();
    change(stack, stack.control_planes(), &[("jwt-secret-previous", &new)]).await?;
    work.goes_on().await?;
    change(stack, stack.control_planes(), &[("jwt-secret-previous", &old), ("jwt-secret", &new)]).await?;
    work.goes_on().await?;
    work.sign_in_anew().await?;
    change(stack, stack.control_planes(), &[("jwt-secret-previous", "")]).await?;
    work.goes_on().await?;
    let refused = Caller::person(stack.control_plane(0).url(), &first)?.get("/api/v1/whoami").await?;
    assert_eq!(refused.status, 401, "what the first secret signed is believed: {}", refused.text);
    Ok(())
}

async fn databases(stack: &Stack, work: &mut Work) -> Result<()> {
    let services = [
        (stack.control_plane_database(), Service::ControlPlane, stack.control_planes(), "control-plane-url"),
        (stack.executor_database(), Service::Executor, stack.executors(), "executor-url"),
    ];
    for (database, service, parts, file) in services {
        let url = another_role(database, service).await?;
        change(stack, parts, &[(file, &url)]).await?;
        work.goes_on().await?;
        retire_first_role(database, service).await?;
        work.goes_on().await?;
    }
    Ok(())
}

/// Runs a command of the control plane's binary, as the role that may sign in now.
async fn cluster_command(stack: &Stack, args: &[&str]) -> Result<String> {
    let name = ["--name", stack.cluster_name()];
    stack.command(["cluster"].into_iter().chain(args.iter().copied()).chain(name)).await
}

async fn order_keys(stack: &Stack, work: &mut Work) -> Result<()> {
    let (id, old, new) = (read(stack, "order-key-id")?, read(stack, "order-key")?, secret());
    let changed = [
        ("order-key-previous-id", id.as_str()),
        ("order-key-previous", &old),
        ("order-key-id", NEW_ORDER_KEY),
        ("order-key", &new),
    ];
    change(stack, stack.executors(), &changed).await?;
    work.goes_on().await?;
    let file = stack.secret_file("order-key");
    let file = file.to_str().context("a path")?;
    let add = ["add-order-key", "--order-key-id", NEW_ORDER_KEY, "--order-key-file", file];
    cluster_command(stack, &add).await?;
    work.goes_on().await?;
    cluster_command(stack, &["retire-order-key", "--order-key-id", &id]).await?;
    let last = cluster_command(stack, &["retire-order-key", "--order-key-id", NEW_ORDER_KEY]).await;
    let told = format!("{:#}", last.err().context("the last order key was retired")?);
    assert!(told.contains("add another first"), "{told}");
    change(stack, stack.executors(), &[("order-key-previous-id", ""), ("order-key-previous", "")]).await?;
    work.goes_on().await
}

async fn receipt_keys(stack: &Stack, work: &mut Work) -> Result<()> {
    let listed: Value = serde_json::from_str(&cluster_receipt_keys(stack).await?)?;
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    let file = stack.secret_file("receipt-key-2.pub");
    write_private(&file, key.public_key_pem())?;
    let file = file.to_str().context("a path")?;
    cluster_command(stack, &["add-receipt-key", "--receipt-public-key-file", file]).await?;
    change(stack, stack.executors(), &[("receipt-key.pem", &key.serialize_pem())]).await?;
    work.goes_on().await?;
    let old = listed[0].as_str().context("the first receipt key")?;
    cluster_command(stack, &["retire-receipt-key", "--receipt-key-id", old]).await?;
    work.goes_on().await
}

async fn cluster_receipt_keys(stack: &Stack) -> Result<String> {
    let mut connection = PgConnection::connect(&stack.control_plane_database().superuser_url).await?;
    let row =
        raw_sql("select json_agg(id)::text from cluster_receipt_keys").fetch_one(&mut connection).await?;
    Ok(row.try_get(0)?)
}

#[tokio::test]
async fn a_password_that_was_changed_under_both_services_is_followed_by_them() -> Result<()> {
    let stack =
        Stack::start_on(Cluster::shared().await?, Server::start().await?, StackOptions::default()).await?;
    let services = [
        (stack.control_plane_database(), Service::ControlPlane, stack.control_plane(0), "control-plane-url"),
        (stack.executor_database(), Service::Executor, stack.executor(0), "executor-url"),
    ];
    for (database, service, part, file) in services {
        let (role, password) = (service.role(), random_name(24));
        let (_, place) = database.url.split_once('@').context("a place")?;
        let (before, url) = (renewals(part.url()).await?.0, format!("postgres://{role}:{password}@{place}"));
        execute(&database.superuser_url, format!("alter role {role} password '{password}'")).await?;
        let end = format!("select pg_terminate_backend(pid) from pg_stat_activity where usename = '{role}'");
        execute(&database.superuser_url, end).await?;
        write_private(&stack.secret_file(file), &url)?;
        until("the new password being in force", WITHIN, async || Ok(renewals(part.url()).await?.0 > before))
            .await?;
    }
    let admin = stack.admin()?;
    until("the control plane working", WITHIN, async || Ok(admin.get("/api/v1/whoami").await?.status == 200))
        .await?;
    let executor = Caller::anonymous(stack.executor(0).url())?;
    until("the executor working", WITHIN, async || Ok(executor.get("/health/ready").await?.status == 200))
        .await
}

#[tokio::test]
async fn what_cannot_be_used_changes_nothing_and_is_told() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let (control_plane, executor) = (stack.control_plane(0), stack.executor(0));
    let elsewhere = stack.executor_database().url.replace("/aegis_", "/elsewhere_");
    let cases = [
        (control_plane, "jwt-secret", "short".to_owned(), "JWT_SECRET must have at least 32 bytes"),
        (control_plane, "jwt-secret", stack.master_key()?, "JWT_SECRET must not be the same as MASTER_KEY"),
        (control_plane, "jwt-secret", read(&stack, "order-key")?, "is the same as order key"),
        (control_plane, "master-key", secret(), "MASTER_KEY is another one"),
        (control_plane, "control-plane-url", stack.control_plane_database().owner_url.clone(), "audit log"),
        (control_plane, "control-plane-url", stack.executor_database().url.clone(), "another database"),
        (executor, "order-key", "c2hvcnQ=".to_owned(), "ORDER_KEY is not usable"),
        (executor, "receipt-key.pem", "no key".to_owned(), "RECEIPT_KEY is not usable"),
        (executor, "executor-url", elsewhere, "another database"),
    ];
    for (part, file, content, told) in cases {
        let sound = read(&stack, file)?;
        write_private(&stack.secret_file(file), &content)?;
        until("the alarm", WITHIN, async || Ok(renewals(part.url()).await?.1)).await?;
        let log = std::fs::read_to_string(part.process().log())?;
        ensure!(log.contains(told), "{file}: the log does not say `{told}`");
        ensure!(!log.contains(&content), "{file}: what it holds was written down");
        stack.admin()?.get("/api/v1/whoami").await?.expect(200)?;
        write_private(&stack.secret_file(file), &sound)?;
        until("the alarm's end", WITHIN, async || Ok(!renewals(part.url()).await?.1)).await?;
    }
    Ok(())
}
