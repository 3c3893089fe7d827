//! The second line of defence: a panic while something is handled becomes a value, so that only that thing is lost.
//!
//! No fault is expected to happen. The code that contains a fault reports the loss.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, Once, PoisonError};

thread_local! {
    /// How many [`contain`] this thread is inside.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Whether a panic of this thread is reported by another one.
    static WORKS_FOR_ANOTHER: Cell<bool> = const { Cell::new(false) };
    /// Where the latest contained panic happened.
    static PLACE: RefCell<Option<Fault>> = const { RefCell::new(None) };
}

/// Where the latest panic of a thread that works for another one happened, see [`forward_panics`].
static ELSEWHERE: Mutex<Option<Fault>> = Mutex::new(None);

/// Where in this program something went wrong. It holds nothing of the packets.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Fault {
    file: String,
    line: u32,
}

impl Fault {
    /// The message where nothing more is known.
    pub fn told(&self) -> String {
        format!("this program failed (at {self}); please report this")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Runs `work`; a panic in it becomes an error, and nothing is printed.
///
/// Changes made by `work` stay, perhaps half done. The caller uses only values that are sound in any state.
///
/// # Errors
/// The place of the panic.
pub fn contain<T>(work: impl FnOnce() -> T) -> Result<T, Fault> {
    install();
    DEPTH.set(DEPTH.get().saturating_add(1));
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    DEPTH.set(DEPTH.get().saturating_sub(1));
    done.map_err(|panic| match panic.downcast::<Fault>() {
        Ok(fault) => *fault,
        Err(_) => {
            let elsewhere = || ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner).take();
            let place = PLACE.take().or_else(elsewhere);
            place.unwrap_or_else(|| Fault { file: "an unknown place".to_owned(), line: 0 })
        }
    })
}

/// `work`, wrapped for another thread so that a panic in it comes back to this thread.
pub fn on_thread<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let contained = is_contained();
    move || match contained {
        true => contain(work).unwrap_or_else(|fault| panic::resume_unwind(Box::new(fault))),
        false => work(),
    }
}

/// From now on a panic of this thread is contained in another one, to which it must come back.
pub fn forward_panics() {
    DEPTH.set(1);
    WORKS_FOR_ANOTHER.set(true);
}

/// Whether a panic of this thread is contained now: then it need not be reported at once.
pub fn is_contained() -> bool {
    DEPTH.get() > 0
}

/// Makes contained panics record their place instead of printing it; all others are printed as before.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !is_contained() {
                return before(info);
            }
            let fault = info.location().map(|at| Fault { file: at.file().to_owned(), line: at.line() });
            if WORKS_FOR_ANOTHER.get() && DEPTH.get() == 1 {
                ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&fault);
            }
            PLACE.replace(fault);
        }));
    });
}

/// Where tests make the program fail: at anything that concerns the host [`trap::host`] of a place. No packet can cause
/// this; only builds for tests have these places.
#[cfg(test)]
pub(crate) mod trap {
    use std::net::Ipv4Addr;

    use crate::flow::key::Host;
    use crate::model::Kind;

    /// A step of the work.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum FaultPlace {
        /// The detector of this kind.
        Detector(Kind),
        /// The effect of the capture as a whole on a finding.
        Weighing,
        /// A draft is written down.
        Writing,
        /// Findings become an incident.
        Grouping,
        /// Listeners are looked at.
        Listeners,
        /// Failed connections are counted.
        Failures,
        /// Settings are inferred.
        Settings,
        /// Findings are compared with counters.
        HostFacts,
        /// The two sides of a pair are compared.
        Pair,
        /// A watch reports its news.
        Live,
        /// An open connection is looked at.
        Open,
        /// The findings of a watch are put together.
        Look,
        /// The report of a watch is put together.
        Report,
    }

    /// The address at which the program fails. It is reserved for measurements (RFC 2544), and no other test uses it.
    pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 19, 255, 254);

    /// A client with this address and port makes the program fail at `place`.
    pub fn port(place: FaultPlace) -> u16 {
        match place {
            FaultPlace::Detector(kind) => 40_000 + kind as u16,
            FaultPlace::Weighing => 41_000,
            FaultPlace::Writing => 41_001,
            FaultPlace::Grouping => 41_002,
            FaultPlace::Listeners => 41_003,
            FaultPlace::Failures => 41_004,
            FaultPlace::Settings => 41_005,
            FaultPlace::HostFacts => 41_006,
            FaultPlace::Pair => 41_007,
            FaultPlace::Live => 41_008,
            FaultPlace::Open => 41_009,
            FaultPlace::Look => 41_010,
            FaultPlace::Report => 41_011,
        }
    }

    /// Fails if `host` is the one for that place.
    pub fn spring(place: FaultPlace, host: Option<Host>) {
        let fatal = host.is_some_and(|host| host.address.ip() == ADDRESS && host.port == port(place));
        assert!(!fatal, "{place:?}, as a test wants it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_place() {
        let fault = contain(|| panic!("as expected")).unwrap_err();
        assert!(fault.to_string().starts_with("src/fault.rs:"), "{fault}");
        assert_eq!(contain(|| 7), Ok(7));
        assert!(!is_contained());
    }

    #[test]
    fn a_panic_of_a_thread_that_works_for_this_one_has_its_place_too() {
        let fault = contain(|| {
            let work = on_thread(|| panic!("as expected"));
            let ended: std::thread::Result<()> = std::thread::spawn(work).join();
            ended.unwrap_or_else(|panic| panic::resume_unwind(panic));
        });
        assert!(fault.unwrap_err().to_string().starts_with("src/fault.rs:"));
    }

    #[test]
    fn the_innermost_containment_gets_the_panic() {
        let outer = contain(|| contain(|| panic!("as expected")).is_err());
        assert_eq!(outer, Ok(true));
    }
}
