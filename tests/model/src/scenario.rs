//! How much of the world is explored: everything that would otherwise be endless has a number here.

use crate::state::REPLICAS;

/// The bounds of one exploration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Actions on the one target: 1 or 2.
    pub actions: usize,
    /// Attempts each of them may have: 1 or 2.
    pub attempts_max: usize,
    /// Edits of the object by people or controllers.
    pub edits: u8,
    /// Restores of the ledger from a backup.
    pub restores: u8,
    /// Whether the backup is put back as files, so that the ledger cannot tell: to before the action, when
    /// all orders' time is over, and with the loss of a row that a receipt had named before.
    pub put_back: bool,
    /// Executor replicas: 1 or 2. One alone still crashes, stalls, and takes over from itself.
    pub replicas: usize,
    /// Whether the clock of the second executor replica is a tick late.
    pub clocks_differ: bool,
    /// Whether the executor may patch the object's own annotation; it may not patch a pod.
    pub fenceable: bool,
    /// Whether states that can only go on alike count as one. Without, there are many times more.
    pub merged: bool,
}

impl Scenario {
    /// Two attempts of one action.
    pub const TWO_ATTEMPTS: Self = Self {
        actions: 1,
        attempts_max: 2,
        edits: 2,
        restores: 1,
        put_back: false,
        replicas: REPLICAS,
        clocks_differ: true,
        fenceable: true,
        merged: true,
    };
    /// Two actions on one target.
    pub const TWO_ACTIONS: Self = Self {
        actions: 2,
        attempts_max: 1,
        edits: 1,
        restores: 0,
        put_back: false,
        replicas: REPLICAS,
        clocks_differ: false,
        fenceable: true,
        merged: true,
    };
}

/// Last tick at which a queued action may be claimed; an order is in time during the tick in which it
/// was signed.
pub(crate) const DEADLINE: u8 = 1;
impl Scenario {
    /// Ticks from an order's `notAfter` until its watch is over by every clock.
    pub(crate) fn watch(&self) -> u8 {
        1 + u8::from(self.clocks_differ)
    }

    /// The last tick: the watch of an attempt signed at the deadline is over.
    pub(crate) fn last_tick(&self) -> u8 {
        DEADLINE + self.watch()
    }
}
