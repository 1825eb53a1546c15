//! What is sent to a webhook, and what follows from the receiver's answer.

use std::time::Duration;

use aegis_contract::intent::Entry;
use aegis_contract::strict::{self, Limits};
use aegis_runtime::clock;
use secrecy::zeroize::Zeroizing;
use serde_json::{Value, json};

use crate::client::webhooks::Answer;
use crate::error::Error;
use crate::seal::{Keyring, Purpose};
use crate::store::deliveries::{Next, Taken};

/// Attempts before a delivery is given up: with the pauses below they take a little more than a day.
const TRIES_MAX: i32 = 12;
/// Pause after the first attempt; each further one is [`PAUSE_FACTOR`] times as long.
const PAUSE_SECONDS_FIRST: f64 = 5.0;
const PAUSE_FACTOR: f64 = 3.0;
/// Longest pause, so that a receiver that comes back is not left waiting until the next day.
const PAUSE_SECONDS_MAX: f64 = 6.0 * 60.0 * 60.0;
/// How much of a pause is left to chance, so that receivers are not called by everybody at once.
const JITTER: f64 = 0.2;

/// The body of a notification, from what the log says: the same each time it is sent.
///
/// # Errors
/// When the entry cannot be read.
pub fn body(taken: &Taken) -> Result<String, Error> {
    let entry: Entry<Value> = strict::from_slice(&taken.entry, Limits::WIRE).map_err(Error::internal)?;
    let body = json!({
        "type": entry.kind,
        "timestamp": entry.at,
        "data": {
            "entryId": entry.id,
            "principal": entry.principal,
            "action": taken.action,
            "details": entry.data,
        },
    });
    Ok(body.to_string())
}

/// The secrets to sign with, the present one first.
///
/// # Errors
/// When one does not open.
pub fn secrets(keyring: &Keyring, taken: &Taken) -> Result<Vec<Zeroizing<Vec<u8>>>, Error> {
    let sealed = std::iter::once(&taken.sealed_secret).chain(&taken.sealed_previous_secret);
    sealed.map(|sealed| keyring.open(Purpose::WebhookSecret, sealed)).collect()
}

/// What follows from an answer, and why it counts as failed if it does. `tries` are the attempts so
/// far, this one included.
pub fn judge(answer: &Result<Answer, String>, tries: i32) -> (Next, Option<String>) {
    let (error, retry_after) = match answer {
        Ok(Answer { status: 200..300, .. }) => return (Next::Delivered, None),
        // The receiver wants no more of this one. Whether it is told of others is not its to say.
        Ok(Answer { status: 410, .. }) => {
            return (Next::Dead, Some("answered 410: gone for good".to_owned()));
        }
        Ok(Answer { status: status @ 300..400, retry_after }) => {
            (format!("answered {status}: redirects are not followed"), *retry_after)
        }
        Ok(Answer { status, retry_after }) => (format!("answered {status}"), *retry_after),
        Err(reason) => (reason.clone(), None),
    };
    let next = if tries >= TRIES_MAX {
        Next::Dead
    } else {
        Next::Again(pause_seconds(tries, random_share()).max(asked_seconds(retry_after)))
    };
    (next, Some(error))
}

/// How long to leave a receiver alone after so many attempts; `share` of the jitter is at least 0 and below 1.
fn pause_seconds(tries: i32, share: f64) -> f64 {
    let pause = PAUSE_SECONDS_FIRST * PAUSE_FACTOR.powi(tries.max(1) - 1);
    pause.min(PAUSE_SECONDS_MAX) * (1.0 - JITTER + 2.0 * JITTER * share)
}

/// What the receiver asks for, as far as it is heard.
fn asked_seconds(retry_after: Option<Duration>) -> f64 {
    retry_after.map_or(0.0, |asked| asked.as_secs_f64().min(PAUSE_SECONDS_MAX))
}

fn random_share() -> f64 {
    let [byte] = clock::random_bytes();
    f64::from(byte) / 256.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: Option<u64>) -> Result<Answer, String> {
        Ok(Answer { status, retry_after: retry_after.map(Duration::from_secs) })
    }

    #[test]
    fn pauses_grow_by_three_to_six_hours_and_end_after_a_day() {
        let pauses: Vec<f64> = (1..TRIES_MAX).map(|tries| pause_seconds(tries, 0.5)).collect();
        assert_eq!(pauses[..4], [5.0, 15.0, 45.0, 135.0]);
        assert_eq!(pauses[9..], [21_600.0, 21_600.0]);
        let hours = pauses.iter().sum::<f64>() / 3_600.0;
        assert!((16.0..30.0).contains(&hours), "{hours}");
        assert!((pause_seconds(1, 0.0) - 4.0).abs() < 1e-9 && (pause_seconds(1, 1.0) - 6.0).abs() < 1e-9);
    }

    #[test]
    fn only_2xx_has_arrived_and_everything_else_is_tried_again_to_its_end() {
        for status in [200, 204, 299] {
            assert_eq!(judge(&answer(status, None), 1), (Next::Delivered, None));
        }
        for status in [301, 308, 400, 401, 404, 429, 500, 503] {
            let (next, error) = judge(&answer(status, None), 1);
            assert!(matches!(next, Next::Again(seconds) if (4.0..=6.0).contains(&seconds)), "{status}");
            assert!(error.is_some());
            assert_eq!(judge(&answer(status, None), TRIES_MAX).0, Next::Dead);
        }
        assert_eq!(judge(&answer(410, None), 1).0, Next::Dead);
        assert_eq!(judge(&Err("refused".to_owned()), TRIES_MAX), (Next::Dead, Some("refused".to_owned())));
    }

    #[test]
    fn a_receiver_may_ask_to_be_left_alone_but_not_for_ever() {
        assert_eq!(judge(&answer(429, Some(60)), 1).0, Next::Again(60.0));
        assert_eq!(judge(&answer(503, Some(u64::MAX)), 1).0, Next::Again(PAUSE_SECONDS_MAX));
    }
}
