//! Findings that may come from either of two connections: packets under another address make a connection of their own, and
//! which of the two is examined changes with time.

use super::{Issued, Key};
use crate::detect::spec::Property;
use crate::detect::{Draft, registry};
use crate::flow::key::Host;
use crate::model::Kind;
use crate::time::Timestamp;

/// What makes such a finding the same: kind, client, server, beginning.
pub(super) type Ends = (Kind, Option<Host>, Option<Host>, Timestamp);

/// That of a finding, if it is one of these.
pub(super) fn ends(draft: &Draft) -> Option<Ends> {
    let is_seen_twice = registry::spec(draft.kind).has(Property::SeenUnderAnotherAddress);
    is_seen_twice.then(|| (draft.kind, draft.client, draft.server, draft.during().0))
}

impl Issued {
    /// The same finding, told already of another connection.
    pub(super) fn told_of_another(&self, draft: &Draft) -> Option<Key> {
        let number = self.by_ends.get(&ends(draft)?)?;
        self.entries.get(number).map(|entry| Key::of(&entry.draft))
    }

    /// A finding is forgotten: nothing else is told as the same.
    pub(super) fn forget_ends(&mut self, draft: &Draft, number: u64) {
        if let Some(ends) = ends(draft)
            && self.by_ends.get(&ends) == Some(&number)
        {
            self.by_ends.remove(&ends);
        }
    }
}
