//! Back-up and restore of both databases, with the scripts that the operations page shows.

use std::time::Duration;

use aegis_tests::cluster::Cluster;
use aegis_tests::database::{Database, Server, Service, execute};
use aegis_tests::paths::{RunFolder, checkout, write_private};
use aegis_tests::process::Launch;
use aegis_tests::stack::{Stack, StackOptions};
use aegis_tests::workload::deployment;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, raw_sql};

/// A process ends in a moment when it is asked to; a busy machine is given more before it is killed.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// Every audit entry, byte for byte, whether it has its place already or not, and every ledger row, in order.
const HISTORIES: [(Service, &str); 2] = [
    (Service::ControlPlane, "select (to_jsonb(e) - 'index')::text from audit.recorded e order by id"),
    (Service::Executor, "select row_to_json(r)::text from ledger.rows r order by row_number"),
];

struct Scene {
    stack: Stack,
    folder: RunFolder,
}

impl Scene {
    fn database(&self, service: Service) -> &Database {
        match service {
            Service::ControlPlane => self.stack.control_plane_database(),
            Service::Executor => self.stack.executor_database(),
        }
    }

    async fn history(&self) -> Result<Vec<Vec<String>>> {
        let mut all = Vec::new();
        for (service, sql) in HISTORIES {
            let mut connection = PgConnection::connect(&self.database(service).superuser_url).await?;
            let rows = raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await?;
            connection.close().await?;
            let rows: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
            assert!(!rows.is_empty(), "nothing to lose: {sql}");
            all.push(rows);
        }
        Ok(all)
    }

    /// One of the page's scripts, with the passwords where the page wants them.
    async fn script(&self, name: &str) -> Result<()> {
        let passwords = self.folder.path().join("pgpass");
        let mut launch = Launch::new(checkout().join(format!("docs/{name}.sh")))
            .arg(self.folder.path().join("backup"))
            .env("PGPASSFILE", &passwords);
        let mut lines = String::new();
        for (service, variable) in
            [(Service::ControlPlane, "CONTROL_PLANE_OWNER_URL"), (Service::Executor, "EXECUTOR_OWNER_URL")]
        {
            let url = &self.database(service).owner_url;
            let (scheme, rest) = url.split_once("://").context("a URL")?;
            let (credentials, place) = rest.split_once('@').context("credentials")?;
            let (role, password) = credentials.split_once(':').context("a password")?;
            lines += &format!("*:*:*:{role}:{password}\n");
            launch = launch.env(variable, format!("{scheme}://{role}@{place}"));
        }
        write_private(&passwords, lines)?;
        launch.output().await?;
        Ok(())
    }

    /// Loses both databases, and makes empty ones with nothing but an owner and one role that may enter.
    async fn lose_everything(&self) -> Result<()> {
        for part in self.stack.control_planes().iter().chain(self.stack.executors()) {
            part.process().terminate(ENDS_WITHIN).await?;
        }
        for service in Service::ALL {
            let Database { name, superuser_url, .. } = self.database(service);
            let elsewhere = superuser_url.replacen(&format!("/{name}"), "/postgres", 1);
            let (role, owner) = (service.role(), service.owner_role());
            for sql in [
                format!("drop database {name} with (force)"),
                format!("create database {name} owner {owner}"),
                format!(
                    "revoke all on database {name} from public; grant connect on database {name} to {role}"
                ),
            ] {
                execute(&elsewhere, sql).await?;
            }
        }
        Ok(())
    }

    async fn start_again(&self) -> Result<()> {
        for part in self.stack.executors().iter().chain(self.stack.control_planes()) {
            part.restart().await?;
        }
        Ok(())
    }

    fn scale(&self, replicas: u32) -> Value {
        self.stack.action("scale", "Deployment", "web", &json!({ "replicas": replicas }))
    }
}

#[tokio::test]
async fn both_databases_come_back_from_their_dumps_with_every_entry_and_go_on() -> Result<()> {
    let stack =
        Stack::start_on(Cluster::shared().await?, Server::start().await?, StackOptions::default()).await?;
    let scene = Scene { stack, folder: RunFolder::create("backup")? };
    let (kubernetes, namespace) = (scene.stack.kubernetes(), scene.stack.namespace());
    kubernetes.apply_in(namespace, deployment("web", "app:1", 1)).await?;
    kubernetes.wait_rolled_out(namespace, "deployment/web").await?;
    let (client, admin) = (scene.stack.client()?, scene.stack.admin()?);
    client.ask(&scene.scale(2), 0).await?.expect(403)?;
    scene.stack.allow_everything().await?;
    let done = client.ask_with_key("once", &scene.scale(2), 60).await?.expect(202)?.body;
    assert_eq!(done["state"], "succeeded", "{done}");
    let path = format!("/api/v1/actions/{}", done["id"].as_str().context("an id")?);

    // Everything runs while it is backed up.
    scene.script("backup").await?;
    let history = scene.history().await?;
    scene.lose_everything().await?;
    scene.script("restore").await?;
    assert_eq!(scene.history().await?, history);
    scene.start_again().await?;

    // Old answers, old keys, old sign-ins and old refusals hold; what is known is not done again.
    assert_eq!(client.get(&path).await?.expect(200)?.body, done);
    let again = client.ask_with_key("once", &scene.scale(2), 60).await?.expect(202)?.body;
    assert_eq!((&again["id"], &again["outcome"]), (&done["id"], &done["outcome"]));
    admin.get("/api/v1/audit/entries").await?.expect(200)?;
    let next = client.ask(&scene.scale(3), 60).await?.expect(202)?.body;
    assert_eq!(next["state"], "succeeded", "{next}");

    // The log only grew, and still takes no change from anybody.
    let grown = scene.history().await?;
    for (before, after) in history.iter().zip(&grown) {
        assert!(before.iter().all(|row| after.contains(row)) && after.len() > before.len());
    }
    for (service, sql) in [
        (Service::ControlPlane, "delete from audit.entries"),
        (Service::ControlPlane, "truncate audit.entries cascade"),
        (Service::Executor, "update ledger.rows set fence = 9"),
        (Service::Executor, "truncate ledger.rows"),
    ] {
        let Database { url, owner_url, .. } = scene.database(service);
        for url in [url, owner_url] {
            assert!(execute(url, sql.to_owned()).await.is_err(), "{sql} was allowed");
        }
    }
    let regressed =
        "do $$ begin assert not exists (select from ledgers where regressed_at is not null); end $$";
    execute(&scene.database(Service::ControlPlane).superuser_url, regressed.to_owned()).await?;
    Ok(())
}
