//! What the exit code says. Scripts rely on the numbers: one is never given another meaning.

use std::process::ExitCode;

use aegis_contract::action::ActionState;
use aegis_contract::problem::Problem;
use aegis_evidence::bundle::Class;

/// Codes with their meanings, as help shows them.
fn table(codes: &[(u8, &str)]) -> String {
    let lines = codes.iter().map(|(code, meaning)| format!("  {code}  {meaning}\n"));
    std::iter::once("Exit codes:\n".to_owned()).chain(lines).collect()
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done as asked.
    Done = 0,
    /// The action ended otherwise than wanted, or something unforeseen happened.
    Failed = 1,
    /// The request makes no sense as it is.
    Invalid = 2,
    /// Policy said no.
    Denied = 3,
    /// The executor said no.
    Refused = 4,
    /// The caller is not known or may not do this.
    NotPermitted = 5,
    /// There is no such thing.
    NotFound = 6,
    /// No answer, or no final one in time.
    Unavailable = 7,
    /// Something else stands in the way.
    Conflict = 8,
    /// The change was found bad and put back.
    Returned = 9,
}

impl Exit {
    const ALL: [Self; 10] = [
        Self::Done,
        Self::Failed,
        Self::Invalid,
        Self::Denied,
        Self::Refused,
        Self::NotPermitted,
        Self::NotFound,
        Self::Unavailable,
        Self::Conflict,
        Self::Returned,
    ];

    fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done; with --wait: the action succeeded",
            Self::Failed => "the action failed, expired or was cancelled; or an unforeseen error",
            Self::Invalid => "wrong arguments, or the request is invalid",
            Self::Denied => "denied by policy",
            Self::Refused => "refused by the executor before it touched anything",
            Self::NotPermitted => "not signed in, signature not accepted, or not permitted",
            Self::NotFound => "no such action, policy, decision or route",
            Self::Unavailable => "not reachable or busy, or the action was not over in time",
            Self::Conflict => "conflict: replayed, reused key, changed in between, not cancellable",
            Self::Returned => "the change was found bad and put back; the target is on hold for automation",
        }
    }

    /// The end of a command that waited for an action; none while the action is not over.
    pub(crate) fn of_state(state: ActionState) -> Option<Self> {
        match state {
            ActionState::Succeeded => Some(Self::Done),
            ActionState::Failed | ActionState::Cancelled | ActionState::Expired => Some(Self::Failed),
            ActionState::Returned => Some(Self::Returned),
            ActionState::Denied => Some(Self::Denied),
            ActionState::Refused => Some(Self::Refused),
            ActionState::AwaitingApproval
            | ActionState::Queued
            | ActionState::Running
            | ActionState::Unknown => None,
        }
    }

    /// The end of a command that the control plane answered with a problem.
    pub(crate) fn of_problem(problem: &Problem) -> Self {
        if ["policy-denied", "target-on-hold"].contains(&problem.code.as_str()) {
            return Self::Denied;
        }
        match problem.status {
            400 | 405 | 411 | 413..=415 | 422 => Self::Invalid,
            401 | 403 => Self::NotPermitted,
            404 => Self::NotFound,
            408 | 429 | 500.. => Self::Unavailable,
            409 | 412 | 428 => Self::Conflict,
            _ => Self::Failed,
        }
    }

    /// The table of codes for `--help`.
    pub(crate) fn help() -> String {
        table(&Self::ALL.map(|exit| (exit as u8, exit.meaning())))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What `audit verify` says: it has exit codes of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Verdict {
    /// Everything that the bundle claims is proven.
    Proven = 0,
    /// Nothing was verified.
    NotVerified = 1,
    /// Something was changed.
    Tampered = 2,
    /// Something is missing.
    Incomplete = 3,
    /// The log's keys are not those that were given.
    KeyUnknown = 4,
}

impl Verdict {
    const ALL: [Self; 5] =
        [Self::Proven, Self::NotVerified, Self::Tampered, Self::Incomplete, Self::KeyUnknown];

    /// The name in answers for programs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::NotVerified => "not-verified",
            Self::Tampered => "tampered",
            Self::Incomplete => "incomplete",
            Self::KeyUnknown => "key-unknown",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Proven => "proven, as far as the answer says",
            Self::NotVerified => "nothing was verified: not readable, no bundle, no answer",
            Self::Tampered => "tampered: something was changed, moved or rewritten; or wrong arguments",
            Self::Incomplete => "incomplete: cut off, entries missing, or not related to what is remembered",
            Self::KeyUnknown => "no key that was given, or that one of them endorses, signed it",
        }
    }

    /// What a kind of fault comes to.
    pub(crate) fn of(class: Class) -> Self {
        match class {
            Class::Tampered => Self::Tampered,
            Class::Incomplete => Self::Incomplete,
            Class::KeyUnknown => Self::KeyUnknown,
            Class::Unreadable => Self::NotVerified,
        }
    }

    /// The table of codes for the command's help.
    pub(crate) fn help() -> String {
        table(&Self::ALL.map(|verdict| (verdict as u8, verdict.meaning())))
    }
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        Self::from(verdict as u8)
    }
}

/// What `audit reconcile` says: it has exit codes of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Reconciled {
    /// Every write has its entry, and every action its write.
    Whole = 0,
    /// Nothing was compared.
    NotCompared = 1,
    /// A write without entry, or an action without write.
    Unexplained = 2,
    /// What could be compared fits, and something is missing.
    Incomplete = 3,
}

impl Reconciled {
    const ALL: [Self; 4] = [Self::Whole, Self::NotCompared, Self::Unexplained, Self::Incomplete];

    /// The name in answers for programs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "reconciled",
            Self::NotCompared => "not-compared",
            Self::Unexplained => "unexplained",
            Self::Incomplete => "incomplete",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Whole => "reconciled: every write has its entry, and every action its write",
            Self::NotCompared => {
                "nothing was compared: a file cannot be read, the bundle is not what it claims, no answer"
            }
            Self::Unexplained => {
                "unexplained: a write without entry, or an action without write; or wrong arguments"
            }
            Self::Incomplete => {
                "incomplete: what could be compared fits, and the answer says what is missing"
            }
        }
    }

    /// The table of codes for the command's help.
    pub(crate) fn help() -> String {
        table(&Self::ALL.map(|end| (end as u8, end.meaning())))
    }
}

impl From<Reconciled> for ExitCode {
    fn from(end: Reconciled) -> Self {
        Self::from(end as u8)
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn every_state_of_an_action_has_its_exit_code() {
        let codes =
            ActionState::ALL.map(|state| (state.as_str(), Exit::of_state(state).map(|exit| exit as u8)));
        assert_eq!(
            codes,
            [
                ("awaiting-approval", None),
                ("queued", None),
                ("running", None),
                ("unknown", None),
                ("succeeded", Some(0)),
                ("failed", Some(1)),
                ("returned", Some(9)),
                ("denied", Some(3)),
                ("refused", Some(4)),
                ("cancelled", Some(1)),
                ("expired", Some(1)),
            ]
        );
        for state in ActionState::ALL {
            assert_eq!(Exit::of_state(state).is_some(), state.is_final(), "{state}");
        }
    }

    #[test]
    fn every_problem_has_its_exit_code() {
        for (status, code, expected) in [
            (400, "invalid", 2),
            (401, "signature-invalid", 5),
            (403, "forbidden", 5),
            (403, "policy-denied", 3),
            (403, "target-on-hold", 3),
            (404, "not-found", 6),
            (409, "nonce-replayed", 8),
            (412, "precondition-failed", 8),
            (413, "too-large", 2),
            (418, "teapot", 1),
            (422, "target-kind", 2),
            (428, "precondition-required", 8),
            (429, "throttled", 7),
            (500, "internal", 7),
            (503, "executor-unavailable", 7),
        ] {
            let problem = Problem::new(StatusCode::from_u16(status).unwrap(), code);
            assert_eq!(Exit::of_problem(&problem) as u8, expected, "{status} {code}");
        }
    }
}
