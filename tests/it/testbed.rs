//! Proves what the other tests take for granted: that the simulated pods behave, that each test has a database of
//! its own, and that nothing the harness starts outlives its owner.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use aegis_tests::cluster::{COMPONENTS, Cluster, ClusterOptions};
use aegis_tests::database::{Server, Service, execute};
use aegis_tests::eventually::{eventually, until};
use aegis_tests::process::{descendants, is_alive};
use aegis_tests::workload::{deployment, is_ready, restart_count, waiting_reason, with_pod_annotation};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use sqlx::{Connection, PgConnection, Row, raw_sql};

#[tokio::test]
async fn pods_become_ready_after_their_delay() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.create_namespace("ready").await?;
    let late = with_pod_annotation(deployment("late", "app:1", 2), "sim.aegis.dev/ready-after", "2s");
    cluster.apply_in(&namespace, late).await?;

    let running = |pod: &serde_json::Value| pod["status"]["phase"] == "Running" && !is_ready(pod);
    cluster.wait_for_pod(&namespace, "late", "runs and is not ready yet", running).await?;
    cluster.wait_rolled_out(&namespace, "deployment/late").await?;

    assert_eq!(cluster.get(&namespace, "deployment/late").await?["status"]["readyReplicas"], 2);
    Ok(())
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_leaves_the_old_pods_serving() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.create_namespace("pull").await?;
    cluster.apply_in(&namespace, deployment("web", "app:1", 3)).await?;
    cluster.wait_rolled_out(&namespace, "deployment/web").await?;

    cluster.apply_in(&namespace, deployment("web", "app:bad-pull", 3)).await?;
    let pod = cluster
        .wait_for_pod(&namespace, "web", "cannot pull", |pod| waiting_reason(pod) == "ImagePullBackOff")
        .await?;

    assert_eq!(pod["status"]["phase"], "Pending");
    assert_eq!(cluster.get(&namespace, "deployment/web").await?["status"]["readyReplicas"], 3);
    Ok(())
}

#[tokio::test]
async fn a_crash_loop_backs_off_longer_each_time() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.create_namespace("crash").await?;
    cluster.apply_in(&namespace, deployment("web", "app:crash", 1)).await?;

    let mut seen_at = Vec::new();
    for restarts in 1..=4 {
        let pod = cluster
            .wait_for_pod(&namespace, "web", "crashed again", |pod| restart_count(pod) >= restarts)
            .await?;
        seen_at.push(Instant::now());
        assert_eq!(waiting_reason(&pod), "CrashLoopBackOff");
        assert_eq!(pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 1);
        assert!(!is_ready(&pod));
    }

    let (second_pause, fourth_pause) = (seen_at[1] - seen_at[0], seen_at[3] - seen_at[2]);
    assert!(fourth_pause > second_pause, "pauses do not grow: {second_pause:?}, later {fourth_pause:?}");
    Ok(())
}

#[tokio::test]
async fn an_unready_pod_runs_and_never_becomes_ready() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.create_namespace("unready").await?;
    let mut manifest = deployment("web", "app:unready", 1);
    manifest["spec"]["progressDeadlineSeconds"] = json!(3);
    cluster.apply_in(&namespace, manifest).await?;

    // The real deployment controller gives up on it: that is how long we can know that it did not become ready.
    until("the rollout exceeding its deadline", Duration::from_secs(60), async || {
        let status = cluster.get(&namespace, "deployment/web").await?["status"].take();
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        Ok(conditions.iter().any(|condition| condition["reason"] == "ProgressDeadlineExceeded"))
    })
    .await?;

    let pods = cluster.pods(&namespace, "web").await?;
    assert_eq!(pods.len(), 1);
    assert_eq!(pods[0]["status"]["phase"], "Running");
    assert!(!is_ready(&pods[0]));
    Ok(())
}

#[tokio::test]
async fn a_deleted_pod_takes_its_time_to_stop() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.create_namespace("stop").await?;
    let slow = with_pod_annotation(deployment("web", "app:1", 1), "sim.aegis.dev/stop-after", "2s");
    cluster.apply_in(&namespace, slow).await?;
    cluster.wait_rolled_out(&namespace, "deployment/web").await?;
    let pod = cluster.pods(&namespace, "web").await?.remove(0);
    let name = pod["metadata"]["name"].as_str().context("a pod has a name")?;

    let deleted_at = Instant::now();
    cluster.kubectl(["-n", &namespace, "delete", "pod", name, "--wait=false"]).await?;
    cluster
        .wait_for_pod(&namespace, "web", "is stopping", |pod| {
            pod["metadata"]["name"] == name && pod["metadata"]["deletionTimestamp"].is_string()
        })
        .await?;
    until("the pod being gone", Duration::from_secs(60), async || {
        let pods = cluster.pods(&namespace, "web").await?;
        Ok(pods.iter().all(|pod| pod["metadata"]["name"] != name))
    })
    .await?;

    assert!(deleted_at.elapsed() >= Duration::from_secs(2), "gone after {:?}", deleted_at.elapsed());
    Ok(())
}

#[tokio::test]
async fn a_pods_log_comes_from_a_file() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.create_namespace("logs").await?;
    cluster.apply_in(&namespace, deployment("web", "app:1", 1)).await?;
    cluster.wait_rolled_out(&namespace, "deployment/web").await?;
    let file = cluster.folder().join(format!("{namespace}.log"));
    let lines = ["first", "second"].map(|text| format!("2026-01-31T12:00:00.000000000Z stdout F {text}\n"));
    std::fs::write(&file, lines.concat())?;

    cluster
        .apply(&json!({
            "apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "ClusterLogs", "metadata": { "name": namespace },
            "spec": { "selector": { "matchNamespaces": [namespace] }, "logs": [{ "logsFile": file }] },
        }))
        .await?;

    let logs = eventually("the pod's log", Duration::from_secs(30), async || {
        Ok(Some(cluster.kubectl(["-n", &namespace, "logs", "deployment/web"]).await?))
    })
    .await?;
    assert_eq!(logs, "first\nsecond\n");
    assert_eq!(cluster.kubectl(["-n", &namespace, "logs", "deployment/web", "--tail=1"]).await?, "second\n");
    Ok(())
}

#[tokio::test]
async fn the_audit_log_names_who_wrote_and_tells_rehearsals_apart() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.create_namespace("audit").await?;
    cluster.apply_in(&namespace, deployment("web", "app:1", 1)).await?;

    cluster
        .kubectl(["-n", &namespace, "scale", "deployment/web", "--replicas=2", "--dry-run=server"])
        .await?;
    cluster.kubectl(["-n", &namespace, "scale", "deployment/web", "--replicas=3"]).await?;

    let mut writes = cluster.audit().writes_by("admin")?;
    writes.retain(|request| {
        request.is_in(&namespace)
            && request.object_ref.as_ref().is_some_and(|object| object.subresource == "scale")
    });
    assert_eq!(writes.len(), 1, "one write, the rehearsal not counted: {writes:?}");
    assert!(writes[0].user_agent.starts_with("kubectl/"));
    Ok(())
}

#[tokio::test]
async fn each_test_has_a_database_of_its_own() -> Result<()> {
    let server = Server::shared().await?;
    let (ours, theirs) = (server.empty(Service::Executor).await?, server.empty(Service::Executor).await?);

    execute(&ours.owner_url, "create table mine (id int)".into()).await?;

    let error =
        execute(&theirs.owner_url, "select * from mine".into()).await.expect_err("no such table there");
    assert_eq!(sql_state(&error), "42P01", "{error:#}");
    Ok(())
}

#[tokio::test]
async fn a_fresh_database_is_migrated_and_owned_by_nobody_the_service_runs_as() -> Result<()> {
    let server = Server::shared().await?;
    for service in Service::ALL {
        let database = server.fresh(service).await?;
        let tables =
            "select count(*) > 0 from pg_tables where schemaname not in ('pg_catalog', 'information_schema')";
        assert_eq!(read(&database.owner_url, tables).await?, "t", "{service:?} has no table");

        let error = execute(&database.url, "create table public.mine (id int)".into()).await;
        let error = error.expect_err("the service's own role may not change the schema");
        assert_eq!(sql_state(&error), "42501", "{error:#}");
    }
    Ok(())
}

#[tokio::test]
async fn a_role_cannot_enter_the_other_services_database() -> Result<()> {
    let server = Server::shared().await?;
    for service in Service::ALL {
        let database = server.empty(service).await?;
        execute(&database.url, "select 1".into()).await?;
        for other in Service::ALL.into_iter().filter(|other| *other != service) {
            for role in [other.role(), other.owner_role()] {
                let url = server.url(role, &database.name)?;
                let error = execute(&url, "select 1".into()).await.expect_err("the door is shut");
                assert_eq!(sql_state(&error), "42501", "{role} in {}: {error:#}", database.name);
            }
        }
        let role = service.role();
        let wrong_password = database.url.replacen(&format!("{role}:"), &format!("{role}:0"), 1);
        let error = execute(&wrong_password, "select 1".into()).await.expect_err("the password is wrong");
        assert_eq!(sql_state(&error), "28P01", "{error:#}");
    }
    Ok(())
}

#[tokio::test]
async fn a_killed_database_server_comes_back_with_what_was_committed() -> Result<()> {
    let server = Server::start().await?;
    let database = server.empty(Service::Executor).await?;
    execute(&database.owner_url, "create table kept (id int); insert into kept values (7)".into()).await?;
    assert_eq!(read(&database.owner_url, "show fsync").await?, "on");

    server.restart().await?;

    assert_eq!(read(&database.owner_url, "select id from kept").await?, "7");
    Ok(())
}

#[tokio::test]
async fn a_stopped_database_server_says_nothing_until_it_goes_on() -> Result<()> {
    let server = Server::start().await?;
    let database = server.empty(Service::Executor).await?;

    server.process().stop()?;
    let silent = tokio::time::timeout(Duration::from_secs(1), read(&database.url, "select 1")).await;
    assert!(silent.is_err(), "a stopped server answered: {silent:?}");
    server.process().cont()?;

    assert_eq!(read(&database.url, "select 1").await?, "1");
    Ok(())
}

#[tokio::test]
async fn nothing_outlives_an_owner_that_is_killed_and_an_ambient_kubeconfig_is_ignored() -> Result<()> {
    let poison = tempfile::NamedTempFile::new()?;
    std::fs::write(poison.path(), "this is not a kubeconfig")?;
    let mut owner = Owner::start("testbed::an_owner_of_a_cluster_and_a_database", poison.path())?;
    let pids = owner.pids()?;
    assert!(pids.len() > COMPONENTS.len(), "only {pids:?}");
    for pid in &pids {
        let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else {
            assert!(!is_alive(*pid), "what is there can be read; Postgres' helpers come and go");
            continue;
        };
        let environment = String::from_utf8_lossy(&environment).into_owned();
        assert!(!environment.contains("KUBECONFIG"), "process {pid} sees the ambient KUBECONFIG");
    }

    owner.process.kill()?;
    owner.process.wait()?;

    until("every process being gone", Duration::from_secs(20), async || {
        Ok(!pids.iter().any(|pid| is_alive(*pid)))
    })
    .await
}

#[tokio::test]
async fn nothing_outlives_an_owner_that_panics() -> Result<()> {
    let poison = tempfile::NamedTempFile::new()?;
    let mut owner = Owner::start("testbed::an_owner_that_panics_when_told", poison.path())?;
    let pids = owner.pids()?;
    assert!(!pids.is_empty());

    owner.process.stdin.take().context("its input is piped")?.write_all(b"panic\n")?;
    let status = owner.process.wait()?;

    assert!(!status.success(), "the owner did not panic");
    until("every process being gone", Duration::from_secs(20), async || {
        Ok(!pids.iter().any(|pid| is_alive(*pid)))
    })
    .await
}

#[tokio::test]
#[ignore = "the other half of a test above, run by it as a process of its own"]
async fn an_owner_of_a_cluster_and_a_database() -> Result<()> {
    let cluster = Cluster::start(ClusterOptions { nodes: 1, fsync: false }).await?;
    let _server = Server::start().await?;
    let client = cluster.client().await?;
    let version = client.apiserver_version().await?;
    ensure!(version.git_version.starts_with("v1."), "the API server calls itself {}", version.git_version);
    wait_for_orders()
}

#[tokio::test]
#[ignore = "the other half of a test above, run by it as a process of its own"]
async fn an_owner_that_panics_when_told() -> Result<()> {
    let _own = Server::start().await?;
    Server::shared().await?;
    wait_for_orders()
}

/// Prints every process below this one, then waits for a line; panics if the line says so.
fn wait_for_orders() -> Result<()> {
    let pids: Vec<_> = descendants(std::process::id()).iter().map(u32::to_string).collect();
    println!("\npids {}", pids.join(" "));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    assert_ne!(line.trim(), "panic", "told to panic");
    Ok(())
}

/// A process that runs one ignored test of this binary. It is killed when dropped.
struct Owner {
    process: Child,
    lines: BufReader<ChildStdout>,
}

impl Owner {
    fn start(test: &str, kubeconfig: &std::path::Path) -> Result<Self> {
        // Not `current_exe`: a build in the meantime may have replaced the file of that name.
        let mut process = Command::new("/proc/self/exe")
            .args(["--ignored", "--exact", "--nocapture", test])
            .env("KUBECONFIG", kubeconfig)
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(process.stdout.take().context("its output is piped")?);
        Ok(Self { process, lines })
    }

    /// Everything the owner has started.
    fn pids(&mut self) -> Result<Vec<u32>> {
        let mut line = String::new();
        while self.lines.read_line(&mut line)? > 0 {
            if let Some(pids) = line.trim().strip_prefix("pids ") {
                return pids.split(' ').map(|pid| Ok(pid.parse()?)).collect();
            }
            line.clear();
        }
        anyhow::bail!("the owner ended before it had started everything")
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The first column of the first row, as text.
async fn read(url: &str, sql: &'static str) -> Result<String> {
    let mut connection = PgConnection::connect(url).await?;
    let row = raw_sql(sql).fetch_one(&mut connection).await?;
    Ok(row.try_get_unchecked(0)?)
}

/// PostgreSQL's five characters for what went wrong.
fn sql_state(error: &anyhow::Error) -> String {
    let database_error = error.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
    database_error.and_then(sqlx::error::DatabaseError::code).unwrap_or_default().into_owned()
}
