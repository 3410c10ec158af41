//! Known bugs of lock libraries, to be let loose on purpose: what shows that the tests of faults can find them.
//!
//! Without `--cfg verrou_sabotage` every question here is answered with no at compile time, and nothing is left of it.
//! With it, the variable `VERROU_SABOTAGE` names one of them. `./test.sh sabotage` runs the fault matrix against each.

/// A bug, and where others had it; the marks are those of the research on failures (B4, C8, ...).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(all(verrou_sabotage, feature = "sqlite")),
    allow(
        dead_code,
        reason = "some are asked for with the cfg only, some by that driver"
    )
)]
pub(crate) enum Bug {
    /// A release frees the key whoever holds it (D1).
    ReleaseWithoutOwner,
    /// The lease counts from the answer, not from before the request (A2).
    DeadlineFromReply,
    /// A yes that comes after the deadline makes a lost lease held again (C4).
    RenewalRevives,
    /// A renewal that was on its way when its lock was released takes the key again (C2).
    RenewalAfterRelease,
    /// A failure of the store is taken for a busy key (B7).
    ErrorAsBusy,
    /// A busy key is told as a failure of the store (B7).
    BusyAsError,
    /// What a dropped acquire wins is forgotten (B4).
    CancelledAcquireForgotten,
    /// Tokens begin again when the store has lost its data (F2).
    TokenWithoutFloor,
    /// Only a timer ends a lease, nobody looks at the clock (C8).
    HeldByTimer,
    /// Keys that differ by case are one (I2).
    KeysFolded,
    /// The client's wall clock decides about expiry (A3).
    ClientClock,
    /// Several keys: those won so far are kept when the acquire is given up (H2).
    PartialLeftBehind,
    /// The place of a cancelled waiter at the head of the queue stays taken (E7).
    HeadLostOnCancel,
    /// Without a wake-up a waiter never asks again (E6).
    HintNeeded,
    /// An acquire without an answer is taken for a yes (B1).
    UnknownAsGranted,
    /// The store is told a longer lease than the caller wants (G4).
    LeaseTooLong,
}

impl Bug {
    #[cfg(verrou_sabotage)]
    fn name(self) -> &'static str {
        match self {
            Self::ReleaseWithoutOwner => "release-without-owner",
            Self::DeadlineFromReply => "deadline-from-reply",
            Self::RenewalRevives => "renewal-revives",
            Self::RenewalAfterRelease => "renewal-after-release",
            Self::ErrorAsBusy => "error-as-busy",
            Self::BusyAsError => "busy-as-error",
            Self::CancelledAcquireForgotten => "cancelled-acquire-forgotten",
            Self::TokenWithoutFloor => "token-without-floor",
            Self::HeldByTimer => "held-by-timer",
            Self::KeysFolded => "keys-folded",
            Self::ClientClock => "client-clock",
            Self::PartialLeftBehind => "partial-left-behind",
            Self::HeadLostOnCancel => "head-lost-on-cancel",
            Self::HintNeeded => "hint-needed",
            Self::UnknownAsGranted => "unknown-as-granted",
            Self::LeaseTooLong => "lease-too-long",
        }
    }

    /// Whether it is loose.
    #[cfg(verrou_sabotage)]
    pub(crate) fn is_loose(self) -> bool {
        static CHOSEN: std::sync::LazyLock<Option<String>> =
            std::sync::LazyLock::new(|| std::env::var("VERROU_SABOTAGE").ok());
        CHOSEN.as_deref() == Some(self.name())
    }

    /// Never.
    #[cfg(not(verrou_sabotage))]
    #[inline(always)]
    pub(crate) const fn is_loose(self) -> bool {
        false
    }
}
