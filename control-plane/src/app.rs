//! Wires everything together: the one place that knows all parts.

use std::sync::Arc;
use std::time::Duration;

use aegis_runtime::metrics::Metrics;
use aegis_runtime::shutdown::Shutdown;
use aegis_runtime::{http as edge, telemetry};
use anyhow::Context;
use tracing::{info, warn};

use crate::client::executor::ExecutorClient;
use crate::client::mirrors::MirrorClient;
use crate::client::webhooks::{AddressRules, WebhookClient};
use crate::engine::dispatch::{self, Dispatcher};
use crate::engine::filing;
use crate::engine::follow::{self, Follower};
use crate::engine::mirrors::{self, Publisher};
use crate::engine::safeguards as measuring;
use crate::engine::sequencer::{self, Sequencer};
use crate::engine::webhooks::{self as telling, Courier};
use crate::http;
use crate::metrics::ControlPlaneMetrics;
use crate::seal::Keyring;
use crate::service::actions::InFlight;
use crate::service::analysis::HeavyWork;
use crate::service::authenticate::keys::{self, keys};
use crate::service::decisions::recorder::{self, recorder};
use crate::service::dispatch::{Nudge, OrderTerms};
use crate::service::export::Turns;
use crate::service::passwords::Passwords;
use crate::service::policy_set::ActivePolicies;
use crate::service::safeguards::Safeguards;
use crate::service::tokens::Tokens;
use crate::service::{Services, clusters, master_key, retention};
use crate::settings::ServeSettings;
use crate::store::Store;
use crate::throttle::shared::Shared;
use crate::throttle::{Rates, Throttles};

/// How long to wait at start for a database that is starting too.
const DATABASE_WITHIN: Duration = Duration::from_secs(15);
/// Pause between two looks at it.
const DATABASE_PAUSE: Duration = Duration::from_millis(250);

/// Serves until a signal ends the process.
///
/// # Errors
/// When it cannot start.
pub async fn serve(settings: ServeSettings) -> anyhow::Result<()> {
    telemetry::init("aegis-control-plane", &settings.log_level)?;
    let shutdown = Shutdown::on_signals().context("cannot listen to signals")?;
    let metrics = Metrics::new();
    let counters = ControlPlaneMetrics::default();
    counters.register(&metrics);
    let store = Store::serving(settings.database.clone());
    let safeguards = Safeguards::new(settings.database_capacity_bytes, counters.clone());
    let keyring = open_database(&store, &settings).await?;
    let origin = settings.log_origin;
    measuring::measure(&store, &safeguards, &origin)
        .await
        .context("cannot compare the clock with the database's")?;

    let nudge = Nudge::default();
    let executors = ExecutorClient::new(store.clone(), keyring.clone(), settings.order_lifetime)?;
    let policies = ActivePolicies::default();
    let dispatcher = Dispatcher {
        store: store.clone(),
        keyring: keyring.clone(),
        policies: policies.clone(),
        metrics: counters.clone(),
        client: executors.clone(),
        nudge: nudge.clone(),
        safeguards: safeguards.clone(),
        order_terms: OrderTerms { lifetime: settings.order_lifetime, soak_seconds: settings.soak_seconds },
    };
    let webhooks =
        WebhookClient::new(AddressRules { allow_private: settings.dangerous_allow_private_webhooks })?;
    let courier = Courier {
        store: store.clone(),
        client: webhooks.clone(),
        keyring: keyring.clone(),
        safeguards: safeguards.clone(),
        metrics: counters.clone(),
    };
    let sequencer = Sequencer {
        store: store.clone(),
        keyring: keyring.clone(),
        origin: origin.clone(),
        metrics: counters.clone(),
    };
    let sequencing = tokio::spawn(sequencer::run(sequencer));
    let (recorder, questions) = recorder();
    let recording = tokio::spawn(recorder::run(store.clone(), policies.clone(), questions));
    let (keys, wanted_keys) = keys(store.clone());
    let finding_keys = tokio::spawn(keys::run(store.clone(), wanted_keys));
    let follower = Follower {
        store: store.clone(),
        client: executors.clone(),
        safeguards: safeguards.clone(),
        origin: origin.clone(),
    };
    let throttles = throttles(settings.throttles, settings.redis, &counters, &shutdown).await;
    let filing = tokio::spawn(filing::run(store.clone(), shutdown.clone()));
    let following = tokio::spawn(follow::run(follower, shutdown.clone()));
    let services = Services {
        store: store.clone(),
        keyring: keyring.clone(),
        log_origin: origin.clone(),
        keys,
        policies,
        recorder,
        executors,
        webhooks,
        nudge,
        in_flight: InFlight::default(),
        metrics: counters.clone(),
        safeguards: safeguards.clone(),
        tokens: Tokens::new(&settings.jwt_secret),
        passwords: Passwords::new(counters.clone())?,
        second_factors: settings.second_factors,
        authorities: settings.public_authorities.clone(),
        activation_rules: settings.activation_rules,
        heavy_work: HeavyWork::default(),
        exports: Turns::default(),
        throttles,
        proxies: settings.bounds.proxies.clone(),
        shutdown: shutdown.clone(),
    };
    let publisher = Publisher {
        store: store.clone(),
        client: MirrorClient::new()?,
        mirrors: settings.mirrors,
        period: settings.mirror_period,
        metrics: counters.clone(),
    };
    let publishing = tokio::spawn(mirrors::run(publisher, shutdown.clone()));
    let telling = tokio::spawn(telling::run(courier, shutdown.clone()));
    let dispatching = tokio::spawn(dispatch::run(dispatcher, shutdown.clone()));
    let measuring = tokio::spawn(measuring::run(store.clone(), safeguards, origin, shutdown.clone()));
    let retaining = tokio::spawn(retention::run(store, counters, shutdown.clone()));
    let router = edge::with_edge(http::router(Arc::new(services)), metrics.clone(), settings.bounds.clone());
    edge::serve(settings.listen_address, router, metrics, settings.bounds, shutdown).await?;
    // Whoever waited for it was answered.
    recording.abort();
    finding_keys.abort();
    dispatching.await.context("the dispatcher failed")?;
    telling.await.context("telling webhooks failed")?;
    measuring.await.context("comparing clocks failed")?;
    following.abort();
    publishing.abort();
    // A block is filed as a whole or not at all.
    filing.abort();
    retaining.await.context("retention failed")?;
    // Last, so that what the others recorded still gets its place; the rest gets it from another replica.
    sequencing.abort();
    info!("ended");
    Ok(())
}

/// The throttles, shared where Redis is configured. A Redis that is away at start is as one that is lost later.
async fn throttles(
    rates: Rates,
    redis: Option<redis::Client>,
    counters: &ControlPlaneMetrics,
    shutdown: &Shutdown,
) -> Throttles {
    let shared = redis.map(|client| Shared::new(client, counters.clone()));
    if let Some(shared) = &shared {
        if let Err(error) = shared.connect().await {
            warn!(
                error = &error as &dyn std::error::Error,
                "Redis (REDIS_URL) cannot be used: this replica throttles strictly by itself until it can"
            );
        }
        tokio::spawn(shared.clone().run(shutdown.clone()));
    }
    Throttles::new(rates, shared, counters.clone())
}

/// The keys of what is stored. Refuses to start on a database that is not ours to use as it is.
async fn open_database(store: &Store, settings: &ServeSettings) -> anyhow::Result<Keyring> {
    let until = tokio::time::Instant::now() + DATABASE_WITHIN;
    while let Err(error) = store.ping().await {
        if tokio::time::Instant::now() >= until {
            return Err(error).context("DATABASE_URL: the database cannot be used (was it migrated?)");
        }
        warn!(error = &error as &dyn std::error::Error, "waiting for the database");
        tokio::time::sleep(DATABASE_PAUSE).await;
    }
    if store.may_change_entries().await? {
        anyhow::bail!("DATABASE_URL: this role could change the audit log; use the application's role");
    }
    let keyring = master_key::open(store, &settings.master_keys).await?;
    let purposes = [("JWT_SECRET", &settings.jwt_secret), ("MASTER_KEY", &settings.master_key)];
    clusters::check_purposes(store, &keyring, &purposes).await?;
    Ok(keyring)
}
