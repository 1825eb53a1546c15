//! The policy language: what may be done, by whom, to what, and when.
//!
//! ```text
//!  bytes ──document::parse──► Policy ──┐
//!            │                         ├─► PolicySet ──┐
//!            └─► Vec<Problem>   version┘               │
//!  who asks for what ─────────────────────► Question ──┼─ evaluate ──► Decision
//!  what the executor saw ─────────────────► Facts ─────┤             ALLOW | DENY
//!  the clock, read by the caller ─────────► now ───────┘             + deciding rules
//! ```
//!
//! The specification is `docs/policies.md`; its numbered rules (P1, P2, …) are cited where they are
//! implemented, and its examples are run as tests. [`evaluate()`] is a pure function: everything it
//! depends on is in its arguments, and in the zone data named by [`ZONE_DATA_VERSION`], so a
//! decision can be taken again years later. [`analyse`] says what holds for all questions at once. Nothing here does IO, reads a clock or draws a random
//! number.

pub mod analyse;
pub mod attribute;
mod case;
mod compiled;
mod decision;
pub mod document;
mod evaluate;
mod explain;
mod fingerprint;
mod network;
mod obligation;
pub mod operator;
mod part;
mod pattern;
mod principal;
mod problem;
mod question;
mod quorum;
mod replay;
mod resource;
mod room;
mod schema;
mod set;
pub mod shape;
mod suggest;
mod time;
mod trace;
mod usage;
mod zone;

pub use case::{
    Case, CaseResult, ComparisonCoverage, Difference, Expect, Report, RuleCoverage, failing_tests,
    run_more_tests, run_tests,
};
pub use compiled::{Answer, Bound, CompiledSet, Scratch};
pub use decision::{
    Cause, DecidingRule, Decision, Demanded, Effect, Indeterminate, Obligations, RuleEffect, RuleName,
    ShadowDecision,
};
pub use document::{Mode, Policy};
pub use evaluate::{FACTS_AGE_SECONDS_MAX, NO_RULE_ALLOWS, evaluate};
pub use explain::{Explanation, Miss, NearMiss, explain};
pub use fingerprint::Scalars;
pub use obligation::{Approval, Limit, Per, Review, Whole};
pub use part::Part;
pub use pattern::Glob;
pub use principal::{PRINCIPAL_KINDS, Principal, PrincipalError};
pub use problem::{PROBLEMS_MAX, Problem, code};
pub use question::{Question, QuestionError, RawQuestion};
pub use quorum::{Vacancy, vacancies};
pub use replay::{ChangeKind, Changes, Replay, ReplayReport, RuleChanges, Sample};
pub use resource::{Resource, ResourceError};
pub use room::{
    Counted, JudgedLimit, LimitKey, Verdict, count_replicas, count_unavailable, obstacle, room_at,
};
pub use schema::{Draft, schema};
pub use set::{DuplicatePolicy, PolicySet};
pub use trace::{Comparison, Judgement, RuleTrace, trace};
pub use usage::{Usage, Use};
pub use zone::ZONE_DATA_VERSION;
