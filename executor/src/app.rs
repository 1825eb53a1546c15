//! All wiring: from settings to a running executor.

use std::path::Path;
use std::sync::Arc;

use aegis_contract::peer::Peer;
use aegis_runtime::metrics::Metrics;
use aegis_runtime::settings::Source;
use aegis_runtime::settings::renewal::{InForce, Renewal};
use aegis_runtime::shutdown::Shutdown;
use aegis_runtime::tls::ServerTls;
use aegis_runtime::{http as edge, telemetry};
use anyhow::Context;
use clap::{Parser, Subcommand};
use secrecy::ExposeSecret;
use sqlx::{Connection, PgConnection};

use crate::allowlist_file::AllowlistFile;
use crate::cluster::Cluster;
use crate::execute::{
    Executor, ExecutorMetrics, Held, History, ReceiptSigner, Workers, resume_actions, watch_soaking,
};
use crate::http;
use crate::ledger::Ledger;
use crate::rights;
use crate::rights::Account;
use crate::rights::review::{Review, Reviewed};
use crate::rights::reviewer::Reviewer;
use crate::settings::{MigrateSettings, Secrets, Settings};
use crate::verify::allowlist::Allowlist;

const SERVICE: &str = "aegis-executor";

/// Aegis' executor: carries out signed orders in one Kubernetes cluster, and trusts nobody.
#[derive(Parser)]
#[command(version, about)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Take orders and carry them out.
    Serve,
    /// Bring the ledger's database to this version's form, as the role that owns it.
    Migrate,
    /// Print the rights that the executor needs in each allowed namespace, and what for, as JSON.
    Rights,
}

/// Runs one command to its end.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let source = Source::from_environment();
    match arguments.command {
        Command::Serve => serve(Settings::read(source)?).await,
        Command::Migrate => migrate(MigrateSettings::read(source)?).await,
        Command::Rights => {
            println!("{:#}", rights::table());
            Ok(())
        }
    }
}

async fn migrate(settings: MigrateSettings) -> anyhow::Result<()> {
    telemetry::init(SERVICE, &settings.log_level)?;
    let mut connection = PgConnection::connect(settings.database_owner_url.expose_secret())
        .await
        .context("cannot connect as the owner (DATABASE_OWNER_URL)")?;
    sqlx::migrate!("../migrations/executor").run(&mut connection).await?;
    tracing::info!("the ledger's database is up to date");
    Ok(())
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    let Settings {
        secrets,
        listen_address,
        observe_address,
        tls,
        cluster,
        log_keys,
        log_first_head,
        rules,
        allowlist_file,
        dangerous_allow_system_namespaces,
        dangerous_allow_excess_rights,
        kubeconfig,
        soak,
        rollback_token,
        log_level,
        production,
    } = settings;
    telemetry::init(SERVICE, &log_level)?;
    let metrics = Metrics::new();
    let shutdown = Shutdown::on_signals()?;
    let tls = tls.map(|files| ServerTls::mutual(files, Peer::ControlPlane)).transpose();
    let tls = tls.context("TLS_CERTIFICATE_FILE, TLS_KEY_FILE, TLS_CLIENT_CA_FILE")?;
    if let Some(tls) = &tls {
        tokio::spawn(tls.clone().follow("orders", metrics.clone(), shutdown.clone()));
    }
    let allowlist = Allowlist::new(rules, rollback_token.is_some(), dangerous_allow_system_namespaces);
    let namespaces = allowlist.allowed();
    tracing::info!(
        cluster,
        namespaces = namespaces.join(","),
        receiptKey = secrets.receipt_key.id(),
        production,
        "starting"
    );
    let (kubernetes, rollbacks) = connect(kubeconfig.as_deref(), rollback_token.as_deref()).await?;
    let mut accounts = vec![(Account::Executor, kubernetes.clone())];
    accounts.extend(rollbacks.clone().map(|cluster| (Account::Rollback, cluster)));
    let reviewer = Reviewer::new(accounts, dangerous_allow_excess_rights, &metrics);
    let (review, reviewed) = Review::new(reviewer.clone(), namespaces);
    let ledger = Ledger::open(secrets.database).await.context("cannot use the ledger (DATABASE_URL)")?;
    let counters = ExecutorMetrics::registered(&metrics);
    let held = Held::nothing();
    let history =
        History::begin(ledger.clone(), log_keys, log_first_head, held.clone(), counters.clone()).await?;
    let executor = Arc::new(Executor {
        receipts: ReceiptSigner::new(cluster.clone(), secrets.receipt_key, held),
        cluster_name: cluster,
        order_keys: InForce::new(secrets.order_keys),
        soak,
        allowlist,
        history,
        ledger,
        cluster: kubernetes,
        rollbacks,
        workers: Workers::new(),
        metrics: counters,
        shutdown: shutdown.clone(),
    });
    let renewal = Renewal::new(secrets.fingerprint, production, &metrics);
    let renewed = Arc::clone(&executor);
    let renew = async move |secrets| renewed.renew(secrets).await;
    tokio::spawn(renewal.follow(Secrets::read, renew, shutdown.clone()));
    executor.name_ledger().await.context("cannot name the ledger")?;
    let resume = resume_actions(Arc::clone(&executor));
    let resume = tokio::spawn(when_reviewed(reviewed.clone(), shutdown.clone(), resume));
    let soaking = watch_soaking(Arc::clone(&executor));
    let soaking = tokio::spawn(when_reviewed(reviewed.clone(), shutdown.clone(), soaking));
    if let Some(path) = allowlist_file {
        let file =
            AllowlistFile::new(path, reviewer, &metrics).follow(Arc::clone(&executor), shutdown.clone());
        tokio::spawn(when_reviewed(reviewed.clone(), shutdown.clone(), file));
    }
    let serve = async |listen, routes| {
        let bounds = edge::Bounds::default();
        let router = edge::with_problems(reviewed.guard(routes));
        let router = edge::with_metrics(router, metrics.clone());
        let router = edge::with_edge(router, metrics.clone(), bounds.clone());
        edge::serve(listen, router, metrics.clone(), bounds, shutdown.clone()).await
    };
    let listen = edge::Listen { setting: "LISTEN_ADDRESS", address: listen_address, tls };
    let taking_orders = serve(listen, http::routes(Arc::clone(&executor)));
    let being_observed = async {
        let Some(address) = observe_address else { return Ok(()) };
        let listen = edge::Listen { setting: "OBSERVE_ADDRESS", address, tls: None };
        serve(listen, http::health_routes(Arc::clone(&executor))).await
    };
    tokio::select! {
        Err(excess) = review.run(shutdown.clone()) => return Err(excess.into()),
        served = async { tokio::try_join!(taking_orders, being_observed) } => { served?; }
    }
    resume.await.context("the loop that resumes actions failed")?;
    soaking.await.context("the loop that looks for good templates failed")?;
    executor.workers.hand_over().await;
    Ok(())
}

/// The cluster, as the executor's own account and, where there is one, as the account that writes rollbacks.
async fn connect(
    kubeconfig: Option<&Path>,
    rollback_token: Option<&Path>,
) -> anyhow::Result<(Cluster, Option<Cluster>)> {
    let own = Cluster::connect(kubeconfig, None).await?;
    let rollbacks =
        match rollback_token {
            Some(token) => Some(Cluster::connect(kubeconfig, Some(token)).await.with_context(|| {
                format!("cannot use the token in {} (ROLLBACK_TOKEN_FILE)", token.display())
            })?),
            None => None,
        };
    Ok((own, rollbacks))
}

/// Does a task once the rights are reviewed, or nothing if the process is asked to end before.
async fn when_reviewed(reviewed: Reviewed, shutdown: Shutdown, task: impl Future<Output = ()>) {
    tokio::select! {
        () = reviewed.wait() => task.await,
        () = shutdown.wait() => {}
    }
}
