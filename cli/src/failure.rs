//! What went wrong, for people: what happened, where, and what to do about it.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use aegis_contract::action::ActionState;
use aegis_contract::problem::Problem;
use serde_json::Value;

use crate::commands::approval::missing_in;
use crate::exit::Exit;
use crate::output::printable;

/// Ends a hint where a closer look is worth it.
pub(crate) const DOCTOR: &str = "; `aegisctl doctor` looks closer";

/// Why a command ended without doing what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) cause: Cause,
    /// What to do, besides what the cause itself suggests.
    notes: Vec<String>,
    /// How long the server wants to be left alone.
    pub(crate) retry_after: Option<Duration>,
}

/// The ways a command ends early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    /// The arguments or the environment do not make a request.
    #[error("{0}")]
    Usage(String),
    /// A file of the caller cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    File { path: PathBuf, source: io::Error },
    /// A file cannot be written.
    #[error("cannot write {}: {source}", .path.display())]
    Unwritten { path: PathBuf, source: io::Error },
    /// The control plane answered with a problem.
    #[error("{}", .0.detail.as_deref().unwrap_or(&.0.title))]
    Problem(Box<Problem>),
    /// No connection was made, so nothing was asked.
    #[error("cannot connect to {url}: {reason}")]
    Unreachable { url: String, reason: String },
    /// A request was sent and no whole answer came back.
    #[error("no answer from {url}: {reason}")]
    Unanswered { url: String, reason: String },
    /// The answer is none of the control plane's.
    #[error("{url} answered {status} with something that is not from Aegis: {text}")]
    NotUnderstood { url: String, status: u16, text: String },
    /// The action was not over in the time given.
    #[error("action {id} is still {state} after {seconds} s")]
    NotFinal { id: String, state: ActionState, seconds: u64 },
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

impl<C: Into<Cause>> From<C> for Failure {
    fn from(cause: C) -> Self {
        Self { cause: cause.into(), notes: Vec::new(), retry_after: None }
    }
}

impl Failure {
    /// The arguments or the environment do not make a request.
    pub(crate) fn usage(message: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Cause::Usage(message.into().to_string()).into()
    }

    /// The same with one more thing to do about it.
    pub(crate) fn with_note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// The problem the control plane answered, if that is the cause.
    pub(crate) fn problem(&self) -> Option<&Problem> {
        match &self.cause {
            Cause::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// Whether the control plane does not know who is asking.
    pub(crate) fn is_unauthenticated(&self) -> bool {
        self.is("unauthenticated")
    }

    /// Whether the control plane answered a problem of this code.
    pub(crate) fn is(&self, code: &str) -> bool {
        self.problem().is_some_and(|problem| problem.code == code)
    }

    /// Whether the same request may get another answer when it is sent again.
    pub(crate) fn is_passing(&self) -> bool {
        match &self.cause {
            Cause::Problem(problem) => {
                matches!(problem.status, 429 | 502..=504) || problem.code == "in-progress"
            }
            // A gateway in front of the control plane answers in its own words.
            Cause::NotUnderstood { status, .. } => matches!(status, 502..=504),
            Cause::Unreachable { .. } | Cause::Unanswered { .. } => true,
            Cause::Usage(_)
            | Cause::File { .. }
            | Cause::Unwritten { .. }
            | Cause::NotFinal { .. }
            | Cause::Output(_) => false,
        }
    }

    /// The exit code that tells this apart.
    pub(crate) fn exit(&self) -> Exit {
        match &self.cause {
            Cause::Usage(_) | Cause::File { .. } => Exit::Invalid,
            Cause::Problem(problem) => Exit::of_problem(problem),
            Cause::Unreachable { .. } | Cause::Unanswered { .. } | Cause::NotFinal { .. } => {
                Exit::Unavailable
            }
            Cause::NotUnderstood { status: 500.., .. } => Exit::Unavailable,
            // Whoever read standard output has seen enough.
            Cause::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Cause::NotUnderstood { .. } | Cause::Unwritten { .. } | Cause::Output(_) => Exit::Failed,
        }
    }

    /// The lines for standard error.
    pub(crate) fn lines(&self) -> Vec<String> {
        if self.exit() == Exit::Done {
            return Vec::new();
        }
        let mut lines = vec![format!("error: {}{}", self.cause, self.identity())];
        if let Some(problem) = self.problem() {
            for error in &problem.errors {
                let pointer = if error.pointer.is_empty() { "(whole body)" } else { &error.pointer };
                lines.push(format!("  {pointer}: {} ({})", error.message, error.code));
            }
        }
        lines.extend(self.hint().map(|hint| format!("hint: {hint}")));
        lines.extend(self.notes.iter().map(|note| format!("hint: {note}")));
        lines.iter().map(|line| printable(line)).collect()
    }

    /// Writes the lines to standard error.
    pub(crate) fn report(&self) {
        for line in self.lines() {
            eprintln!("{line}");
        }
    }

    fn identity(&self) -> String {
        let Some(problem) = self.problem() else { return String::new() };
        match &problem.request_id {
            Some(request_id) => format!(" ({}, request {request_id})", problem.code),
            None => format!(" ({})", problem.code),
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match &self.cause {
            Cause::Problem(problem) => return problem_hint(problem),
            Cause::Unreachable { .. } => {
                return Some(format!("is the control plane running, and is --url (AEGIS_URL) right{DOCTOR}"));
            }
            Cause::Unanswered { .. } => {
                "whether the request was carried out is not known; look before you repeat it"
            }
            Cause::NotUnderstood { .. } => {
                "--url (AEGIS_URL) may name another service, or a proxy answered in its place"
            }
            Cause::NotFinal { id, .. } => {
                return Some(format!("it goes on without you; `aegisctl action watch {id}` waits again"));
            }
            Cause::Usage(_) | Cause::File { .. } | Cause::Unwritten { .. } | Cause::Output(_) => return None,
        };
        Some(text.to_owned())
    }
}

fn problem_hint(problem: &Problem) -> Option<String> {
    let text_of = |name: &str| problem.extensions.get(name).and_then(|value| value.as_str());
    let text = match problem.code.as_str() {
        "signature-invalid" => {
            return Some(match text_of("serverTime") {
                Some(time) => format!("the server's clock says {time}; set yours, then try again"),
                None => {
                    format!(
                        "check key id and secret, and that --url is a name the server accepts as its own{DOCTOR}"
                    )
                }
            });
        }
        "unauthenticated" => {
            "sign in (`aegisctl login --keep`) or sign requests (AEGIS_KEY_ID and AEGIS_SECRET_FILE)"
        }
        "sign-in-failed" => "e-mail or password is wrong",
        "code-required" | "step-up-required" => {
            "give a code of your authenticator app, or a recovery code, with --code (AEGIS_CODE)"
        }
        "forbidden" => "`aegisctl whoami` shows as whom you ask and what you may do",
        "policy-denied" => return denial_hint(problem),
        "not-an-approver" => "`aegisctl approval list` shows what you are asked about",
        "not-awaiting-approval" => "`aegisctl action get` shows where it stands",
        "approval-changed" => "`aegisctl approval list` shows what is asked now",
        "executor-unavailable" => "nothing was recorded; `aegisctl doctor` shows the state of the clusters",
        "audit-unavailable" => "nothing was recorded; try again when the control plane's database is well",
        "clock-skewed" => "nothing was recorded; ask another replica, and let somebody set that one's clock",
        "database-full" => "nothing was recorded; the control plane's database needs room",
        "outcome-unknown" => "ask again with the same idempotency key to learn whether it was recorded",
        "nonce-replayed" => "this very request was sent before; sign it afresh",
        "idempotency-key-reused" => {
            "the key belongs to another request; use a new one to ask for something else"
        }
        "in-progress" => "the same request is being worked on; try again in a moment",
        "not-cancellable" => {
            "only an action that is not ordered yet can be cancelled; `aegisctl action watch` shows how it ends"
        }
        "not-closable" => "only an action in state `unknown` can be closed",
        "unknown-cluster" => {
            "`aegisctl doctor` lists the clusters; a target is [CLUSTER/]NAMESPACE/KIND/NAME"
        }
        "state-not-in-log" => {
            "the database was changed behind the audit log; nothing is done until that is cleared up"
        }
        "precondition-failed" => {
            "somebody stored another version in between; look at it, then apply yours again"
        }
        "not-found" => "check the name or id; what you may not see looks absent too",
        _ => match problem.status {
            429 => "wait a little, then try again",
            500.. => "the server's log has the cause under the request's id",
            _ => return None,
        },
    };
    Some(text.to_owned())
}

/// What would help against a denial, as far as the control plane says.
fn denial_hint(problem: &Problem) -> Option<String> {
    let member = |name: &str| problem.extensions.get(name);
    let mut hints = Vec::new();
    if let Some(miss) = member("nearestMiss").and_then(|miss| miss["message"].as_str()) {
        hints.push(miss.to_owned());
    }
    if let Some(seconds) = member("retryAfterSeconds").and_then(Value::as_u64) {
        hints.push(format!("the same would be allowed in {seconds} seconds, if nothing else changes"));
    }
    if let Some(people) = member("approvals").and_then(missing_in) {
        hints.push(format!("then people would have to agree: {people}"));
    }
    if let Some(id) = member("decisionId").and_then(Value::as_str) {
        hints.push(format!("`aegisctl decision get {id}` shows the deciding rules"));
    }
    (!hints.is_empty()).then(|| hints.join("; "))
}

#[cfg(test)]
mod tests {
    use aegis_contract::problem::FieldError;
    use http::StatusCode;

    use super::*;

    #[test]
    fn a_problem_is_told_with_its_code_its_request_its_fields_and_a_hint() {
        let mut problem =
            Problem::new(StatusCode::FORBIDDEN, "policy-denied").with_detail("system is off limits");
        problem.request_id = Some("r-1".to_owned());
        problem.extensions.insert("decisionId".to_owned(), "d-1".into());
        problem.errors = vec![FieldError {
            pointer: "/params/replicas".to_owned(),
            code: "out-of-range".to_owned(),
            message: "must be\u{1b}[2J 0 to 1000".to_owned(),
        }];
        let failure = Failure::from(Cause::Problem(Box::new(problem))).with_note("ask somebody");
        assert_eq!(
            failure.lines(),
            [
                "error: system is off limits (policy-denied, request r-1)",
                "  /params/replicas: must be\u{fffd}[2J 0 to 1000 (out-of-range)",
                "hint: `aegisctl decision get d-1` shows the deciding rules",
                "hint: ask somebody",
            ]
        );
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.exit(), failure.lines().len()), (Exit::Done, 0));
    }
}
