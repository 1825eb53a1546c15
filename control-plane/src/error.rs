//! Everything a use case can answer instead of success, without a word about transport.
//! `http::error` maps each variant to a status, exhaustively.

use aegis_contract::action::ActionState;
use aegis_contract::ids::{ActionId, DecisionId};
use aegis_contract::problem::FieldError;
use aegis_policy::{JudgedLimit, NearMiss};
use jiff::Timestamp;

use crate::service::approvals::Group;

/// Why a use case was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The body is not the document it should be.
    #[error("the body is not valid")]
    Invalid(Vec<FieldError>),
    /// A header or query parameter is not usable.
    #[error("{name}: {message}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// What is wrong and what is expected.
        message: String,
    },
    /// The body is larger than the route takes.
    #[error("a body has at most 64 KiB, one with a policy 16 MiB")]
    TooLarge,
    /// The body did not arrive in time.
    #[error("the body did not arrive in time; send it faster, or a smaller one")]
    TooSlow,
    /// JSON, but not a policy of the language, or of a part of it that is not enforced yet.
    #[error("the policy is not valid")]
    PolicyInvalid(Vec<FieldError>),
    /// Tests of a policy get another answer than they expect.
    #[error("tests of the policy fail")]
    PolicyTestsFailed(Vec<FieldError>),
    /// It takes a second person.
    #[error("{0}")]
    FourEyes(&'static str),
    /// There is no replay of what would become active.
    #[error("an activation needs a replay here: {reason}")]
    ReplayRequired {
        /// What is missing.
        reason: &'static str,
    },
    /// The policy belongs to a sync.
    #[error("policy {name} is managed by {by}; change it there, or release it first")]
    PolicyManaged {
        /// The policy.
        name: String,
        /// The sync.
        by: String,
    },
    /// It would take longer than anybody waits.
    #[error("this takes too long; ask for less")]
    TooMuch,
    /// The action type cannot be applied to the target's kind.
    #[error("{0}")]
    TargetKind(String),
    /// The target's cluster is not registered.
    #[error("no cluster `{0}` is registered")]
    UnknownCluster(String),
    /// Nobody is signed in, or not validly.
    #[error("sign in, or sign the request")]
    Unauthenticated,
    /// E-mail address and password do not belong together.
    #[error("e-mail address or password is wrong")]
    SignInFailed,
    /// The password was right, and a code of the person's second factor is missing.
    #[error(
        "this account has a second factor: send a code of its app, or a recovery code, with the password"
    )]
    CodeRequired,
    /// A code is wrong, was used before, or its time is over.
    #[error("this code is wrong, was used before, or its time is over; use the next one")]
    CodeWrong,
    /// It takes the second factor, shown lately in this session.
    #[error(
        "show your second factor first: POST a code to /api/v1/auth/step-up (`aegisctl step-up`), then ask again"
    )]
    StepUpRequired,
    /// It takes a second factor, and the person has none.
    #[error(
        "this takes a second factor, and you have none: enrol one with POST /api/v1/users/me/second-factor \
         (`aegisctl account second-factor enrol`), then ask again"
    )]
    SecondFactorNeeded,
    /// Who has no password must have signed in lately.
    #[error("sign in again, and do this in that session within {minutes} minutes")]
    SignInAgain {
        /// How long a sign-in says enough.
        minutes: i64,
    },
    /// Too many passwords or codes were wrong: nobody may try for a while.
    #[error("too many passwords or codes were wrong; try again in {seconds} s")]
    GuessingSlowed {
        /// After how many seconds.
        seconds: u64,
    },
    /// An invitation is unknown, used, or over.
    #[error("this invitation is not good, or not any more; ask for another one")]
    InvitationInvalid,
    /// What was mailed to choose another password with is unknown, used, or over.
    #[error("this token is not good, or not any more; ask for another mail")]
    ResetInvalid,
    /// This control plane sends no mail.
    #[error("no mail is sent here; ask an admin")]
    MailOff,
    /// Nobody may sign up, or nobody with such an address.
    #[error("nobody can sign up here, or not with this address; ask an admin for an invitation")]
    SignUpOff,
    /// Who has a password, or may not sign in, is not invited.
    #[error("this person has a password, or is disabled: there is nothing to invite them to")]
    NotInvitable,
    /// The person may not sign in.
    #[error("this person is disabled; enable them first")]
    UserDisabled,
    /// Nobody would be left who can manage people.
    #[error("nobody else who can sign in is an admin; make somebody else one first")]
    LastAdmin,
    /// A role grant has ended.
    #[error("this role grant does not wait for anybody any more; it is {state}")]
    GrantNotWaiting {
        /// How it ended.
        state: &'static str,
    },
    /// No identity provider is configured.
    #[error("single sign-on is not set up here; sign in with a password")]
    SingleSignOnAbsent,
    /// A sign-in at the identity provider is unknown, was used, or is over.
    #[error("this sign-in is unknown, was used, or is over; begin another one")]
    FlowUnknown,
    /// The person, or the provider for them, did not want to.
    #[error("the sign-in was declined at the identity provider")]
    SignInDeclined,
    /// What the identity provider said proves nobody. Why is for metrics and the audit log.
    #[error("what the identity provider answered proves nobody; sign in again")]
    IdentityRefused,
    /// The identity provider cannot be used now.
    #[error("the identity provider does not answer as it should; try again, or sign in with a password")]
    ProviderUnavailable,
    /// None of the groups that the identity provider names stands for a role.
    #[error("none of your groups stands for a role here; ask whoever manages them at the identity provider")]
    NoRole,
    /// Somebody is known here by the e-mail address of who comes from the provider for the first time.
    #[error(
        "an account with your e-mail address exists here already, and is not signed in to with the provider; an \
             admin has to make room for it"
    )]
    EmailTaken,
    /// Who comes for the first time has no e-mail address that the provider vouches for.
    #[error("the identity provider does not say that your e-mail address is yours")]
    EmailUnverified,
    /// A role comes with each sign-in from the provider's claims.
    #[error(
        "this role comes from the identity provider with each sign-in; take it there, or disable the person"
    )]
    RoleFromClaims,
    /// A password was asked for once more, and is wrong.
    #[error("the password is wrong")]
    PasswordWrong,
    /// The request's signature was refused. Why is for metrics and the audit log.
    #[error("the signature was refused")]
    SignatureInvalid {
        /// The server's time, when the refusal was about time.
        server_time: Option<Timestamp>,
    },
    /// The caller may not do this.
    #[error("{permission} is not among the caller's permissions")]
    Forbidden {
        /// The permission that is missing.
        permission: &'static str,
    },
    /// A client may not ask for this, whatever policy says.
    #[error("{action} of {resource} is outside of what this client may ask for")]
    OutsideScope {
        /// What was asked for.
        action: String,
        /// Of which resource.
        resource: String,
    },
    /// There is no such thing, or the caller may not see it.
    #[error("there is no such {what}")]
    NotFound {
        /// The noun.
        what: &'static str,
    },
    /// Policy said no; an action stands in state `denied`.
    #[error("{}", denial.reason)]
    PolicyDenied {
        /// The denied action; nothing where none was asked for.
        action_id: Option<ActionId>,
        /// The decision.
        decision_id: DecisionId,
        /// Why, and what would help.
        denial: Box<Denial>,
    },
    /// The nonce was used by an earlier request of the same key.
    #[error("this nonce was used before; sign each request afresh")]
    NonceReplayed,
    /// Requests for actions need an `Idempotency-Key`.
    #[error("send an Idempotency-Key of 1 to 255 visible ASCII characters")]
    IdempotencyKeyRequired,
    /// The key belongs to another request.
    #[error("this Idempotency-Key was used with another request")]
    IdempotencyKeyReused,
    /// A copy of the request is being worked on.
    #[error("a request with this Idempotency-Key is being worked on; ask again")]
    InProgress,
    /// The action is past the states it can be cancelled from.
    #[error("an action in state {state} cannot be cancelled")]
    NotCancellable {
        /// Where it stands.
        state: ActionState,
    },
    /// Only an action in state `unknown` can be closed.
    #[error("an action in state {state} cannot be closed")]
    NotClosable {
        /// Where it stands.
        state: ActionState,
    },
    /// A hold keeps automation from acting on the target; the action stands denied.
    #[error("{reason}")]
    TargetOnHold {
        /// The denied action.
        action_id: ActionId,
        /// What policy had said.
        decision_id: DecisionId,
        /// For people.
        reason: String,
    },
    /// No hold was caused by the action, or not any more.
    #[error("nothing is on hold because of this action, or not any more")]
    NotOnHold,
    /// The caller is none of the people who must look at an action.
    #[error(
        "you are not asked to look at this: you asked for it, or a client of yours did, or you hold none of the roles"
    )]
    NotAReviewer,
    /// Nobody has to look at the action, or not any more.
    #[error("nobody has to look at this action, or not any more")]
    NothingToReview,
    /// People are not asked about this action, or not any more.
    #[error("this action is not waiting for approval, or not any more; it stands {state}")]
    NotAwaitingApproval {
        /// Where it stands.
        state: ActionState,
    },
    /// The caller is none of the people who are asked.
    #[error(
        "you are not asked: the people who are hold a role that you lack, and did not ask for this themselves"
    )]
    NotAnApprover,
    /// What people are asked is not what the caller looked at.
    #[error("something else is to be approved by now; look at it again")]
    ApprovalChanged,
    /// The executor did not answer in time.
    #[error("the executor of cluster {cluster} does not answer")]
    ExecutorUnavailable {
        /// Its cluster.
        cluster: String,
    },
    /// The write needs `If-Match` or `If-None-Match: *`.
    #[error("send If-Match with the version you have seen, or If-None-Match: * for a new one")]
    PreconditionRequired,
    /// Somebody else wrote in between.
    #[error("it was changed in between; read it again")]
    PreconditionFailed,
    /// Something of that name is there already.
    #[error("{0} exists already")]
    AlreadyExists(String),
    /// More work of this kind is waiting than can be done in time.
    #[error("too many requests of this kind are waiting; try again in a moment")]
    Busy,
    /// The caller makes more requests than it may.
    #[error("more than {per_minute} requests a minute ({class}); try again in {retry_after_seconds} s")]
    RateLimited {
        /// What is counted: a class of routes, or the caller's own rate.
        class: &'static str,
        /// How many are let through.
        per_minute: u32,
        /// When the next one will be.
        retry_after_seconds: u64,
    },
    /// This machine's clock is not the database's: neither a caller's proof nor an order can be judged.
    #[error("this replica's clock is wrong; ask another, or try again when it is right")]
    ClockSkewed,
    /// The database has reached its share of its capacity. Certainly nothing was recorded.
    #[error("the database is nearly full; nothing new is recorded until there is room")]
    DatabaseFull,
    /// An executor holds a head that the audit log never had: it was put back or rewritten.
    #[error(
        "the audit log has two histories; nothing is changed until a person has acted (docs/operations.md)"
    )]
    LogForked,
    /// A row does not agree with its audit entry; nothing is done because of it.
    #[error("{what} is not as the audit log has it")]
    StateNotInLog {
        /// What the row is.
        what: String,
    },
    /// The database did not take the work in time. Certainly nothing was recorded.
    #[error("the audit log cannot be written now; nothing was done")]
    AuditUnavailable(#[source] Option<sqlx::Error>),
    /// The commit itself failed: it may or may not have happened.
    #[error("it is not known whether the request was recorded; repeat it with the same Idempotency-Key")]
    OutcomeUnknown {
        /// The action that exists if it was recorded.
        action_id: Option<ActionId>,
    },
    /// Something that should not happen.
    #[error("internal error")]
    Internal(#[source] anyhow::Error),
}

/// Why policy said no, and what would help, as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct Denial {
    /// The decision's reason.
    pub reason: String,
    /// After which time the same request would be allowed, if nothing but the time changes.
    pub retry_after_seconds: Option<u64>,
    /// The limits that had no room.
    pub limits: Vec<JudgedLimit>,
    /// The people who would have to agree then.
    pub approvals: Vec<Group>,
    /// The rule that came nearest to allowing it.
    pub nearest_miss: Option<NearMiss>,
}

impl Error {
    /// A fault of ours, or of what is stored.
    pub fn internal(source: impl Into<anyhow::Error>) -> Self {
        Self::Internal(source.into())
    }

    /// Whether the database refused a statement because of this named constraint.
    pub fn is_constraint(&self, name: &str) -> bool {
        let Self::Internal(source) = self else { return false };
        match source.downcast_ref::<sqlx::Error>() {
            Some(sqlx::Error::Database(error)) => error.constraint() == Some(name),
            _ => false,
        }
    }

    /// Whether another transaction held a row for longer than this one could wait.
    pub fn is_lock_timeout(&self) -> bool {
        match self {
            Self::AuditUnavailable(Some(sqlx::Error::Database(error))) => {
                error.code().as_deref() == Some("55P03")
            }
            _ => false,
        }
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::Parameter { .. } => "invalid-parameter",
            Self::TooLarge => "too-large",
            Self::TooSlow => "too-slow",
            Self::PolicyInvalid(errors) if errors.iter().all(|error| error.code == "unsupported") => {
                "unsupported"
            }
            Self::PolicyInvalid(_) => "policy-invalid",
            Self::PolicyTestsFailed(_) => "policy-tests-failed",
            Self::FourEyes(_) => "four-eyes",
            Self::ReplayRequired { .. } => "replay-required",
            Self::PolicyManaged { .. } => "policy-managed",
            Self::TooMuch => "too-much",
            Self::TargetKind(_) => "target-kind",
            Self::UnknownCluster(_) => "unknown-cluster",
            Self::Unauthenticated => "unauthenticated",
            Self::SignInFailed => "sign-in-failed",
            Self::CodeRequired => "code-required",
            Self::CodeWrong => "code-wrong",
            Self::StepUpRequired => "step-up-required",
            Self::SecondFactorNeeded => "second-factor-needed",
            Self::SignInAgain { .. } => "sign-in-again",
            Self::GuessingSlowed { .. } => "guessing-slowed",
            Self::InvitationInvalid => "invitation-invalid",
            Self::ResetInvalid => "reset-invalid",
            Self::MailOff => "mail-off",
            Self::SignUpOff => "sign-up-off",
            Self::NotInvitable => "not-invitable",
            Self::UserDisabled => "user-disabled",
            Self::LastAdmin => "last-admin",
            Self::GrantNotWaiting { .. } => "grant-not-waiting",
            Self::SingleSignOnAbsent => "single-sign-on-absent",
            Self::FlowUnknown => "flow-unknown",
            Self::SignInDeclined => "sign-in-declined",
            Self::IdentityRefused => "identity-refused",
            Self::ProviderUnavailable => "provider-unavailable",
            Self::NoRole => "no-role",
            Self::EmailTaken => "email-taken",
            Self::EmailUnverified => "email-unverified",
            Self::RoleFromClaims => "role-from-claims",
            Self::PasswordWrong => "password-wrong",
            Self::SignatureInvalid { .. } => "signature-invalid",
            Self::Forbidden { .. } => "forbidden",
            Self::OutsideScope { .. } => "outside-scope",
            Self::NotFound { .. } => "not-found",
            Self::PolicyDenied { .. } => "policy-denied",
            Self::NonceReplayed => "nonce-replayed",
            Self::IdempotencyKeyRequired => "idempotency-key-required",
            Self::IdempotencyKeyReused => "idempotency-key-reused",
            Self::InProgress => "in-progress",
            Self::NotCancellable { .. } => "not-cancellable",
            Self::NotClosable { .. } => "not-closable",
            Self::TargetOnHold { .. } => "target-on-hold",
            Self::NotOnHold => "not-on-hold",
            Self::NotAReviewer => "not-a-reviewer",
            Self::NothingToReview => "nothing-to-review",
            Self::NotAwaitingApproval { .. } => "not-awaiting-approval",
            Self::NotAnApprover => "not-an-approver",
            Self::ApprovalChanged => "approval-changed",
            Self::ExecutorUnavailable { .. } => "executor-unavailable",
            Self::PreconditionRequired => "precondition-required",
            Self::PreconditionFailed => "precondition-failed",
            Self::AlreadyExists(_) => "already-exists",
            Self::Busy => "too-many-requests",
            Self::RateLimited { .. } => "rate-limited",
            Self::ClockSkewed => "clock-skewed",
            Self::DatabaseFull => "database-full",
            Self::LogForked => "log-forked",
            Self::StateNotInLog { .. } => "state-not-in-log",
            Self::AuditUnavailable(_) => "audit-unavailable",
            Self::OutcomeUnknown { .. } => "outcome-unknown",
            Self::Internal(_) => "internal",
        }
    }
}

impl From<sqlx::Error> for Error {
    /// Tells a database that cannot be used now from a fault. True only before a commit was sent;
    /// `Store::commit` judges commits.
    fn from(error: sqlx::Error) -> Self {
        if is_unavailable(&error) {
            Self::AuditUnavailable(Some(error))
        } else if is_no_text(&error) {
            Self::Parameter { name: "request", message: "must hold no U+0000 in any text".to_owned() }
        } else {
            Self::internal(error)
        }
    }
}

/// Whether it was asked for a text that it cannot hold: one with U+0000.
fn is_no_text(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "22021")
}

fn is_unavailable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| is_unavailable_state(&code)),
        _ => false,
    }
}

/// Classes 08 (connection), 28 (not let in), 53 (resources), 57 (cancelled, shut down), 58 (system); a
/// database that is not there or takes nobody in; read-only; a session ended because it was idle for
/// too long; a lock or a serialisation that was not had in time.
fn is_unavailable_state(code: &str) -> bool {
    ["08", "28", "53", "57", "58"].iter().any(|class| code.starts_with(class))
        || ["25006", "25P03", "25P04", "3D000", "40001", "40P01", "55000", "55P03"].contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_away_is_told_from_a_broken_statement() {
        for code in [
            "08006", "28P01", "28000", "53300", "53100", "57014", "57P01", "58030", "3D000", "25006",
            "25P03", "40P01", "55000", "55P03",
        ] {
            assert!(is_unavailable_state(code), "{code}");
        }
        for code in ["23505", "42501", "42P01", "22P02"] {
            assert!(!is_unavailable_state(code), "{code}");
        }
        assert!(is_unavailable(&sqlx::Error::PoolTimedOut));
        assert!(!is_unavailable(&sqlx::Error::RowNotFound));
    }

    #[test]
    fn a_policy_is_unsupported_only_if_nothing_else_is_wrong_with_it() {
        let problem =
            |code: &str| FieldError { pointer: String::new(), code: code.to_owned(), message: String::new() };
        let code =
            |codes: &[&str]| Error::PolicyInvalid(codes.iter().map(|code| problem(code)).collect()).code();
        assert_eq!(code(&["unsupported", "unsupported"]), "unsupported");
        assert_eq!(code(&["unsupported", "unknown-field"]), "policy-invalid");
    }
}
