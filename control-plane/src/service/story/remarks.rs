//! What a story lacks, or has not come to yet.

use aegis_contract::ids::EntryId;

use super::{Beside, Step};
use crate::audit::Kind;

/// The stages of receipts after which nothing more is to come of an attempt.
const FINAL: [&str; 3] = ["finished", "refused", "closed"];

/// What can be said of a story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemarkCode {
    /// No entry says who asked, or that anything was decided.
    BeginningMissing,
    /// The last decision was DENY.
    Denied,
    /// People have not answered yet.
    ApprovalOpen,
    /// What was intended has not been ordered yet.
    IntentOpen,
    /// Another intent took the place of one.
    IntentSuperseded,
    /// It ended before what was intended was ordered.
    IntentNotOrdered,
    /// The executor has not said yet what became of an order.
    OrderOpen,
    /// It ended without the executor's word on an order.
    ReceiptMissing,
    /// It has no outcome yet.
    OutcomeOpen,
    /// An entry has no place in the log yet.
    NotInLogYet,
    /// A text was erased.
    TextErased,
    /// What an entry names is gone, or was changed.
    DocumentMissing,
    /// The database files an entry under this action that says something else.
    EntryMisfiled,
    /// There are more entries than are told.
    MoreEntries,
}

impl RemarkCode {
    /// The name shown to callers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BeginningMissing => "beginning-missing",
            Self::Denied => "denied",
            Self::ApprovalOpen => "approval-open",
            Self::IntentOpen => "intent-open",
            Self::IntentSuperseded => "intent-superseded",
            Self::IntentNotOrdered => "intent-not-ordered",
            Self::OrderOpen => "order-open",
            Self::ReceiptMissing => "receipt-missing",
            Self::OutcomeOpen => "outcome-open",
            Self::NotInLogYet => "not-in-log-yet",
            Self::TextErased => "text-erased",
            Self::DocumentMissing => "document-missing",
            Self::EntryMisfiled => "entry-misfiled",
            Self::MoreEntries => "more-entries",
        }
    }

    /// The same for people.
    pub fn message(self) -> &'static str {
        match self {
            Self::BeginningMissing => {
                "no entry says who asked and what was decided: the log's first part was taken away, or this is not \
                 all of it"
            }
            Self::Denied => "policy denied it; nothing was ordered on that decision",
            Self::ApprovalOpen => "people were asked to agree and not all of them have",
            Self::IntentOpen => "it is intended and not ordered yet",
            Self::IntentSuperseded => "a later intent took its place; it was never ordered",
            Self::IntentNotOrdered => "it was never ordered: the action ended before",
            Self::OrderOpen => "ordered; there is no final receipt of the executor yet",
            Self::ReceiptMissing => "the action ended without a final receipt of the executor for this order",
            Self::OutcomeOpen => "the action has no outcome yet",
            Self::NotInLogYet => "recorded, but without its place in the log yet: look again in a moment",
            Self::TextErased => "what a person wrote here was erased; the entry keeps its keyed hash",
            Self::DocumentMissing => {
                "what this entry names by its digest is gone, or was changed: only the entry is evidence"
            }
            Self::EntryMisfiled => {
                "the database files an entry under this action that says something else; it is left out"
            }
            Self::MoreEntries => {
                "there are more entries; `audit export` with the action's id has all of them"
            }
        }
    }
}

/// Something to know about a story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remark {
    /// What.
    pub code: RemarkCode,
    /// About which entry, if it is about one.
    pub entry_id: Option<EntryId>,
}

impl Remark {
    pub(super) fn new(code: RemarkCode, entry_id: Option<EntryId>) -> Self {
        Self { code, entry_id }
    }
}

/// Everything to know about a story of these steps.
pub(super) fn of(steps: &[Step]) -> Vec<Remark> {
    let mut found: Vec<(RemarkCode, Option<&Step>)> = Vec::new();
    let last = |kind: Kind| steps.iter().rposition(|step| step.is(kind));
    let ended = last(Kind::ActionEnded).is_some();
    if last(Kind::ActionRequested).is_none() || last(Kind::DecisionMade).is_none() {
        found.push((RemarkCode::BeginningMissing, None));
    }
    let decision = last(Kind::DecisionMade).map(|place| &steps[place]);
    if let Some(decision) = decision.filter(|decision| decision.entry.data["decision"] == "DENY") {
        found.push((RemarkCode::Denied, Some(decision)));
    }
    if let Some(asked) = last(Kind::ApprovalRequested)
        && !ended
        && !steps[asked..].iter().any(|step| step.is(Kind::ApprovalVoided) || step.is(Kind::ActionIntent))
    {
        found.push((RemarkCode::ApprovalOpen, Some(&steps[asked])));
    }
    for (place, step) in steps.iter().enumerate() {
        let remark = match Kind::parse(&step.entry.kind) {
            Some(Kind::ActionIntent) => of_intent(steps, place, ended),
            Some(Kind::OrderSigned) => of_order(steps, step, ended),
            _ => None,
        };
        found.extend(remark.map(|code| (code, Some(step))));
        found.extend(of_beside(step).map(|code| (code, Some(step))));
        if step.index.is_none() {
            found.push((RemarkCode::NotInLogYet, Some(step)));
        }
    }
    if !ended {
        found.push((RemarkCode::OutcomeOpen, None));
    }
    found.into_iter().map(|(code, step)| Remark::new(code, step.map(|step| step.entry.id))).collect()
}

fn of_intent(steps: &[Step], place: usize, ended: bool) -> Option<RemarkCode> {
    let id = steps[place].entry.id.to_string();
    let is_ordered = |step: &Step| step.is(Kind::OrderSigned) && step.entry.data["intentEntryId"] == id;
    if steps.iter().any(is_ordered) {
        return None;
    }
    Some(if steps[place + 1..].iter().any(|step| step.is(Kind::ActionIntent)) {
        RemarkCode::IntentSuperseded
    } else if ended {
        RemarkCode::IntentNotOrdered
    } else {
        RemarkCode::IntentOpen
    })
}

fn of_order(steps: &[Step], order: &Step, ended: bool) -> Option<RemarkCode> {
    let answers = |step: &Step| {
        let data = &step.entry.data;
        step.is(Kind::ReceiptReceived)
            && data["attempt"] == order.entry.data["attempt"]
            && data["stage"].as_str().is_some_and(|stage| FINAL.contains(&stage))
    };
    if steps.iter().any(answers) {
        return None;
    }
    Some(if ended { RemarkCode::ReceiptMissing } else { RemarkCode::OrderOpen })
}

fn of_beside(step: &Step) -> Option<RemarkCode> {
    match step.beside.as_ref()? {
        Beside::AsRecorded(_) => None,
        Beside::Erased => Some(RemarkCode::TextErased),
        Beside::Missing => Some(RemarkCode::DocumentMissing),
    }
}

#[cfg(test)]
mod tests {
    use aegis_contract::intent::{ENTRY_SCHEMA, Entry};
    use jiff::Timestamp;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    fn step(number: u128, kind: Kind, data: Value) -> Step {
        let entry = Entry {
            schema: ENTRY_SCHEMA.to_owned(),
            id: EntryId(Uuid::from_u128(number)),
            kind: kind.as_str().to_owned(),
            at: Timestamp::UNIX_EPOCH,
            principal: "engine:dispatch".to_owned(),
            action_id: None,
            request_id: None,
            data,
        };
        Step { index: Some(0), entry, beside: None }
    }

    fn intent(number: u128) -> Step {
        step(number, Kind::ActionIntent, json!({}))
    }

    fn order(number: u128, intent: u128, attempt: u32) -> Step {
        let data = json!({ "attempt": attempt, "intentEntryId": Uuid::from_u128(intent) });
        step(number, Kind::OrderSigned, data)
    }

    fn receipt(attempt: u32, stage: &str) -> Step {
        step(90, Kind::ReceiptReceived, json!({ "attempt": attempt, "stage": stage }))
    }

    /// The remarks on an action that was asked for and decided, with these steps then.
    fn told(decision: &str, steps: &[Step]) -> Vec<(&'static str, u128)> {
        let mut all = vec![
            step(1, Kind::ActionRequested, json!({})),
            step(2, Kind::DecisionMade, json!({ "decision": decision })),
        ];
        all.extend_from_slice(steps);
        let name = |remark: Remark| (remark.code.as_str(), remark.entry_id.map_or(0, |id| id.0.as_u128()));
        of(&all).into_iter().map(name).collect()
    }

    fn end() -> Step {
        step(99, Kind::ActionEnded, json!({}))
    }

    #[test]
    fn a_story_says_how_far_it_came() {
        let asked = step(3, Kind::ApprovalRequested, json!({}));
        assert_eq!(told("DENY", &[end()]), [("denied", 2)]);
        assert_eq!(told("ALLOW", std::slice::from_ref(&asked)), [("approval-open", 3), ("outcome-open", 0)]);
        assert_eq!(told("ALLOW", &[asked, intent(4)]), [("intent-open", 4), ("outcome-open", 0)]);
        let ordered = [intent(4), order(5, 4, 1), receipt(1, "running")];
        assert_eq!(told("ALLOW", &ordered), [("order-open", 5), ("outcome-open", 0)]);
        assert_eq!(told("ALLOW", &[intent(4), order(5, 4, 1), receipt(1, "finished"), end()]), []);
    }

    #[test]
    fn what_never_came_of_an_intent_or_an_order_is_told() {
        let superseded = [intent(4), intent(5), order(6, 5, 1), receipt(1, "closed")];
        let again = [intent(7), order(8, 7, 2), end()];
        assert_eq!(
            told("ALLOW", &[superseded.as_slice(), &again].concat()),
            [("intent-superseded", 4), ("receipt-missing", 8)]
        );
        assert_eq!(told("ALLOW", &[intent(4), end()]), [("intent-not-ordered", 4)]);
    }

    #[test]
    fn what_is_not_there_is_told() {
        assert_eq!(of(&[end()]), [Remark::new(RemarkCode::BeginningMissing, None)]);
        let mut waiting = intent(4);
        waiting.index = None;
        let mut erased = step(5, Kind::ReviewDone, json!({}));
        erased.beside = Some(Beside::Erased);
        let mut gone = step(6, Kind::DecisionMade, json!({}));
        gone.beside = Some(Beside::Missing);
        assert_eq!(
            told("ALLOW", &[waiting, erased, gone, end()]),
            [("intent-not-ordered", 4), ("not-in-log-yet", 4), ("text-erased", 5), ("document-missing", 6)]
        );
    }
}
