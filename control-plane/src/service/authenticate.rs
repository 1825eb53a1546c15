//! Who is calling: a signed request of a client, the token of a person, or the credential of an alert source. The caller
//! of a refused request learns one public reason; the precise one is counted, and recorded once a minute.

pub mod credential;
pub mod keys;
pub mod lookup;
pub mod standings;

use aegis_contract::http_signature::{self, Presented, Refusal, Request, Verified, VerifyingKey};
use aegis_runtime::clock;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tracing::warn;

use super::Services;
use crate::audit::{self, ANONYMOUS, Kind, Record};
use crate::error::Error;
use crate::principal::{Caller, Nonce, Principal, SecondFactor};
use crate::scope::Scope;
use crate::seal::Purpose;
use crate::store::client_keys::ClientKey;
use crate::store::sessions::Standing;
use crate::store::{ANSWER_WITHIN, commit, refusals, within};

/// How much longer than its signature a nonce is remembered: clocks differ.
const NONCE_KEPT_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// Proves a signed request. `reads` when it changes nothing and spends no nonce.
///
/// # Errors
/// `SignatureInvalid`, whatever is wrong; `ClockSkewed` while nobody's time can be judged.
pub async fn by_signature(
    services: &Services,
    request: &Request<'_>,
    request_id: &str,
    reads: bool,
) -> Result<Caller, Error> {
    services.safeguards.require_true_clock()?;
    let presented = match http_signature::parse(request) {
        Ok(presented) => presented,
        Err(refusal) => return Err(refuse(services, refusal, None, request_id).await),
    };
    let Some(key) = services.keys.find(presented.key_id()).await? else {
        return Err(refuse(services, Refusal::KeyUnknown, None, request_id).await);
    };
    match verify(services, &presented, &key)? {
        Ok(verified) => {
            services.keys.note_use(presented.key_id(), &key);
            Ok(caller_of(key, verified, request_id, reads))
        }
        Err(refusal) => Err(refuse(services, refusal, Some(presented.key_id()), request_id).await),
    }
}

fn verify(
    services: &Services,
    presented: &Presented,
    key: &ClientKey,
) -> Result<Result<Verified, Refusal>, Error> {
    if let Some(refusal) = standing(key) {
        return Ok(Err(refusal));
    }
    let verifying = match key.algorithm.as_str() {
        "hmac-sha256" => VerifyingKey::hmac_sha256(
            services.keyring.open_shared_secret(Purpose::ClientKey, &key.sealed_key)?,
        ),
        "ed25519" => {
            let pem = services.keyring.open(Purpose::ClientKey, &key.sealed_key)?;
            let pem = str::from_utf8(&pem).map_err(Error::internal)?;
            VerifyingKey::ed25519_public_pem(pem).map_err(Error::internal)?
        }
        other => return Err(Error::internal(anyhow::anyhow!("a key of unknown algorithm {other}"))),
    };
    Ok(presented.verify(&verifying, clock::now(), &services.authorities))
}

/// Why a key is good no more, whatever it signed.
fn standing(key: &ClientKey) -> Option<Refusal> {
    [
        (key.is_revoked, Refusal::KeyRevoked),
        (key.is_expired, Refusal::KeyExpired),
        (key.is_client_disabled, Refusal::ClientDisabled),
        (key.is_client_expired, Refusal::ClientExpired),
    ]
    .into_iter()
    .find_map(|(is_so, refusal)| is_so.then_some(refusal))
}

fn caller_of(key: ClientKey, verified: Verified, request_id: &str, reads: bool) -> Caller {
    let nonce = (!reads).then(|| Nonce {
        key_id: verified.key_id,
        nonce: verified.nonce,
        keep_until: verified.expires + NONCE_KEPT_AFTER,
    });
    let principal = Principal::Client(key.client);
    let name = principal.to_string();
    Caller {
        principal,
        name,
        roles: Vec::new(),
        scope: key.scope,
        requests_per_minute: key.requests_per_minute,
        session: None,
        second_factor: SecondFactor::Absent,
        nonce,
        request_id: request_id.to_owned(),
    }
}

/// Proves the token of a person who may still sign in, in a session that nobody has ended, with the roles they
/// hold now. Nothing is remembered from one request to the next: what ends, ends for all replicas at once.
///
/// # Errors
/// `Unauthenticated`, whatever is wrong; `ClockSkewed` while nobody's time can be judged.
pub async fn by_token(services: &Services, token: &str, request_id: &str) -> Result<Caller, Error> {
    services.safeguards.require_true_clock()?;
    let (user, session) = match services.tokens.verify(token) {
        Ok(proven) => proven,
        Err(reason) => return Err(refuse_token(services, reason, request_id).await),
    };
    let standing = services.standings.find(session, user).await?;
    let Some(Standing { roles, is_enrolled, is_stepped_up }) = standing else {
        return Err(refuse_token(services, "token-session-over", request_id).await);
    };
    let second_factor = match (is_enrolled, is_stepped_up) {
        (false, _) => SecondFactor::Absent,
        (true, false) => SecondFactor::NotShown,
        (true, true) => SecondFactor::Shown,
    };
    let principal = Principal::User(user);
    let name = principal.to_string();
    Ok(Caller {
        principal,
        name,
        roles,
        scope: Scope::default(),
        requests_per_minute: None,
        session: Some(session),
        second_factor,
        nonce: None,
        request_id: request_id.to_owned(),
    })
}

/// Refuses a request that presents a signature and a token: whose it is would be chance.
pub async fn refuse_both(services: &Services, request_id: &str) -> Error {
    refuse_token(services, "signature-and-token", request_id).await
}

/// Counts and records why a token is for nobody, and refuses it.
pub async fn refuse_token(services: &Services, reason: &'static str, request_id: &str) -> Error {
    services.metrics.count_token_refusal(reason);
    note(services, Refused::nobody(reason, None, request_id)).await;
    Error::Unauthenticated
}

async fn refuse(services: &Services, refusal: Refusal, key_id: Option<&str>, request_id: &str) -> Error {
    services.metrics.count_signature_refusal(refusal.code());
    note(services, Refused::nobody(refusal.code(), key_id, request_id)).await;
    Error::SignatureInvalid { server_time: refusal.is_time().then(clock::now) }
}

/// Records that a nonce came twice.
pub async fn note_replay(services: &Services, key_id: &str, request_id: &str) {
    const REASON: &str = "nonce-replayed";
    services.metrics.count_signature_refusal(REASON);
    note(services, Refused::nobody(REASON, Some(key_id), request_id)).await;
}

/// Records that a client asked for what is outside of its scope.
pub async fn note_outside_scope(services: &Services, caller: &Caller, action: &str, resource: &str) {
    services.metrics.count_scope_refusal();
    let refused = Refused {
        principal: &caller.name,
        reason: "outside-scope",
        key_id: caller.nonce.as_ref().map(|nonce| nonce.key_id.as_str()),
        asked: Some((action, resource)),
        request_id: &caller.request_id,
    };
    note(services, refused).await;
}

/// A request that is refused before anybody decides about it.
struct Refused<'a> {
    principal: &'a str,
    reason: &'static str,
    key_id: Option<&'a str>,
    /// The action and the resource that were asked for, where that is why.
    asked: Option<(&'a str, &'a str)>,
    request_id: &'a str,
}

impl<'a> Refused<'a> {
    fn nobody(reason: &'static str, key_id: Option<&'a str>, request_id: &'a str) -> Self {
        Self { principal: ANONYMOUS, reason, key_id, asked: None, request_id }
    }
}

/// Records the first refusal of its reason, key and minute. That it cannot be recorded does not let
/// anybody in.
async fn note(services: &Services, refused: Refused<'_>) {
    let Refused { principal, reason, key_id, asked, request_id } = refused;
    let mut data = json!({ "reason": reason, "keyId": key_id });
    if let Some((action, resource)) = asked {
        data["action"] = action.into();
        data["resource"] = resource.into();
    }
    let recorded = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        if refusals::note(&mut tx, reason, key_id.unwrap_or_default(), this_minute()).await? {
            let kind = Kind::RequestRefused;
            let record = Record { kind, principal, action_id: None, request_id: Some(request_id), data };
            audit::append(&mut tx, record).await?;
            commit(tx, None).await?;
        }
        Ok(())
    });
    if let Err(error) = recorded.await {
        warn!(error = &error as &dyn std::error::Error, reason, "a refusal was not recorded");
    }
}

/// The present time, cut to the minute.
pub fn this_minute() -> Timestamp {
    let now = clock::now();
    Timestamp::from_second(now.as_second() - now.as_second().rem_euclid(60)).unwrap_or(now)
}
