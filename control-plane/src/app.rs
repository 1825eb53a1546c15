//! Wires everything together: the one place that knows all parts.

use std::sync::Arc;
use std::time::Duration;

use aegis_runtime::metrics::Metrics;
use aegis_runtime::settings::renewal::Renewal;
use aegis_runtime::shutdown::Shutdown;
use aegis_runtime::tls::{ClientTls, ServerTls};
use aegis_runtime::{http as edge, telemetry};
use anyhow::Context;
use axum::Router;
use tracing::{info, warn};

use crate::client::executor::ExecutorClient;
use crate::client::mirrors::MirrorClient;
use crate::client::oidc::ProviderClient;
use crate::client::transport::Transport;
use crate::client::webhooks::{AddressRules, WebhookClient};
use crate::engine::dispatch::{self, Dispatcher};
use crate::engine::filing;
use crate::engine::follow::{self, Follower};
use crate::engine::mails::{self as mailing, Postman};
use crate::engine::mirrors::{self, Publisher};
use crate::engine::safeguards as measuring;
use crate::engine::secrets::Renewed;
use crate::engine::sequencer::{self, Sequencer};
use crate::engine::webhooks::{self as telling, Courier};
use crate::http;
use crate::metrics::ControlPlaneMetrics;
use crate::seal::Keyring;
use crate::service::actions::InFlight;
use crate::service::analysis::HeavyWork;
use crate::service::authenticate::keys::{self, keys};
use crate::service::authenticate::standings::{self, standings};
use crate::service::decisions::recorder::{self, recorder};
use crate::service::dispatch::{Nudge, OrderTerms};
use crate::service::export::Turns;
use crate::service::passwords::Passwords;
use crate::service::policy_set::ActivePolicies;
use crate::service::safeguards::Safeguards;
use crate::service::single_sign_on::SingleSignOn;
use crate::service::tokens::Tokens;
use crate::service::{Services, clusters, master_key, retention};
use crate::settings::{Secrets, ServeSettings, SingleSignOnSettings};
use crate::store::Store;
use crate::throttle::Throttles;
use crate::throttle::shared::{Address, Shared};

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
    let api_tls = settings.tls.clone().map(ServerTls::open).transpose();
    let api_tls = api_tls.context("TLS_CERTIFICATE_FILE, TLS_KEY_FILE")?;
    if let Some(tls) = &api_tls {
        tokio::spawn(tls.clone().follow("callers", metrics.clone(), shutdown.clone()));
    }
    let store = Store::serving(settings.secrets.database.clone());
    let safeguards = Safeguards::new(settings.database_capacity_bytes, counters.clone());
    let keyring = open_database(&store, &settings).await?;
    let renewal = Renewal::new(settings.secrets.fingerprint, settings.production, &metrics);
    let origin = settings.log_origin;
    measuring::measure(&store, &safeguards, &origin)
        .await
        .context("cannot compare the clock with the database's")?;

    let nudge = Nudge::default();
    let executor_tls = settings.executor_tls.map(ClientTls::open).transpose();
    let executor_tls =
        executor_tls.context("EXECUTOR_CERTIFICATE_FILE, EXECUTOR_KEY_FILE, EXECUTOR_CA_FILE")?;
    if let Some(tls) = &executor_tls {
        tokio::spawn(tls.clone().follow("executors", metrics.clone(), shutdown.clone()));
    }
    let transport = Transport::new(executor_tls)?;
    let executors = ExecutorClient::new(transport, store.clone(), keyring.clone(), settings.order_lifetime);
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
    let (standings, wanted_standings) = standings(store.clone());
    let finding_people = tokio::spawn(standings::run(store.clone(), wanted_standings));
    let follower = Follower {
        store: store.clone(),
        client: executors.clone(),
        safeguards: safeguards.clone(),
        origin: origin.clone(),
    };
    let redis = redis(settings.secrets.redis, &counters, &shutdown).await;
    let tokens = Tokens::new(&settings.secrets.tokens);
    let single_sign_on = settings.single_sign_on.map(single_sign_on).transpose()?;
    let renewed = Renewed {
        store: store.clone(),
        keyring: keyring.clone(),
        master_key: settings.secrets.master_key,
        tokens: tokens.clone(),
        redis: redis.clone(),
        mail: settings.mailing.as_ref().map(|mailing| mailing.client.clone()),
        provider: single_sign_on.as_ref().map(|sign_on| sign_on.provider.clone()),
    };
    let filing = tokio::spawn(filing::run(store.clone(), shutdown.clone()));
    let following = tokio::spawn(follow::run(follower, shutdown.clone()));
    let services = Services {
        store: store.clone(),
        keyring: keyring.clone(),
        log_origin: origin.clone(),
        keys,
        standings,
        policies,
        recorder,
        executors,
        webhooks,
        nudge,
        in_flight: InFlight::default(),
        metrics: counters.clone(),
        safeguards: safeguards.clone(),
        tokens,
        passwords: Passwords::new(counters.clone())?,
        mailing: settings.mailing.clone(),
        sign_up: settings.sign_up,
        single_sign_on,
        second_factors: settings.second_factors,
        authorities: settings.public_authorities.clone(),
        activation_rules: settings.activation_rules,
        heavy_work: HeavyWork::default(),
        exports: Turns::default(),
        throttles: Throttles::new(settings.throttles, redis, counters.clone()),
        proxies: settings.bounds.proxies.clone(),
        shutdown: shutdown.clone(),
    };
    let renewing =
        renewal.follow(Secrets::read, async move |secrets| renewed.take(secrets).await, shutdown.clone());
    let renewing = tokio::spawn(renewing);
    let publisher = Publisher {
        store: store.clone(),
        client: MirrorClient::new()?,
        mirrors: settings.mirrors,
        period: settings.mirror_period,
        metrics: counters.clone(),
    };
    let publishing = tokio::spawn(mirrors::run(publisher, shutdown.clone()));
    let postman = settings.mailing.map(|mailing| Postman {
        store: store.clone(),
        keyring: keyring.clone(),
        mailing,
        metrics: counters.clone(),
    });
    let mailing = postman.map(|postman| tokio::spawn(mailing::run(postman, shutdown.clone())));
    let telling = tokio::spawn(telling::run(courier, shutdown.clone()));
    let dispatching = tokio::spawn(dispatch::run(dispatcher, shutdown.clone()));
    let measuring = tokio::spawn(measuring::run(store.clone(), safeguards, origin, shutdown.clone()));
    let retaining = tokio::spawn(retention::run(store, counters, shutdown.clone()));
    let api = http::router(Arc::new(services));
    let api = match settings.observe_address {
        None => edge::with_metrics(api, metrics.clone()),
        Some(_) => api,
    };
    let serve = async |listen, router| {
        let router = edge::with_edge(router, metrics.clone(), settings.bounds.clone());
        edge::serve(listen, router, metrics.clone(), settings.bounds.clone(), shutdown.clone()).await
    };
    let listen = edge::Listen { setting: "LISTEN_ADDRESS", address: settings.listen_address, tls: api_tls };
    let being_observed = async {
        let Some(address) = settings.observe_address else { return Ok(()) };
        let observed = edge::with_problems(edge::with_metrics(Router::new(), metrics.clone()));
        serve(edge::Listen { setting: "OBSERVE_ADDRESS", address, tls: None }, observed).await
    };
    tokio::try_join!(serve(listen, api), being_observed)?;
    renewing.abort();
    // Whoever waited for it was answered.
    recording.abort();
    finding_keys.abort();
    finding_people.abort();
    dispatching.await.context("the dispatcher failed")?;
    telling.await.context("telling webhooks failed")?;
    if let Some(mailing) = mailing {
        mailing.await.context("sending mails failed")?;
    }
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

/// The identity provider. It is asked nothing before somebody signs in: nothing else depends on it.
fn single_sign_on(settings: SingleSignOnSettings) -> anyhow::Result<SingleSignOn> {
    let SingleSignOnSettings { provider, client_secret, roles } = settings;
    Ok(SingleSignOn { provider: ProviderClient::new(provider, client_secret)?, roles })
}

/// What replicas share throttles by. A Redis that is away at start is as one that is lost later.
async fn redis(
    address: Option<Address>,
    counters: &ControlPlaneMetrics,
    shutdown: &Shutdown,
) -> Option<Shared> {
    let shared = Shared::new(address?, counters.clone());
    if let Err(error) = shared.connect().await {
        warn!(
            error = &error as &dyn std::error::Error,
            "Redis (REDIS_URL) cannot be used: this replica throttles strictly by itself until it can"
        );
    }
    tokio::spawn(shared.clone().run(shutdown.clone()));
    Some(shared)
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
    if settings.production {
        clusters::require_tls(store).await?;
    }
    clusters::check_purposes(&mut *store.acquire().await?, &keyring, &settings.secrets.mac_keys()).await?;
    Ok(keyring)
}
