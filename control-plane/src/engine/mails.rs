//! Empties the outbox of mails: finds out who gets what, hands it to the mail server, and takes it out when that has
//! taken it. Killed between the two, another replica sends the same again.

use std::time::Duration;

use aegis_runtime::shutdown::Shutdown;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::client::mail::{NotTaken, SEND_TIMEOUT};
use crate::error::Error;
use crate::metrics::ControlPlaneMetrics;
use crate::seal::Keyring;
use crate::service::mails::{Mailing, prepare};
use crate::store::Store;
use crate::store::mails::{self, Taken};

/// How often to look for what is due: bounds how late people are mailed.
const TICK: Duration = Duration::from_millis(500);
/// Mails sent at once: more connections than that are refused by many mail servers.
const AT_ONCE: i64 = 4;
/// After that a mail that was taken is taken to be lost. Well above the longest time of an attempt.
const TAKEN_SECONDS: f64 = 4.0 * SEND_TIMEOUT.as_secs() as f64;
/// The pause after the first failure, and the longest one; each is three times the one before.
const PAUSES_SECONDS: (f64, f64) = (5.0, 600.0);
/// How long attempts may go on when the process ends.
const HAND_OVER: Duration = Duration::from_secs(5);

/// What the engine works with.
#[derive(Clone)]
pub struct Postman {
    /// The database.
    pub store: Store,
    /// Makes tokens.
    pub keyring: Keyring,
    /// The mail server.
    pub mailing: Mailing,
    /// What is counted.
    pub metrics: ControlPlaneMetrics,
}

/// Runs until shutdown.
pub async fn run(postman: Postman, shutdown: Shutdown) {
    let ending = async {
        shutdown.wait().await;
        tokio::time::sleep(HAND_OVER).await;
    };
    let working = async {
        while !shutdown.is_triggered() {
            match round(&postman).await {
                Ok(0) => shutdown.pause(TICK).await,
                Ok(_) => {}
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "cannot look into the outbox of mails");
                    shutdown.pause(TICK).await;
                }
            }
        }
    };
    tokio::select! {
        () = working => {}
        () = ending => {}
    }
}

/// Sends what is due; how many mails that were.
async fn round(postman: &Postman) -> Result<usize, Error> {
    let mut conn = postman.store.acquire().await?;
    let given_up = mails::give_up(&mut conn).await?;
    if given_up > 0 {
        postman.metrics.count_mails("given-up", given_up);
        warn!(mails = given_up, "mails were given up: the mail server did not take them in time");
    }
    let taken = mails::take(&mut conn, TAKEN_SECONDS, AT_ONCE).await?;
    drop(conn);
    let count = taken.len();
    let mut attempts = JoinSet::new();
    for mail in taken {
        attempts.spawn(attempt(postman.clone(), mail));
    }
    attempts.join_all().await;
    Ok(count)
}

/// One attempt at one mail. What cannot be noted is sent again.
async fn attempt(postman: Postman, mail: Taken) {
    let Taken { id, tries, .. } = mail;
    let prepared = prepare(&postman.store, &postman.keyring, &postman.mailing.public_url, &mail).await;
    let sent = match prepared {
        Ok(Some(letter)) => postman.mailing.client.send(&letter).await.map(|()| "sent"),
        Ok(None) => Ok("dropped"),
        Err(error) => {
            warn!(error = &error as &dyn std::error::Error, mail = %id, "a mail cannot be prepared");
            return;
        }
    };
    // Neither the address nor the text is told: the one is personal, the other a secret.
    let noted = async {
        let mut conn = postman.store.acquire().await?;
        match &sent {
            Err(NotTaken { is_final: false, .. }) => {
                mails::postpone(&mut conn, id, tries, pause_seconds(tries)).await
            }
            Ok(_) | Err(NotTaken { is_final: true, .. }) => mails::remove(&mut conn, id).await,
        }
    };
    let noted = noted.await;
    match sent {
        Ok(result) => {
            postman.metrics.count_mails(result, 1);
            info!(mail = %id, result, "a mail is done");
        }
        Err(NotTaken { reason, is_final: true }) => {
            postman.metrics.count_mails("refused", 1);
            warn!(mail = %id, reason, "a mail was refused for good by the mail server");
        }
        Err(NotTaken { reason, is_final: false }) => {
            postman.metrics.count_mails("failed", 1);
            warn!(mail = %id, reason, tries, "a mail was not taken by the mail server; it is sent again");
        }
    }
    if let Err(error) = noted {
        let error = &error as &dyn std::error::Error;
        warn!(error, mail = %id, "what became of a mail was not noted; it is sent again");
    }
}

/// How long to wait after so many tries.
fn pause_seconds(tries: i32) -> f64 {
    let (first, longest) = PAUSES_SECONDS;
    (first * 3_f64.powi(tries.saturating_sub(1))).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_ten_minutes() {
        let pauses: Vec<f64> = [1, 2, 3, 5, 6, 1_000_000].into_iter().map(pause_seconds).collect();
        assert_eq!(pauses, [5.0, 15.0, 45.0, 405.0, 600.0, 600.0]);
    }
}
