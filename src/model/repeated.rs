//! Parts of findings that repeat: the same cause stands in thousands of them, word for word.
//!
//! A renderer may turn such a part into JSON once and write it again from then on. That halves the time of a large
//! report, since every byte of a string is checked before it is written.

use std::cell::RefCell;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::{Alternative, Cause};

/// How many parts are remembered. Most reports have fewer different causes.
const REMEMBERED: usize = 32;

/// Turns a part of a finding into JSON, laid out for its place in the document.
pub type Render<T> = fn(&T) -> serde_json::Result<Box<RawValue>>;

/// Parts that were rendered, with their JSON.
struct Rendered<T> {
    render: Render<T>,
    parts: Vec<(T, Box<RawValue>)>,
    /// The one that the next new part replaces, once there are [`REMEMBERED`].
    oldest: usize,
}

impl<T: Clone + PartialEq> Rendered<T> {
    fn new(render: Render<T>) -> Rendered<T> {
        Rendered { render, parts: Vec::new(), oldest: 0 }
    }

    fn json(&mut self, part: &T) -> serde_json::Result<&RawValue> {
        let place = match self.parts.iter().position(|(known, _)| known == part) {
            Some(place) => place,
            None => self.remember(part)?,
        };
        Ok(&self.parts[place].1)
    }

    fn remember(&mut self, part: &T) -> serde_json::Result<usize> {
        let rendered = (part.clone(), (self.render)(part)?);
        if self.parts.len() < REMEMBERED {
            self.parts.push(rendered);
            return Ok(self.parts.len() - 1);
        }
        let place = self.oldest;
        self.parts[place] = rendered;
        self.oldest = (place + 1) % REMEMBERED;
        Ok(place)
    }
}

thread_local! {
    static CAUSES: RefCell<Option<Rendered<Cause>>> = const { RefCell::new(None) };
    static ALTERNATIVES: RefCell<Option<Rendered<Vec<Alternative>>>> = const { RefCell::new(None) };
}

/// Runs `write`. While it runs, causes and alternatives that this thread serializes are rendered by these functions, each
/// distinct one once.
pub fn rendered_by<R>(
    cause: Render<Cause>,
    alternatives: Render<Vec<Alternative>>,
    write: impl FnOnce() -> R,
) -> R {
    /// Forgets them, also when `write` panics.
    struct Forget;
    impl Drop for Forget {
        fn drop(&mut self) {
            CAUSES.set(None);
            ALTERNATIVES.set(None);
        }
    }
    let _forget = Forget;
    CAUSES.set(Some(Rendered::new(cause)));
    ALTERNATIVES.set(Some(Rendered::new(alternatives)));
    write()
}

/// Serializes the cause of a finding.
pub(super) fn cause<S: Serializer>(cause: &Cause, serializer: S) -> Result<S::Ok, S::Error> {
    CAUSES.with_borrow_mut(|known| part(known.as_mut(), cause, serializer))
}

/// Serializes the alternatives of a finding.
pub(super) fn alternatives<S: Serializer>(list: &Vec<Alternative>, serializer: S) -> Result<S::Ok, S::Error> {
    ALTERNATIVES.with_borrow_mut(|known| part(known.as_mut(), list, serializer))
}

fn part<T: Serialize + Clone + PartialEq, S: Serializer>(
    known: Option<&mut Rendered<T>>,
    part: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match known {
        Some(known) => known.json(part).map_err(serde::ser::Error::custom)?.serialize(serializer),
        None => part.serialize(serializer),
    }
}
