//! Gives every executor the newest checkpoint, and holds the head that it keeps against the log. So an executor
//! knows the log as it was a minute ago, and a log that was put back or rewritten is found without any order.

use std::time::Duration;

use aegis_contract::order::Follow;
use aegis_evidence::Head;
use aegis_runtime::shutdown::Shutdown;
use tokio::task::JoinSet;
use tracing::{error, warn};

use crate::client::executor::{DeliveryError, ExecutorClient};
use crate::error::Error;
use crate::service::log;
use crate::service::safeguards::Safeguards;
use crate::store::{ANSWER_WITHIN, Store, clusters, log as stored, within};

/// How often; an executor raises an alarm when it has heard nothing for 60 s.
const PERIOD: Duration = Duration::from_secs(15);
/// How often an executor may have learnt of a newer head meanwhile before it is asked again later.
const RACES_MAX: u32 = 3;

/// What it works with.
#[derive(Clone)]
pub struct Follower {
    /// The database.
    pub store: Store,
    /// The executors.
    pub client: ExecutorClient,
    /// What stops when the log is forked.
    pub safeguards: Safeguards,
    /// The log's name.
    pub origin: String,
}

/// Runs until shutdown.
pub async fn run(follower: Follower, shutdown: Shutdown) {
    while !shutdown.is_triggered() {
        if let Err(error) = tell_all(&follower).await {
            warn!(error = &error as &dyn std::error::Error, "executors are not told the newest checkpoint");
        }
        shutdown.pause(PERIOD).await;
    }
}

async fn tell_all(follower: &Follower) -> Result<(), Error> {
    let list = async { clusters::list(&mut *follower.store.acquire().await?).await };
    let mut telling = JoinSet::new();
    for cluster in within(ANSWER_WITHIN, list).await? {
        let follower = follower.clone();
        telling.spawn(async move {
            if let Err(error) = tell(&follower, &cluster.name).await {
                let error = &error as &dyn std::error::Error;
                warn!(error, cluster = cluster.name, "an executor was not told the newest checkpoint");
            }
        });
    }
    telling.join_all().await;
    Ok(())
}

async fn tell(follower: &Follower, cluster: &str) -> Result<(), DeliveryError> {
    let Follower { store, client, .. } = follower;
    for _ in 0..RACES_MAX {
        let held = client.held(cluster);
        let prepared = within(ANSWER_WITHIN, async {
            let mut conn = store.acquire().await?;
            let Some(growth) = log::growth(&mut conn, held).await? else { return Ok(None) };
            Ok(Some((client.link(&mut conn, cluster).await?, growth)))
        });
        let (link, growth) = match prepared.await {
            Ok(Some(prepared)) => prepared,
            // There is no entry yet.
            Ok(None) => return Ok(()),
            Err(Error::LogForked) => return note_fork(follower, cluster, None).await,
            Err(error) => return Err(error.into()),
        };
        let follow = Follow { checkpoint: growth.checkpoint, consistency: growth.consistency };
        match client.follow(&link, follow).await {
            Ok(head) => return compare(follower, cluster, head).await,
            Err(DeliveryError::HeadUnknown { .. }) => {}
            Err(DeliveryError::Refused { code, .. }) if code == "log-forked" => {
                return note_fork(follower, cluster, None).await;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether the head that an executor holds is one that this log had.
async fn compare(follower: &Follower, cluster: &str, held: Head) -> Result<(), DeliveryError> {
    let ours =
        within(ANSWER_WITHIN, async { log::head_at(&mut *follower.store.acquire().await?, held.size).await });
    if ours.await? == Some(held) { Ok(()) } else { note_fork(follower, cluster, Some(held)).await }
}

async fn note_fork(follower: &Follower, cluster: &str, held: Option<Head>) -> Result<(), DeliveryError> {
    let Follower { store, safeguards, origin, .. } = follower;
    if safeguards.is_log_forked() {
        return Ok(());
    }
    error!(
        cluster,
        heldSize = held.map(|head| head.size),
        "THE AUDIT LOG IS FORKED: an executor holds a head that this log never had; nothing is changed any more"
    );
    safeguards.note_fork(true);
    let noted = within(ANSWER_WITHIN, async {
        stored::insert_fork(&mut *store.acquire().await?, origin, cluster, held).await
    });
    Ok(noted.await?)
}
