//! Postgres and Redis over TLS: with a server that the right authority vouches for, and with no other.

use std::path::Path;

use aegis_tests::certificates::Authority;
use aegis_tests::cluster::Cluster;
use aegis_tests::database::{Server, Service};
use aegis_tests::eventually::until;
use aegis_tests::paths::{RunFolder, binary, write_private};
use aegis_tests::process::Launch;
use aegis_tests::redis::Redis;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result, ensure};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _, raw_sql};

use super::{WITHIN, metric, until_metric};
use crate::actions::scene::Scene;

struct Authorities {
    ours: Authority,
    foreign: Authority,
    folder: RunFolder,
}

impl Authorities {
    fn create() -> Result<Self> {
        let folder = RunFolder::create("store-authorities")?;
        let ours = Authority::create(&folder.path().join("ours"))?;
        let foreign = Authority::create(&folder.path().join("foreign"))?;
        for name in ["postgres", "redis"] {
            ours.issue_server(name, name)?;
        }
        Ok(Self { ours, foreign, folder })
    }
}

/// Has a service migrate an empty database at this address; what it said when it could not.
async fn migrate(service: Service, url: &str, folder: &Path) -> Result<Result<(), String>> {
    let file = folder.join("owner-url");
    write_private(&file, url)?;
    let launch = Launch::new(binary(service.program())?).arg("migrate").env("DATABASE_OWNER_URL_FILE", file);
    let output = launch.output_with("").await?;
    let said = [output.stdout, output.stderr].concat();
    Ok(if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into_owned()) })
}

#[tokio::test]
async fn both_services_work_over_tls_with_a_postgres_that_is_vouched_for() -> Result<()> {
    let Authorities { ours, folder: _folder, .. } = Authorities::create()?;
    let server = Server::start_over_tls(&ours).await?;
    let stack = Stack::start_on(Cluster::shared().await?, server, StackOptions::default()).await?;
    stack.allow_everything().await?;
    let (client, admin) = (stack.client()?, stack.admin()?);
    let scene = Scene { stack, client, admin };
    scene.deploy_small(&["web"]).await?;
    scene.carry_out(&scene.restart("web")).await?;

    let url = &scene.stack.control_plane_database().superuser_url;
    let mut connection = PgConnection::connect(url).await?;
    let roles = "select a.usename::text, count(*), count(*) filter (where s.ssl and s.version = 'TLSv1.3') \
                 from pg_stat_activity a join pg_stat_ssl s using (pid) \
                 where a.usename in ('aegis_control_plane', 'aegis_executor') group by 1";
    let rows = raw_sql(AssertSqlSafe(roles.to_owned())).fetch_all(&mut connection).await?;
    ensure!(rows.len() == 2, "{} roles are connected", rows.len());
    for row in rows {
        let (role, all, over_tls): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
        assert_eq!(all, over_tls, "{role}");
    }
    Ok(())
}

#[tokio::test]
async fn a_postgres_that_nobody_vouches_for_or_that_speaks_no_tls_is_not_used() -> Result<()> {
    let Authorities { ours, foreign, folder } = Authorities::create()?;
    let (over_tls, without) = (Server::start_over_tls(&ours).await?, Server::shared().await?);
    for service in Service::ALL {
        let database = over_tls.empty(service).await?;
        let (bare, right) = database.owner_url.split_once('?').context("the address asks for TLS")?;
        let migrate = async |url: &str| migrate(service, url, folder.path()).await;
        let wrong = migrate(&format!("{bare}{}", foreign.verify_full())).await?;
        let wrong = wrong.expect_err("a server of another authority was used");
        // It bears the same name as ours.
        assert!(wrong.contains("BadSignature"), "{wrong}");
        let elsewhere = bare.replace("127.0.0.1", "127.0.0.2");
        let elsewhere = migrate(&format!("{elsewhere}?{right}")).await?;
        let elsewhere = elsewhere.expect_err("a server of another name was used");
        assert!(elsewhere.contains("not valid for name"), "{elsewhere}");
        let plain = without.empty(service).await?.owner_url;
        let plain = migrate(&format!("{plain}?{right}")).await?.expect_err("a server without TLS was used");
        assert!(plain.contains("TLS"), "{plain}");
        migrate(&format!("{bare}?sslmode=disable")).await?.expect_err("somebody signed in without TLS");
        migrate(&database.owner_url).await?.map_err(anyhow::Error::msg)?;
    }
    Ok(())
}

#[tokio::test]
async fn replicas_share_throttles_over_tls_with_a_redis_that_is_vouched_for_and_no_other() -> Result<()> {
    let Authorities { ours, foreign, folder: _folder } = Authorities::create()?;
    let redis = Redis::start_over_tls(&ours).await?;
    let (url, file) = (redis.url(), ours.path("ca.crt"));
    let with = |authority: &Path| {
        let settings = [
            ("THROTTLES".to_owned(), "read=40".to_owned()),
            ("REDIS_URL".to_owned(), url.clone()),
            ("REDIS_CA_FILE".to_owned(), authority.display().to_string()),
        ];
        StackOptions { control_plane_settings: settings.to_vec(), ..Default::default() }
    };
    let degraded = "aegis_throttle_degraded";
    let stack = Stack::start(with(&file)).await?;
    let control_plane = stack.control_plane(0);
    until_metric(control_plane, degraded, 0.0).await?;
    let policy = async || {
        let answer = stack.client()?.get("/api/v1/whoami").await?;
        Ok::<_, anyhow::Error>(answer.headers["ratelimit-policy"].to_str()?.to_owned())
    };
    until("a request being judged by Redis", WITHIN, async || Ok(policy().await? == "\"read\";q=40;w=60"))
        .await?;

    // Another authority: strict by itself, and it says why.
    let wrong = foreign.path("ca.crt");
    control_plane.restart_with([("REDIS_CA_FILE", &wrong)]).await?;
    assert_eq!(metric(control_plane, degraded).await?, 1.0);
    assert_eq!(policy().await?, "\"read\";q=10;w=60", "a quarter of it");
    let log = stack.logs().join("control-plane.log");
    let said = std::fs::read_to_string(&log)?;
    let line = said.lines().find(|line| line.contains("Redis (REDIS_URL) cannot be used"));
    assert!(line.is_some_and(|line| line.contains("BadSignature")), "{line:?}");
    // The right one put into that place is believed without a restart.
    write_private(&wrong, std::fs::read(&file)?)?;
    until_metric(control_plane, degraded, 0.0).await?;
    // As is nothing at all, which is not the same as everybody.
    std::fs::remove_file(&wrong)?;
    redis.restart().await?;
    until("Redis being lost with its authority", WITHIN, async || {
        policy().await?;
        Ok(metric(control_plane, degraded).await? == 1.0)
    })
    .await?;
    let said = std::fs::read_to_string(&log)?;
    let password = url.split('@').next().unwrap_or_default();
    assert!(!said.contains(password), "the log holds Redis' password");
    Ok(())
}
