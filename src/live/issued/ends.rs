//! Findings that may belong to either of two connections. Packets under another address form a connection of their own,
//! and which of the two is examined changes with time.

use std::collections::HashMap;

use crate::detect::spec::Property;
use crate::detect::{Draft, registry};
use crate::flow::key::Host;
use crate::model::Kind;
use crate::time::Timestamp;

/// Identifies such a finding: kind, client, server, beginning.
type FindingIdentity = (Kind, Option<Host>, Option<Host>, Timestamp);

/// The identity of a finding, if it is one of these.
fn ends(draft: &Draft) -> Option<FindingIdentity> {
    let is_seen_twice = registry::spec(draft.kind).has(Property::SeenUnderAnotherAddress);
    is_seen_twice.then(|| (draft.kind, draft.client, draft.server, draft.during().0))
}

/// The numbers of such findings.
#[derive(Default)]
pub(super) struct IdentityIndex(HashMap<FindingIdentity, u64>);

impl IdentityIndex {
    /// The number of the same finding, issued already for another connection.
    pub(super) fn number(&self, draft: &Draft) -> Option<u64> {
        self.0.get(&ends(draft)?).copied()
    }

    /// A finding is told.
    pub(super) fn note(&mut self, draft: &Draft, number: u64) {
        self.0.extend(ends(draft).map(|ends| (ends, number)));
    }

    /// More is known of a finding, so its identity has changed.
    pub(super) fn renew(&mut self, (was, is): (&Draft, &Draft), number: u64) {
        if ends(was) != ends(is) {
            self.forget(was, number);
            self.note(is, number);
        }
    }

    /// A finding is forgotten: no other one has its identity any more.
    pub(super) fn forget(&mut self, draft: &Draft, number: u64) {
        if let Some(ends) = ends(draft)
            && self.0.get(&ends) == Some(&number)
        {
            self.0.remove(&ends);
        }
    }
}
