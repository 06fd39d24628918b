//! Known bugs, one of which may be planted in the nodes, to see that the simulator finds it.
//!
//! `planted!(Bug => statement)` stands where a bug goes. Only builds with the feature `planted-bugs` have it; in
//! any other, nothing is left of it.

/// Does something wrong if this bug is planted.
#[cfg(not(feature = "planted-bugs"))]
macro_rules! planted {
    ($bug:ident => $wrong:expr) => {};
}

/// Does something wrong if this bug is planted.
#[cfg(feature = "planted-bugs")]
macro_rules! planted {
    ($bug:ident => $wrong:expr) => {
        if $crate::planted::is($crate::planted::Bug::$bug) {
            $wrong
        }
    };
}

pub(crate) use planted;

#[cfg(feature = "planted-bugs")]
pub use self::bugs::{Bug, is, plant};

#[cfg(feature = "planted-bugs")]
mod bugs {
    use std::cell::Cell;

    use clap::ValueEnum;

    /// A bug that somebody could have made.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
    pub enum Bug {
        /// A batch is sent and never again
        ForgetRetry,
        /// A stale acknowledgement frees whatever is in the slot
        StaleAckFrees,
        /// Some batches are resent for ever, acknowledged or not
        ResendAcked,
        /// Generations wrap around one too early
        WrapOffByOne,
        /// A batch of 65
        BatchOverCap,
        /// A value is lost between a full batch and the next one
        DropOldest,
        /// An overflowing queue drops values and forgets that it did
        OverflowForgotten,
        /// A batch from the pool still holds its former values
        PoolUncleared,
        /// A wake-up is lost when another one is pending
        LostWakeUp,
        /// A delta is acknowledged at once and taken up with the next one
        AckBeforeInsert,
        /// A delta is acknowledged whole and half of it taken up
        AckHalf,
        /// Acknowledgements name the next generation
        AckOffByOne,
        /// Values do not travel on to the last of the peers
        LastPeerSkipped,
        /// A node takes up a value that nobody sent
        ForgedValue,
        /// A flush waits forty times too long for the next one
        LazyFlush,
        /// Some acknowledgements are acknowledged
        AckOfAck,
        /// Some broadcasts are not answered
        ReplyForgotten,
        /// Some reads are refused
        ReadRefused,
        /// Half a message is printed now and then
        GarbledLine,
        /// A read leaves a value out now and then
        ReadLeavesOut,
        /// A read shows a value twice now and then
        ReadRepeats,
        /// A node that has taken another hub never goes back
        HubNeverReturns,
        /// A repair that brings much is waited for for ever
        FetchForGood,
        /// A peer that went down is never tried again
        DownForGood,
        /// A fingerprint ignores some values
        FingerprintIgnores,
        /// A repair ends when the peer asks for what it lacks
        RepairOneSided,
        /// A peer's next life is taken for the former one
        RebirthUnnoticed,
        /// What a peer's former life acknowledged counts for its next one
        AckOfFormerLife,
        /// A node that is cut off from its hub takes no other
        NoFailover,
        /// A node that can't keep to the plan doesn't look at other nodes
        NeverExplores,
        /// A node that can't keep to the plan looks at others all the time
        ExploresAllTheTime,
        /// A node that has any parent thinks that it is in the planned hub's tree
        RootTakenForGranted,
        /// A hub that can't reach a child doesn't ask others to
        ChildGivenUp,
        /// A repair takes sets of the same size for equal
        RepairByCount,
        /// A repair that is complete goes on
        RepairWithoutEnd,
        /// Of what is to be passed on, only the first batch says so
        RelayOnce,
        /// A delta says that the oldest one in flight is settled
        BaseOffByOne,
        /// Simple design: what waits is not sent when the batch before it is acknowledged
        SimpleTimerForgotten,
        /// Simple design: any acknowledgement is taken for that of the batch in flight
        SimpleAckOfAny,
    }

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants a bug in every node that this thread runs, in place of the one there is.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    /// Whether this bug is planted.
    #[must_use]
    pub fn is(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}
