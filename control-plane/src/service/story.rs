//! The story of one action: what is recorded of it, from the request to the outcome. It is put together from entries
//! alone. What stands beside the log is shown only where it is what an entry names by its digest or keyed hash, and
//! whatever else the database says of the action changes nothing.

mod beside;
mod remarks;

use aegis_contract::ids::{ActionId, EntryId};
use aegis_contract::intent::Entry;
use jiff::Timestamp;
use serde_json::{Value, json};

pub use beside::Beside;
pub use remarks::{Remark, RemarkCode};

use super::entries::note_reading;
use super::{Services, actions};
use crate::audit::Kind;
use crate::error::Error;
use crate::permission::Permission;
use crate::principal::Caller;
use crate::store::stories::{self, Placed};
use crate::store::{ANSWER_WITHIN, commit, log, within};

/// Most entries that are told: many times those of an action with many attempts.
const STEPS_MAX: i64 = 500;

/// One entry of an action.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its place in the log; none while it waits for one.
    pub index: Option<u64>,
    /// What is recorded.
    pub entry: Entry<Value>,
    /// What stands beside the log, if it names anything there.
    pub beside: Option<Beside>,
}

impl Step {
    fn is(&self, kind: Kind) -> bool {
        self.entry.kind == kind.as_str()
    }
}

/// How an action ended, as its entry says.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The final state.
    pub state: String,
    /// Stable: an outcome or a refusal code.
    pub code: String,
    /// For people.
    pub message: String,
    /// The entry.
    pub entry_id: EntryId,
    /// When.
    pub at: Timestamp,
}

/// All that is recorded of one action.
#[derive(Clone, Debug)]
pub struct Story {
    /// The action.
    pub action_id: ActionId,
    /// How it ended; none so far.
    pub outcome: Option<Ended>,
    /// Its entries in the order of the log.
    pub steps: Vec<Step>,
    /// What a reader must know besides.
    pub remarks: Vec<Remark>,
    /// Entries of the log under its newest checkpoint, which covers every step that has its place.
    pub checkpoint_size: Option<u64>,
}

/// Tells the story of an action to whoever may see the action. That it was read is an entry: one for each reader,
/// action and minute.
///
/// # Errors
/// `Forbidden`; `NotFound` when nothing is recorded, or the caller may not see the action.
pub async fn tell(services: &Services, caller: &Caller, id: ActionId) -> Result<Story, Error> {
    let sees_all = caller.may(Permission::ReadActions);
    if !sees_all {
        actions::find(services, caller, id).await?;
    }
    let (tx, story) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let placed = stories::entries(&mut tx, id, STEPS_MAX + 1).await?;
        if placed.is_empty() {
            return Err(Error::NotFound { what: "action" });
        }
        // Later than the entries: it covers every one of them that has its place.
        let newest = log::newest_checkpoint(&mut tx).await?;
        let (mut steps, mut remarks) = read(id, placed);
        beside::look(&mut tx, services, id, &mut steps).await?;
        note_reading(&mut tx, caller, json!({ "story": id })).await?;
        remarks.extend(remarks::of(&steps));
        if !sees_all {
            steps.iter_mut().for_each(hide);
        }
        let outcome = steps.iter().rev().find_map(ended);
        let checkpoint_size = newest.map(|newest| newest.size);
        Ok((tx, Story { action_id: id, outcome, steps, remarks, checkpoint_size }))
    })
    .await?;
    commit(tx, None).await?;
    Ok(story)
}

/// The entries that say of themselves that they belong to the action, and what is to be said of the others.
fn read(id: ActionId, placed: Vec<Placed>) -> (Vec<Step>, Vec<Remark>) {
    let (mut steps, mut remarks) = (Vec::with_capacity(placed.len()), Vec::new());
    for Placed { index, body } in placed {
        if steps.len() >= usize::try_from(STEPS_MAX).unwrap_or(usize::MAX) {
            remarks.push(Remark::new(RemarkCode::MoreEntries, None));
            break;
        }
        match serde_json::from_slice::<Entry<Value>>(&body) {
            Ok(entry) if entry.action_id == Some(id) => steps.push(Step { index, entry, beside: None }),
            read => remarks.push(Remark::new(RemarkCode::EntryMisfiled, read.ok().map(|entry| entry.id))),
        }
    }
    (steps, remarks)
}

fn ended(step: &Step) -> Option<Ended> {
    let member = |name: &str| Some(step.entry.data.get(name)?.as_str()?.to_owned());
    step.is(Kind::ActionEnded).then_some(())?;
    Some(Ended {
        state: member("state")?,
        code: member("code")?,
        message: member("message")?,
        entry_id: step.entry.id,
        at: step.entry.at,
    })
}

/// What whoever asked is not told: of policies in mode `shadow` (P32), and what reviewers wrote.
fn hide(step: &mut Step) {
    if step.is(Kind::ReviewDone) {
        step.beside = None;
    }
    if !step.is(Kind::DecisionMade) {
        return;
    }
    if let Some(divergences) = step.entry.data.get_mut("divergences").and_then(Value::as_array_mut) {
        divergences.retain(|divergence| divergence["mode"] != "shadow");
    }
    if let Some(Beside::AsRecorded(Value::Object(decision))) = &mut step.beside {
        decision.remove("shadow");
    }
}
