//! The second line of defence: a panic while something is handled becomes a value, so that it costs that and no more.
//!
//! Nothing here is expected to happen. Whoever contains a fault says in the report what was lost.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// How many [`contain`] this thread is inside.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Where the latest contained panic happened.
    static PLACE: RefCell<Option<Fault>> = const { RefCell::new(None) };
}

/// Where in this program something went wrong. It holds nothing of the packets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    file: String,
    line: u32,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Runs `work`; a panic in it becomes an error, and nothing is printed.
///
/// What `work` has changed stays changed, perhaps by half. The caller uses of it only what is sound in any state.
///
/// # Errors
/// Where it panicked.
pub fn contain<T>(work: impl FnOnce() -> T) -> Result<T, Fault> {
    install();
    DEPTH.set(DEPTH.get().saturating_add(1));
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    DEPTH.set(DEPTH.get().saturating_sub(1));
    done.map_err(|_| PLACE.take().unwrap_or_else(|| Fault { file: "an unknown place".to_owned(), line: 0 }))
}

/// Whether a panic of this thread is contained now: then nobody need be told at once.
pub fn is_contained() -> bool {
    DEPTH.get() > 0
}

/// Makes contained panics note their place in place of printing it; all others are told as before.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !is_contained() {
                return before(info);
            }
            let fault = info.location().map(|at| Fault { file: at.file().to_owned(), line: at.line() });
            PLACE.replace(fault);
        }));
    });
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
    fn the_innermost_containment_gets_the_panic() {
        let outer = contain(|| contain(|| panic!("as expected")).is_err());
        assert_eq!(outer, Ok(true));
    }
}
