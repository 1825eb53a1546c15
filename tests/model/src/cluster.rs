//! The API server and the object: late writes, the resourceVersion test, edits by others.

use crate::rules::Rule;
use crate::state::{Field, Next, Requests, State};
use crate::{Protocol, Step};

/// What somebody else does to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Edit {
    /// Sets the fields that the actions write.
    Field(Field),
    /// Changes something else, such as the status: the generation stays.
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Changed {
    Spec,
    Metadata,
}

impl Protocol {
    pub(crate) fn cluster_steps(&self, state: &State, steps: &mut Vec<Step>) {
        for action in self.indices() {
            let of = &state.actions[action];
            if of.requests.writes > 0 {
                steps.push(Step::WriteLands { action, answered: None });
                answerable(state, action, Next::AwaitWrite)
                    .for_each(|replica| steps.push(Step::WriteLands { action, answered: Some(replica) }));
            }
            if of.requests.fence {
                steps.push(Step::FenceLands { action, answered: None });
                answerable(state, action, Next::AwaitFence)
                    .for_each(|replica| steps.push(Step::FenceLands { action, answered: Some(replica) }));
            }
        }
        if state.edits_left > 0 {
            let known = [Field::Initial, Field::ByHand];
            let written = self.indices().filter(|action| {
                // A rollback by hand brings back what an action wrote; only without its mark can
                // somebody write the same before it did.
                state.actions[*action].landed > 0 || !self.rules.hold(Rule::OwnMark)
            });
            let fields = known.into_iter().chain(written.map(Field::Of));
            steps.extend(
                fields
                    .filter(|field| *field != state.object.field)
                    .map(|field| Step::Edit(Edit::Field(field))),
            );
            steps.push(Step::Edit(Edit::Other));
        }
    }

    /// A write takes effect. Its sender may hear of it, or have crashed, or have given up waiting.
    pub(crate) fn write_lands(&self, state: &mut State, action: usize, answered: Option<usize>) {
        state.actions[action].requests.writes -= 1;
        state.actions[action].landed += 1;
        state.object.field = Field::Of(action);
        for (replica, worker) in state.actions[action].workers.iter_mut().enumerate() {
            if answered == Some(replica) {
                worker.proceed(Next::Watch);
            } else if worker.next == Next::AwaitWrite && worker.fresh {
                worker.in_doubt = true; // it may have been its own
                worker.proceed(Next::ReadAgain);
            }
        }
        self.object_changed(state, Changed::Spec);
    }

    pub(crate) fn fence_lands(&self, state: &mut State, action: usize, answered: Option<usize>) {
        state.actions[action].requests.fence = false;
        if let Some(replica) = answered {
            state.actions[action].workers[replica].proceed(Next::ReadFenced);
        }
        self.object_changed(state, Changed::Metadata);
    }

    pub(crate) fn edit(&self, state: &mut State, edit: Edit) {
        state.edits_left -= 1;
        match edit {
            Edit::Field(field) => {
                state.object.field = field;
                self.object_changed(state, Changed::Spec);
            }
            Edit::Other => self.object_changed(state, Changed::Metadata),
        }
    }

    /// The resourceVersion rises, and so every request that tests an older one is void.
    fn object_changed(&self, state: &mut State, changed: Changed) {
        for action in &mut state.actions {
            for worker in &mut action.workers {
                worker.fresh = false;
                worker.same_generation &= changed == Changed::Metadata;
            }
            if let Some(acting) = &mut action.story.acting {
                acting.same_generation &= changed == Changed::Metadata;
            }
            if self.rules.hold(Rule::ResourceVersionTest) {
                action.requests = Requests::default();
            }
        }
    }
}

/// Workers whose own request is the one that takes effect.
fn answerable(state: &State, action: usize, next: Next) -> impl Iterator<Item = usize> {
    let workers = state.actions[action].workers;
    (0..workers.len()).filter(move |replica| workers[*replica].next == next && workers[*replica].fresh)
}
