//! The use cases. One function is one use case, one transaction, and its audit entries; its first
//! line says which permission it needs.

pub mod account;
pub mod actions;
pub mod alert_sources;
pub mod analysis;
pub mod approvals;
pub mod authenticate;
pub mod clients;
pub mod clusters;
pub mod decide;
pub mod decisions;
pub mod dispatch;
pub mod divergence;
pub mod entries;
pub mod export;
pub mod filing;
mod guessing;
pub mod health;
pub mod history;
pub mod holds;
pub mod limits;
pub mod log;
pub mod mails;
pub mod master_key;
pub mod password_resets;
pub mod passwords;
pub mod past;
pub mod policies;
pub mod policy_set;
pub mod proofs;
pub mod proposals;
pub mod retention;
pub mod reviews;
pub mod role_grants;
pub mod safeguards;
pub mod second_factor;
pub mod sessions;
pub mod sign_in;
pub mod sign_up;
pub mod single_sign_on;
pub mod story;
pub mod tail;
pub mod tokens;
pub mod users;
pub mod webhooks;

use aegis_contract::problem::FieldError;
use aegis_policy::Problem;
use aegis_runtime::http::address::Proxies;
use aegis_runtime::shutdown::Shutdown;
use sqlx::PgConnection;

use crate::client::executor::ExecutorClient;
use crate::client::webhooks::WebhookClient;
use crate::error::Error;
use crate::metrics::ControlPlaneMetrics;
use crate::principal::Caller;
use crate::seal::Keyring;
use crate::store::{Store, nonces};
use crate::throttle::Throttles;
use actions::InFlight;
use analysis::HeavyWork;
use authenticate::keys::Keys;
use authenticate::standings::Standings;
use decisions::recorder::Recorder;
use dispatch::Nudge;
use export::Turns;
use mails::Mailing;
use passwords::Passwords;
use policies::activation::ActivationRules;
use policy_set::ActivePolicies;
use safeguards::Safeguards;
use second_factor::Demand;
use sign_up::SignUp;
use single_sign_on::SingleSignOn;
use tokens::Tokens;

/// What the use cases work with.
pub struct Services {
    /// The database.
    pub store: Store,
    /// The keys derived from the master key.
    pub keyring: Keyring,
    /// What the audit log is called.
    pub log_origin: String,
    /// The keys that requests are signed with.
    pub keys: Keys,
    /// How people stand in their sessions.
    pub standings: Standings,
    /// The policies that decide.
    pub policies: ActivePolicies,
    /// Where bare questions wait to be answered together.
    pub recorder: Recorder,
    /// The executors.
    pub executors: ExecutorClient,
    /// The receivers of notifications.
    pub webhooks: WebhookClient,
    /// Wakes the dispatcher.
    pub nudge: Nudge,
    /// The requests for actions that this process is working on.
    pub in_flight: InFlight,
    /// What is counted.
    pub metrics: ControlPlaneMetrics,
    /// What must not be done now.
    pub safeguards: Safeguards,
    /// Access tokens of people.
    pub tokens: Tokens,
    /// Passwords of people.
    pub passwords: Passwords,
    /// How mails are sent, if they are.
    pub mailing: Option<Mailing>,
    /// Who may sign up.
    pub sign_up: SignUp,
    /// The identity provider that people may sign in with, if there is one.
    pub single_sign_on: Option<SingleSignOn>,
    /// Whom privileged requests ask for a second factor.
    pub second_factors: Demand,
    /// Host and port as callers name this control plane.
    pub authorities: Vec<String>,
    /// What activations need besides tests that pass.
    pub activation_rules: ActivationRules,
    /// What takes a processor for seconds, one after the other.
    pub heavy_work: HeavyWork,
    /// Who reads the next piece of an export.
    pub exports: Turns,
    /// How many requests callers may make.
    pub throttles: Throttles,
    /// Who is believed to say whom a request comes from.
    pub proxies: Proxies,
    /// Ends what waits.
    pub shutdown: Shutdown,
}

/// Uses up the nonce of a signed request, in the transaction of its first record.
///
/// # Errors
/// `NonceReplayed` when it was used before; `InProgress` while a request with the same one is in
/// flight for too long.
async fn spend_nonce(conn: &mut PgConnection, caller: &Caller) -> Result<(), Error> {
    let Some(nonce) = &caller.nonce else { return Ok(()) };
    match nonces::spend(conn, nonce).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::NonceReplayed),
        Err(error) if error.is_lock_timeout() => Err(Error::InProgress),
        Err(error) => Err(error),
    }
}

/// Records a replayed nonce, or what lies outside of a scope, when that is why `result` failed, and passes `result`
/// on.
async fn noting_refusal<T>(
    services: &Services,
    caller: &Caller,
    result: Result<T, Error>,
) -> Result<T, Error> {
    match (&result, &caller.nonce) {
        (Err(Error::NonceReplayed), Some(nonce)) => {
            authenticate::note_replay(services, &nonce.key_id, &caller.request_id).await;
        }
        (Err(Error::OutsideScope { action, resource }), _) => {
            authenticate::note_outside_scope(services, caller, action, resource).await;
        }
        _ => {}
    }
    result
}

/// The policy crate's findings as errors of a body.
fn field_errors(problems: &[Problem]) -> Vec<FieldError> {
    problems
        .iter()
        .map(|problem| {
            let mut message = problem.message.clone();
            if let Some(expected) = &problem.expected {
                message.push_str(&format!("; expected {expected}"));
            }
            if let Some(suggestion) = &problem.suggestion {
                message.push_str(&format!("; did you mean `{suggestion}`?"));
            }
            if let (Some(line), Some(column)) = (problem.line, problem.column) {
                message.push_str(&format!(" (line {line}, column {column})"));
            }
            FieldError { pointer: problem.pointer.clone(), code: problem.code.to_owned(), message }
        })
        .collect()
}
