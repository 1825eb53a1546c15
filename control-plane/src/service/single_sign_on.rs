//! Signing in with an identity provider (ADR 30). A program begins it and keeps a secret to itself; the person signs in
//! at the provider, comes back here, and is sent on, with a code, to the program that listens on their own machine;
//! that exchanges the code and its secret for a session. Who only sends others a link gets nothing by it.

mod person;
mod roles;

use aegis_contract::digest::Digest;
use aegis_contract::ids::FlowId;
use aegis_runtime::clock;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::warn;

use self::person::Admission;
pub use self::roles::ClaimedRoles;
use super::Services;
use super::authenticate::refuse_token;
use super::sessions::{self, SignedIn};
use crate::audit::{self, Kind, Record};
use crate::client::oidc::{Binding, Identity, ProviderClient, ProviderFault, challenge};
use crate::error::Error;
use crate::principal::Principal;
use crate::seal::Purpose;
use crate::store::sign_in_flows::NewFlow;
use crate::store::{ANSWER_WITHIN, commit, dispatch, sign_in_flows, within};

/// How long somebody may take to sign in at the provider.
pub const LIFETIME: SignedDuration = SignedDuration::from_mins(10);
/// How long the code is good that the program gets the session for: it is shown at once, by a program.
const CODE_LIFETIME: SignedDuration = SignedDuration::from_mins(1);
/// Characters of a challenge: base64url of a SHA-256 (RFC 7636 section 4.2).
const CHALLENGE_LENGTH: usize = 43;
/// Ports below are for the system's own services.
const PORT_MIN: u16 = 1024;

/// The provider, and what its claims mean here.
pub struct SingleSignOn {
    /// The provider.
    pub provider: ProviderClient,
    /// Which roles its claims give.
    pub roles: ClaimedRoles,
}

/// A sign-in that was begun.
pub struct Begun {
    /// Names it to the program that listens.
    pub id: FlowId,
    /// Where the person goes.
    pub authorization_url: String,
}

/// Begins a sign-in for a program that listens on a port of its machine's loopback address. `challenge` is S256 of a
/// secret that it keeps until [`redeem`].
///
/// # Errors
/// `SingleSignOnAbsent`; `Parameter`; `ProviderUnavailable`; `ClockSkewed`.
pub async fn begin(services: &Services, challenge: &str, port: u16) -> Result<Begun, Error> {
    let sign_on = configured(services)?;
    services.safeguards.require_true_clock()?;
    services.safeguards.require_recordable()?;
    check(challenge, port)?;
    let state = random();
    let secrets = Secrets::of(services, &state);
    let url = sign_on.provider.authorization_url(secrets.binding(&state)).await;
    let authorization_url = match url {
        Ok(url) => url,
        Err(ProviderFault::Unavailable(why)) => return Err(unavailable(&why)),
        Err(ProviderFault::Refused(reason)) => return Err(unavailable(reason)),
    };
    let id = FlowId(clock::new_uuid());
    let tx = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let expires_at = dispatch::clock(&mut tx).await? + LIFETIME;
        let state_hash = hash(&state);
        sign_in_flows::insert(&mut tx, NewFlow { id, state_hash, challenge, port, expires_at }).await?;
        Ok(tx)
    })
    .await?;
    commit(tx, None).await?;
    Ok(Begun { id, authorization_url })
}

fn check(challenge: &str, port: u16) -> Result<(), Error> {
    let is_challenge = challenge.len() == CHALLENGE_LENGTH && URL_SAFE_NO_PAD.decode(challenge).is_ok();
    if !is_challenge {
        let message = "must be base64url of a SHA-256, without padding (RFC 7636 section 4.2)".to_owned();
        return Err(Error::Parameter { name: "challenge", message });
    }
    if port < PORT_MIN {
        let message = format!("must be {PORT_MIN} to 65535");
        return Err(Error::Parameter { name: "port", message });
    }
    Ok(())
}

/// What somebody brings back from the provider (RFC 6749 section 4.1.2, RFC 9207).
#[derive(Clone, Copy)]
pub struct Return<'a> {
    /// What the sign-in is recognised by.
    pub state: &'a str,
    /// What the provider proves the person for; or nothing, and then why not.
    pub code: Result<&'a str, &'a str>,
    /// Whom it is from.
    pub issuer: Option<&'a str>,
}

/// Where somebody is sent who came back from the provider: to the program on their own machine.
pub struct Handover {
    /// Where it listens.
    pub port: u16,
    /// The sign-in.
    pub flow: FlowId,
    /// What it gets the session for; or the code of what went wrong.
    pub outcome: Result<String, &'static str>,
}

/// Takes somebody back from the provider. A state is good once, whatever comes of it.
///
/// # Errors
/// `SingleSignOnAbsent`; `FlowUnknown` where nobody is awaited with that state.
pub async fn come_back(services: &Services, came: Return<'_>, request_id: &str) -> Result<Handover, Error> {
    let sign_on = configured(services)?;
    services.safeguards.require_true_clock()?;
    services.safeguards.require_recordable()?;
    let awaited = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let awaited = sign_in_flows::answer(&mut tx, hash(came.state)).await?;
        Ok((tx, awaited))
    });
    let (tx, awaited) = awaited.await?;
    // Before the provider is asked: whoever comes with the same state finds it used.
    commit(tx, None).await?;
    let Some((flow, port)) = awaited else {
        refuse_token(services, "oidc-state-unknown", request_id).await;
        return Err(Error::FlowUnknown);
    };
    let outcome = match identify(services, sign_on, came, request_id).await {
        Ok(identity) => Ok(keep(services, flow, identity).await?),
        Err(error) => {
            services.metrics.count_sign_in("failed");
            Err(error.code())
        }
    };
    Ok(Handover { port, flow, outcome })
}

async fn identify(
    services: &Services,
    sign_on: &SingleSignOn,
    came: Return<'_>,
    request_id: &str,
) -> Result<Identity, Error> {
    let code = match came.code {
        Ok(code) => code,
        Err("access_denied") => {
            refuse_token(services, "oidc-declined", request_id).await;
            return Err(Error::SignInDeclined);
        }
        Err(_) => {
            refuse_token(services, "oidc-provider-error", request_id).await;
            return Err(Error::IdentityRefused);
        }
    };
    let secrets = Secrets::of(services, came.state);
    match sign_on.provider.identify(code, came.issuer, secrets.binding(came.state)).await {
        Ok(identity) => Ok(identity),
        Err(ProviderFault::Unavailable(why)) => Err(unavailable(&why)),
        Err(ProviderFault::Refused(reason)) => {
            refuse_token(services, reason, request_id).await;
            Err(Error::IdentityRefused)
        }
    }
}

/// Whom the provider proved in a sign-in, as it is kept: bound to it, so that two cannot be exchanged.
#[derive(Serialize, Deserialize)]
struct Proven {
    flow: FlowId,
    identity: Identity,
}

/// Keeps whom the provider proved; the code that shows it again.
async fn keep(services: &Services, flow: FlowId, identity: Identity) -> Result<String, Error> {
    let code = random();
    let proven = serde_json::to_vec(&Proven { flow, identity }).map_err(Error::internal)?;
    let sealed = services.keyring.seal(Purpose::ProvenIdentity, &proven);
    let tx = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let expires_at = dispatch::clock(&mut tx).await? + CODE_LIFETIME;
        sign_in_flows::prove(&mut tx, flow, &sealed, hash(&code), expires_at).await?;
        Ok(tx)
    });
    commit(tx.await?, None).await?;
    Ok(code)
}

/// What the program shows for its session.
#[derive(Clone, Copy)]
pub struct Redemption<'a> {
    /// What the person's browser brought it.
    pub code: &'a str,
    /// The secret that it began with.
    pub verifier: &'a str,
    /// What the program is, in its own words.
    pub agent: &'a str,
    /// Names the request.
    pub request_id: &'a str,
}

/// Ends a sign-in with a session for whoever began it. The person is known by what the provider calls them, is added
/// where they come for the first time, and holds by claims exactly the roles that the claims stand for.
///
/// # Errors
/// `SingleSignOnAbsent`; `FlowUnknown`; `UserDisabled`; `NoRole`; `EmailTaken`; `EmailUnverified`; `ClockSkewed`.
pub async fn redeem(services: &Services, shown: Redemption<'_>) -> Result<SignedIn, Error> {
    let sign_on = configured(services)?;
    services.safeguards.require_true_clock()?;
    services.safeguards.require_recordable()?;
    let work = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let taken = sign_in_flows::take(&mut tx, hash(shown.code), &challenge(shown.verifier)).await?;
        let Some((flow, sealed)) = taken else { return Ok(None) };
        let opened = services.keyring.open(Purpose::ProvenIdentity, &sealed)?;
        let proven: Proven = serde_json::from_slice(&opened).map_err(Error::internal)?;
        if proven.flow != flow {
            return Ok(None);
        }
        let admission = person::admit(&mut tx, sign_on, &proven.identity, shown.request_id).await?;
        let ended = match admission {
            Admission::Refused(error) => Err(error),
            Admission::Admitted { user, roles } => {
                let (session, signed_in) =
                    sessions::begin(&mut tx, services, user, &roles, shown.agent).await?;
                let record = Record {
                    kind: Kind::UserSignedIn,
                    principal: &Principal::User(user).to_string(),
                    action_id: None,
                    request_id: Some(shown.request_id),
                    data: json!({
                        "session": session, "roles": roles, "method": "oidc", "issuer": sign_on.provider.issuer(),
                    }),
                };
                audit::append(&mut tx, record).await?;
                Ok(signed_in)
            }
        };
        Ok(Some((tx, ended)))
    });
    let Some((tx, ended)) = work.await? else {
        refuse_token(services, "oidc-code-unknown", shown.request_id).await;
        return Err(Error::FlowUnknown);
    };
    commit(tx, None).await?;
    services.metrics.count_sign_in(if ended.is_ok() { "succeeded" } else { "failed" });
    if let Err(error) = &ended {
        refuse_token(services, error.code(), shown.request_id).await;
    }
    ended
}

fn configured(services: &Services) -> Result<&SingleSignOn, Error> {
    services.single_sign_on.as_ref().ok_or(Error::SingleSignOnAbsent)
}

fn unavailable(why: &str) -> Error {
    warn!(reason = why, "the identity provider cannot be used");
    Error::ProviderUnavailable
}

/// What a sign-in is bound to: follows from its state for who has the root key, and is stored nowhere.
struct Secrets {
    nonce: String,
    verifier: String,
}

impl Secrets {
    fn of(services: &Services, state: &str) -> Self {
        let derive = |purpose| URL_SAFE_NO_PAD.encode(services.keyring.flow_secret(purpose, state));
        Self { nonce: derive("nonce"), verifier: derive("verifier") }
    }

    fn binding<'a>(&'a self, state: &'a str) -> Binding<'a> {
        Binding { state, nonce: &self.nonce, verifier: &self.verifier }
    }
}

fn random() -> String {
    URL_SAFE_NO_PAD.encode(clock::random_bytes::<32>())
}

fn hash(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}
