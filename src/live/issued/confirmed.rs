//! A finding that the kernel has confirmed stands: later knowledge may add to it, but does not overrule it.

use std::collections::HashSet;

use super::{Backing, IssuedChange, IssuedFindings, IssuedKey};
use crate::decode::segment::PacketId;
use crate::detect::Draft;
use crate::detect::registry;
use crate::detect::spec::Property;
use crate::live::witness::RemainingFindings;
use crate::model::Kind;

/// The results of the detectors and of the kernel at one moment.
pub(super) struct LookResults {
    keys: HashSet<IssuedKey>,
    /// The drafts that the kernel confirms now.
    confirmed: HashSet<IssuedKey>,
    /// Connections whose handshake the kernel confirms now, with its outcome.
    explained: HashSet<PacketId>,
}

impl LookResults {
    pub(super) fn of(judged: &RemainingFindings) -> LookResults {
        let keys = judged.drafts.iter().map(|(draft, _)| IssuedKey::of(draft)).collect();
        let confirmed: HashSet<IssuedKey> =
            judged.confirmed.iter().map(|place| IssuedKey::from_parts(*place)).collect();
        let explained = confirmed
            .iter()
            .filter_map(|key| match key {
                IssuedKey::Connection(connection, kind) if explains_set_up(*kind) => Some(*connection),
                _ => None,
            })
            .collect();
        LookResults { keys, confirmed, explained }
    }

    /// Whether the kernel confirms this finding now.
    pub(super) fn is_confirmed(&self, key: IssuedKey) -> bool {
        self.confirmed.contains(&key)
    }

    /// The evidence that this finding rests on now.
    pub(super) fn backing(&self, key: IssuedKey) -> Backing {
        if self.is_confirmed(key) { Backing::Kernel } else { Backing::Packets }
    }

    /// Whether the kernel now confirms another finding of the same connection.
    pub(super) fn replaces(&self, key: IssuedKey) -> bool {
        key.connection().is_some_and(|connection| self.explained.contains(&connection))
    }
}

/// Whether a kind describes how a connection was set up, or why it was not: a connection has only one of these.
fn explains_set_up(kind: Kind) -> bool {
    let spec = registry::spec(kind);
    spec.has(Property::ExplainsHandshake) || spec.has(Property::PreventsSetUp)
}

impl IssuedFindings {
    /// Whether the kernel has confirmed this finding before.
    pub(in crate::live) fn is_confirmed(&self, draft: &Draft) -> bool {
        let key = IssuedKey::of(draft);
        self.standing(key).contains(&key)
    }

    /// Whether an earlier confirmed finding on the same connection overrules a draft that the kernel does not confirm.
    /// The earlier one is the same finding, or one that turned into it.
    pub(super) fn is_overruled(
        &self,
        key: IssuedKey,
        round: &LookResults,
        present: &mut HashSet<IssuedKey>,
    ) -> bool {
        let standing = self.standing(key);
        let overruling = |other: &&IssuedKey| {
            **other == key
                || (!round.keys.contains(other)
                    && [**other, key].into_iter().all(|key| explains_set_up(key.kind())))
        };
        let Some(other) = standing.iter().find(overruling) else { return false };
        present.insert(*other);
        true
    }

    /// The findings confirmed by the kernel of the same connection or place.
    fn standing(&self, key: IssuedKey) -> Vec<IssuedKey> {
        let keys = match key.connection() {
            Some(connection) => self.by_connection.get(&connection).cloned().unwrap_or_default(),
            None => vec![key],
        };
        let by_kernel = |key: &IssuedKey| {
            let entry = self.index.get(key).and_then(|number| self.entries.get(number));
            entry.is_some_and(|entry| entry.backing == Backing::Kernel)
        };
        keys.into_iter().filter(by_kernel).collect()
    }

    /// Adds a note to confirmed findings of the same connection whose server has changed since.
    pub(super) fn add_change(
        &mut self,
        key: IssuedKey,
        changed: Option<&'static str>,
        changes: &mut Vec<IssuedChange>,
    ) {
        let Some(changed) = changed else { return };
        for key in self.standing(key) {
            let Some(&number) = self.index.get(&key) else { continue };
            let Some(entry) = self.entries.get_mut(&number) else { continue };
            entry.missing_since = None;
            if entry.since == Some(changed) || entry.over {
                continue;
            }
            entry.since = Some(changed);
            let reason = &mut entry.written.finding.certainty_reason;
            *reason = format!("{reason}; {changed}");
            entry.draft.reason = format!("{}; {changed}", entry.draft.reason);
            changes.push(IssuedChange::Updated(number, entry.was.take()));
        }
    }
}
