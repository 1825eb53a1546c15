//! The rules that make the protocol safe, each of which can be taken away to see what it is for.

/// One rule. The numbers name the sections of the design that state it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// 6.1: at most one action of a target is `running` or `unknown`.
    OneWriterPerTarget,
    /// 6.1: a new attempt needs a `closed` that answers a `resolve`; silence is not enough.
    ResolveBeforeNewAttempt,
    /// 6.1: a `closed` row refuses the order when it arrives late after all.
    ClosedRefusesLateOrders,
    /// 6.1: an answer moves an action only for the attempt it names, and only if that is the newest.
    AnswersNameTheirAttempt,
    /// 6.1: `closed` counts only from the ledger that the attempt was signed for.
    ClosedOnlyFromItsLedger,
    /// 6.1: so does every other answer that says that nothing was written. A second line: it matters
    /// where a ledger takes up what was begun in another one.
    RefusalsOnlyFromItsLedger,
    /// 6.1: a ledger that was restored has another id. Without it, only a row number lower than one
    /// the control plane has seen can tell.
    RestoreChangesLedgerId,
    /// 6.1: a `closed` names the row the ledger had reached before the closing, so that the closing itself
    /// does not make up for rows that a ledger put back as files has lost.
    ClosedNamesRowBefore,
    /// 6.1: a `resolve` closes the attempt that it names before all earlier ones, for the same reason.
    NamedAttemptIsClosedFirst,
    /// 6.1: an order names the ledger it was signed for, and no other ledger accepts it.
    OrderNamesLedger,
    /// 7: what a restored ledger holds as accepted and unfinished ends as `unknown`: nobody begins it.
    RestoredStoriesEndInDoubt,
    /// 7: every ledger transaction tests the ledger's id, so that a worker from before a restore
    /// cannot go on in a ledger that has forgotten what happened since.
    WorkersKeepToTheirLedger,
    /// 6.1: an accepted attempt of which nothing is heard until its watch must be over is `unknown`.
    SilenceAfterTheWatchIsUnknown,
    /// 7: a ledger row is refused to a worker whose lease has another holder meanwhile.
    LeaseFence,
    /// 7: every write tests the object's resourceVersion.
    ResourceVersionTest,
    /// 7: after a crash the write is sent again only if the generation is still that of the `acting` row.
    GenerationTest,
    /// 7: the clock is read after the object, so that whatever the write tests was read in time.
    ClockAfterRead,
    /// 7: a write is said not to have happened only after the object was patched.
    Fence,
    /// 7: before it writes after having read again, a worker confirms its lease: whoever took it over
    /// may have fenced already, by a clock that is ahead.
    LeaseConfirmedAfterRead,
    /// 7: the object as written bears the mark of its action: nobody else's edit looks the same. Where
    /// there can be no such mark, "as wanted" is all that may be said, not "written".
    OwnMark,
}

/// The rules in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    removed: &'static [Rule],
}

impl Rules {
    /// All of them.
    pub const ALL: Self = Self { removed: &[] };

    /// All but these.
    pub const fn without(removed: &'static [Rule]) -> Self {
        Self { removed }
    }

    pub(crate) fn hold(self, rule: Rule) -> bool {
        !self.removed.contains(&rule)
    }
}
