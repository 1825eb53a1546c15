//! Everything that can differ between two moments: the control plane's records, the executor's
//! ledger, its workers, the writes under way, and the object.
//!
//! Kept small by what need not be told apart. A resourceVersion, a generation and a lease's fence
//! number never come back, so all that matters of one that was seen is whether it is still the
//! present one. Messages are never taken off the network: an order can be delivered once it is
//! signed and a receipt once it is said, any number of times or never, which makes losing, doubling
//! and delaying them one and the same thing.

/// Most executor replicas a scenario can have.
pub const REPLICAS: usize = 2;
/// Most actions and most attempts a scenario can have.
pub const ACTIONS_MAX: usize = 2;
/// Most attempts of one action.
pub const ATTEMPTS_MAX: usize = 2;
/// Ledgers there can have been: the first, and the one restored from it.
pub const LEDGERS: usize = 2;

/// One moment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    /// The time, in ticks.
    pub now: u8,
    /// Edits of the object still to come at most.
    pub edits_left: u8,
    /// Restores of the ledger still to come at most.
    pub restores_left: u8,
    /// Id of the executor's ledger.
    pub ledger: u8,
    /// Highest ledger row the control plane has seen; kept only where row numbers are all it has.
    pub rows_seen: u8,
    /// Whether it has seen a lower one since.
    pub ledger_regressed: bool,
    /// Whether the ledger's files were put back, and lack the row of an earlier action.
    pub put_back: bool,
    /// The object.
    pub object: Object,
    /// The actions, in order of arrival.
    pub actions: [Action; ACTIONS_MAX],
}

/// All that belongs to one action, wherever it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Action {
    /// Control plane: state of the action.
    pub stage: Stage,
    /// Control plane: the newest intent, for the next attempt.
    pub intent: Option<Intent>,
    /// Control plane: whether a first person has declared it unresolvable.
    pub close_requested: bool,
    /// Control plane: the attempts, with what was sent and what was answered.
    pub attempts: [Option<Attempt>; ATTEMPTS_MAX],
    /// Executor: the ledger rows of the action.
    pub story: Story,
    /// Executor: who carries it out, in each replica.
    pub workers: [Worker; REPLICAS],
    /// API server: what has been sent to it and may still take effect.
    pub requests: Requests,
    /// Writes that took effect. Nobody in the model knows this; the invariants do.
    pub landed: u8,
}

/// State of an action in the control plane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Waits to be claimed.
    #[default]
    Queued,
    /// An order exists.
    Running,
    /// The order's time is over, and nobody said what happened.
    Unknown,
    /// Over.
    Ended(Outcome),
}

/// How an action ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Written, and it helped.
    Succeeded,
    /// It did not help, or somebody else interfered.
    Failed,
    /// Not written: the executor would not.
    Refused,
    /// Not written: its time ran out.
    Expired,
    /// Not written: withdrawn.
    Cancelled,
    /// Two people gave up finding out.
    Unresolved,
}

/// What the decision saw of the object, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Intent {
    /// The fields that will be written.
    pub expected: Field,
    /// The ledger of the executor that was asked; of an order, the one it names.
    pub ledger: u8,
}

/// One stored byte string, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt {
    /// What it was signed for.
    pub intent: Intent,
    /// The last tick in which it may be begun.
    pub not_after: u8,
    /// Whether a `resolve` of it has been sent.
    pub resolving: bool,
    /// Whether the control plane has a receipt that the ledger holds it.
    pub accepted: bool,
    /// The receipts each ledger has signed, as a set of bits, one for each [`Receipt`].
    pub said: [u8; LEDGERS],
}

/// A stage reached, as the executor signs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Receipt {
    /// The ledger holds the attempt.
    Running,
    /// It never began and never will.
    Closed,
    /// It was refused for good.
    Refused,
    /// It has ended.
    Finished(Status),
}

/// How an accepted attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Written, and the target became as wanted.
    Succeeded,
    /// It did not become as wanted, or somebody else changed it.
    Failed,
    /// Not written: the object was not as the decision saw it.
    Refused,
    /// Not written: the time ran out.
    Expired,
    /// Nobody can know.
    Unknown,
}

impl Receipt {
    /// All there are.
    pub const ALL: [Self; 8] = [
        Self::Running,
        Self::Closed,
        Self::Refused,
        Self::Finished(Status::Succeeded),
        Self::Finished(Status::Failed),
        Self::Finished(Status::Refused),
        Self::Finished(Status::Expired),
        Self::Finished(Status::Unknown),
    ];

    /// Its place in a set.
    pub(crate) fn bit(self) -> u8 {
        match self {
            Self::Running => 1,
            Self::Closed => 1 << 1,
            Self::Refused => 1 << 2,
            Self::Finished(Status::Succeeded) => 1 << 3,
            Self::Finished(Status::Failed) => 1 << 4,
            Self::Finished(Status::Refused) => 1 << 5,
            Self::Finished(Status::Expired) => 1 << 6,
            Self::Finished(Status::Unknown) => 1 << 7,
        }
    }
}

/// The rows of one action in the executor's ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Story {
    /// The one row of each attempt.
    pub attempts: [Row; ATTEMPTS_MAX],
    /// The `acting` row.
    pub acting: Option<Acting>,
    /// The `finished` row.
    pub finished: Option<Status>,
    /// Of each attempt, whether its denial names a lower row than was known when it was signed.
    pub names_low_row: [bool; ATTEMPTS_MAX],
}

/// What the ledger holds of an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Row {
    /// Nothing.
    #[default]
    None,
    /// It is, or will be, carried out.
    Accepted,
    /// It never began and never will.
    Closed,
    /// The same, because its order was refused for good.
    Refused,
}

/// An `acting` row: the write may happen from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Acting {
    /// Whether the object still has the generation that the row names.
    pub same_generation: bool,
}

impl Story {
    /// The attempt that was accepted.
    pub(crate) fn accepted(&self) -> Option<usize> {
        self.attempts.iter().position(|row| *row == Row::Accepted)
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> u8 {
        let attempts = self.attempts.iter().filter(|row| **row != Row::None).count();
        let count = attempts + usize::from(self.acting.is_some()) + usize::from(self.finished.is_some());
        u8::try_from(count).expect("an action has four rows at most")
    }
}

/// A task of one executor replica; it may stall before any of its steps, for ever or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Worker {
    /// What it does next.
    pub next: Next,
    /// Whether the lease is still its own.
    pub holds: bool,
    /// Whether the resourceVersion it read is still the present one.
    pub fresh: bool,
    /// Whether the generation it read is still the present one.
    pub same_generation: bool,
    /// Whether a write may have been made, or may still arrive, without its knowing.
    pub in_doubt: bool,
}

/// The next step of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Next {
    /// Nothing to do.
    #[default]
    Idle,
    /// Reads the object for the first time and tests the preconditions.
    ReadFirst,
    /// Commits the `acting` row.
    RecordActing,
    /// Asks the ledger whether the lease is still its own, after it read the object again.
    ConfirmLease,
    /// Reads the clock once more.
    CheckTime,
    /// Sends the write.
    SendWrite,
    /// Waits for the answer to it.
    AwaitWrite,
    /// Reads the object again, past every cache, to find out whether the write happened.
    ReadAgain,
    /// Sends the fence.
    SendFence,
    /// Waits for the answer to it.
    AwaitFence,
    /// Reads the object, knowing that its fence took effect.
    ReadFenced,
    /// Watches what the write causes.
    Watch,
    /// Commits the `finished` row.
    Finish(Status),
}

/// Requests of one action that have left their worker and that the API server may still apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requests {
    /// Writes. With the resourceVersion test only one of them can take effect, so they count as one.
    pub writes: u8,
    /// Whether there is a fence.
    pub fence: bool,
}

/// The target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object {
    /// The fields that the actions write.
    pub field: Field,
}

/// A value of those fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// As at the beginning.
    Initial,
    /// As somebody made it by hand.
    ByHand,
    /// As the action of this index writes it.
    Of(usize),
}
