//! The findings issued so far, their later changes, and the incidents that they form.
//!
//! A finding is issued when its draft has not changed for [`SETTLE`]: until then the next packets may change it. From
//! then on it is updated while more becomes known, and withdrawn if its draft is gone for as long. When the engine has
//! forgotten a connection, its finding stays as it was last. A finding that the kernel has confirmed stands: later
//! knowledge adds a sentence to it.

mod confirmed;
mod counted_findings;
mod ends;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use self::confirmed::LookResults;
use self::counted_findings::CountedFindings;
use self::ends::IdentityIndex;

use crate::decode::segment::PacketId;
use crate::detect::context::CaptureContext;
use crate::detect::{Draft, FoundDraft};
use crate::diagnose::incident;
use crate::diagnose::write::{self, Written};
use crate::engine::rolling::CurrentResult;
use crate::flow::key::Host;
use crate::live::event::LiveEvent;
use crate::live::witness::{RemainingFindings, Unheard};
use crate::model::{Incident, Kind, Vantage};
use crate::time::{Span, Timestamp};

/// How long a draft must stay unchanged before it is issued, and be gone before its finding is withdrawn.
pub const SETTLE: Span = Span::millis(300);
/// The same where the kernel confirms it.
const SETTLE_CONFIRMED: Span = Span::millis(100);
/// The same when the host's counters neither confirm nor exclude the finding. The kernel's statements on single packets
/// come by then ([`crate::kernel::join::PATIENCE`]).
const SETTLE_HEARD: Span = Span::millis(150);
/// How long a draft waits if the kernel does not answer.
const HEARING: Span = Span::secs(3);
/// An incident without a new finding for this long has ended: findings of one incident are no further apart.
const QUIET: Span = incident::APART;
/// An incident's growth is reported after this, then after twice that, and so on.
const FIRST_WAIT: Span = Span::secs(1);
const LONGEST_WAIT: Span = Span::secs(64);
/// How much is remembered.
#[derive(Clone, Copy, Debug)]
pub struct IssuedLimits {
    /// Findings in full.
    pub findings: usize,
    /// Findings that are listed of one kind at one listener.
    pub of_a_kind: usize,
    /// Incidents that are over.
    pub closed: usize,
}

impl Default for IssuedLimits {
    fn default() -> IssuedLimits {
        IssuedLimits { findings: 8_192, of_a_kind: 1_024, closed: 512 }
    }
}

/// Identifies a finding from one moment to the next.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum IssuedKey {
    /// Of one connection, by its first packet.
    Connection(PacketId, Kind),
    /// Of a listener as a whole.
    Place(Option<Host>, Kind),
}

impl IssuedKey {
    fn of(draft: &Draft) -> IssuedKey {
        IssuedKey::from_parts((draft.connection, draft.server, draft.kind))
    }

    fn from_parts((connection, server, kind): (Option<PacketId>, Option<Host>, Kind)) -> IssuedKey {
        match connection {
            Some(connection) => IssuedKey::Connection(connection, kind),
            None => IssuedKey::Place(server, kind),
        }
    }

    fn kind(self) -> Kind {
        match self {
            IssuedKey::Connection(_, kind) | IssuedKey::Place(_, kind) => kind,
        }
    }

    fn connection(self) -> Option<PacketId> {
        match self {
            IssuedKey::Connection(connection, _) => Some(connection),
            IssuedKey::Place(..) => None,
        }
    }
}

/// The evidence that a finding rests on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Backing {
    /// Packets.
    Packets,
    /// The kernel has confirmed it: it stands, whatever comes later.
    Kernel,
}

/// Kind and listener: incidents are formed by these.
type ListenerKey = (Kind, Option<Host>);

/// The same, with the listener as an incident names it.
type IncidentKey = (Kind, Option<SocketAddr>);

fn named((kind, host): ListenerKey) -> IncidentKey {
    (kind, host.map(Host::socket))
}

fn name_of(incident: &Incident) -> IncidentKey {
    (incident.kind, incident.listener)
}

/// A finding that was issued.
struct IssuedFinding {
    draft: Box<Draft>,
    written: Written,
    /// The incident that it belongs to; empty until it is known.
    incident: String,
    /// Whether that incident is over.
    over: bool,
    told_at: Timestamp,
    wait: Span,
    /// Whether more is known than was reported.
    grown: bool,
    /// The id under which it was issued, if that has changed since.
    was: Option<String>,
    missing_since: Option<Timestamp>,
    backing: Backing,
    /// The change at the server since then, if it was reported.
    since: Option<&'static str>,
}

impl IssuedFinding {
    /// The id under which it was reported last.
    fn told_as(self) -> String {
        self.was.unwrap_or(self.written.finding.id)
    }
}

/// Everything that was told.
#[derive(Default)]
pub struct IssuedFindings {
    bounds: IssuedLimits,
    /// In the order in which they were issued.
    entries: BTreeMap<u64, IssuedFinding>,
    next: u64,
    index: HashMap<IssuedKey, u64>,
    by_connection: HashMap<PacketId, Vec<IssuedKey>>,
    /// Findings that may come from either of two connections.
    by_ends: IdentityIndex,
    /// Drafts that have not stayed unchanged for long enough.
    pending: HashMap<IssuedKey, Timestamp>,
    in_place: HashMap<ListenerKey, usize>,
    /// By kind and by the name of the listener, as incidents have it.
    folded: BTreeMap<IncidentKey, CountedFindings>,
    counted: HashSet<IssuedKey>,
    open: Vec<Incident>,
    closed: VecDeque<Incident>,
    /// How many findings were forgotten for want of room.
    pub forgotten: u64,
    /// Whether the draft of some finding is gone, and that finding is not withdrawn yet.
    gone: bool,
    /// Incidents that have ended because the kernel says so, although their last finding is recent.
    ended: HashSet<String>,
}

/// A change found by a look, before it becomes an event.
enum IssuedChange {
    Opened(u64),
    Updated(u64, Option<String>),
    Withdrawn(String),
}

/// How long a draft has to stay unchanged before it is issued, where `settle` is the usual time.
fn patience(draft: &Draft, unheard: Option<Unheard>, round: &LookResults, settle: Span) -> Span {
    let key = IssuedKey::of(draft);
    match unheard {
        _ if settle == Span::ZERO => settle,
        Some(Unheard::Yet) => HEARING,
        // A finding from the drop counts of a listener's own socket never turns into another one.
        _ if key.connection().is_none() && round.is_confirmed(key) => Span::ZERO,
        _ if round.is_confirmed(key) => settle.min(SETTLE_CONFIRMED),
        None if draft.was_checked_by_host() => settle.min(SETTLE_HEARD),
        _ => settle,
    }
}

impl IssuedFindings {
    /// The same with other limits.
    pub fn within(bounds: IssuedLimits) -> IssuedFindings {
        IssuedFindings { bounds, ..IssuedFindings::default() }
    }

    /// Compares the current drafts with the issued findings, after the kernel was asked, and returns the changes. With
    /// `settle` zero, drafts are issued at once.
    pub fn compare(
        &mut self,
        judged: RemainingFindings,
        sight: &CurrentResult,
        now: Timestamp,
        settle: Span,
        paths: &[Arc<str>],
    ) -> Vec<LiveEvent> {
        let mut changes = Vec::new();
        let mut present: HashSet<IssuedKey> = HashSet::with_capacity(judged.drafts.len());
        let mut fresh = Vec::new();
        let round = LookResults::of(&judged);
        for (draft, vantage) in judged.drafts {
            let key = IssuedKey::of(&draft);
            if !round.is_confirmed(key) && self.is_overruled(key, &round, &mut present) {
                let changed = draft.server.and_then(|server| judged.changed.get(&server)).copied();
                self.add_change(key, changed, &mut changes);
                continue;
            }
            let unheard = key.connection().and_then(|connection| judged.unheard.get(&connection)).copied();
            if unheard.is_some() && self.is_judged(key, &mut present) {
                continue;
            }
            present.insert(key);
            if draft.during().1 < sight.since {
                continue;
            }
            if self.begins_anew(key, &draft) {
                self.unlink(key);
            }
            match self.index.get(&key) {
                Some(&number) => {
                    if let Some(entry) = self.entries.get_mut(&number) {
                        entry.backing = round.backing(key);
                    }
                    self.renew(number, draft, vantage, now, paths, &mut changes);
                }
                // A finding that is only counted stays counted.
                None if self.counted.contains(&key) => {}
                None => fresh.push((key, draft, vantage, unheard)),
            }
        }
        let missing = self.missing(&present, &round, sight, now);
        self.gone = !missing.is_empty();
        for (key, draft, vantage, unheard) in fresh {
            let since = *self.pending.entry(key).or_insert(now);
            let settle = patience(&draft, unheard, &round, settle);
            if now - since >= settle {
                self.pending.remove(&key);
                self.issue(key, (draft, vantage), round.backing(key), now, paths, &mut changes);
            }
        }
        self.pending.retain(|key, _| present.contains(key));
        self.counted.retain(|key| present.contains(key));
        for key in missing {
            let Some(&number) = self.index.get(&key) else { continue };
            let since = self.entries.get(&number).and_then(|entry| entry.missing_since);
            if since.is_some_and(|since| now - since >= settle)
                && let Some(entry) = self.remove(key)
                && !entry.over
            {
                changes.push(IssuedChange::Withdrawn(entry.told_as()));
            }
        }
        self.forget(sight);
        let regroup = !changes.is_empty();
        let mut events = Vec::new();
        if regroup || self.is_one_quiet(now) {
            self.group(sight.context());
        }
        self.tell(changes, now, &mut events);
        self.grow(now, &mut events);
        self.close(now, &mut events);
        events
    }

    /// Whether a finding about a listener belongs to a new incident because the earlier incident is over.
    fn begins_anew(&self, key: IssuedKey, draft: &Draft) -> bool {
        let known = self.index.get(&key).and_then(|number| self.entries.get(number));
        key.connection().is_none()
            && known.is_some_and(|entry| entry.over && draft.during().0 > entry.draft.during().1)
    }

    /// Whether a draft has not stayed unchanged, or been gone, for long enough.
    pub fn is_waiting(&self) -> bool {
        !self.pending.is_empty() || self.gone
    }

    /// Whether the kernel has answered about this connection before: then its findings stay as they are until it
    /// answers again.
    fn is_judged(&mut self, key: IssuedKey, present: &mut HashSet<IssuedKey>) -> bool {
        let keys = key.connection().and_then(|connection| self.by_connection.get(&connection)).cloned();
        let numbers: Vec<u64> =
            keys.iter().flatten().filter_map(|key| self.index.get(key)).copied().collect();
        let judged = |number: &u64| {
            let entry = self.entries.get(number);
            entry.is_some_and(|e| e.draft.was_checked_by_host())
        };
        if !numbers.iter().any(judged) {
            return false;
        }
        for number in numbers {
            if let Some(entry) = self.entries.get_mut(&number) {
                entry.missing_since = None;
            }
        }
        present.extend(keys.into_iter().flatten());
        true
    }

    /// A finding as it is now.
    fn renew(
        &mut self,
        number: u64,
        draft: Box<Draft>,
        vantage: Vantage,
        now: Timestamp,
        paths: &[Arc<str>],
        changes: &mut Vec<IssuedChange>,
    ) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        entry.missing_since = None;
        let known = &entry.draft;
        // The capture point may become known after the finding was issued.
        if *known != draft || entry.written.finding.vantage != vantage {
            let other = (known.certainty(), known.severity, &known.cause)
                != (draft.certainty(), draft.severity, &draft.cause);
            let mut written = write::finding((*draft).clone(), vantage, paths);
            let was = &entry.written.finding;
            if draft.connection.is_none() && written.finding.first > was.first {
                // Its beginning is no longer remembered, but it is the same flood.
                written.finding.first = was.first;
                written.finding.id.clone_from(&was.id);
            }
            if written.finding.id != was.id {
                entry.was.get_or_insert_with(|| was.id.clone());
            }
            self.by_ends.renew((&entry.draft, &draft), number);
            (entry.written, entry.draft) = (written, draft);
            entry.grown = true;
            if other {
                entry.wait = FIRST_WAIT;
                entry.told_at = Timestamp::MIN;
            }
        }
        if entry.grown && !entry.over && now - entry.told_at >= entry.wait {
            entry.grown = false;
            entry.told_at = now;
            entry.wait = Span((entry.wait.0 * 2).min(LONGEST_WAIT.0));
            changes.push(IssuedChange::Updated(number, entry.was.take()));
        }
    }

    /// Findings without a draft, although the engine still knows their connection.
    fn missing(
        &mut self,
        present: &HashSet<IssuedKey>,
        round: &LookResults,
        sight: &CurrentResult,
        now: Timestamp,
    ) -> Vec<IssuedKey> {
        let mut missing = Vec::new();
        for (key, number) in &self.index {
            if present.contains(key) {
                continue;
            }
            let Some(entry) = self.entries.get_mut(number) else { continue };
            if entry.backing == Backing::Kernel && !round.replaces(*key) {
                continue;
            }
            let known = key.connection().is_none_or(|connection| sight.examined.contains(&connection));
            if known && entry.draft.during().1 >= sight.since {
                entry.missing_since.get_or_insert(now);
                missing.push((*number, *key));
            }
        }
        missing.sort_unstable();
        missing.into_iter().map(|(_, key)| key).collect()
    }

    fn issue(
        &mut self,
        key: IssuedKey,
        (draft, vantage): FoundDraft,
        backing: Backing,
        now: Timestamp,
        paths: &[Arc<str>],
        changes: &mut Vec<IssuedChange>,
    ) {
        let place = (draft.kind, draft.server);
        // A finding of the same connection whose draft is gone has turned into this one.
        let before = key.connection().and_then(|connection| {
            let keys = self.by_connection.get(&connection)?;
            keys.iter().copied().find(|other| {
                let entry = self.index.get(other).and_then(|number| self.entries.get(number));
                entry.is_some_and(|entry| entry.missing_since.is_some())
            })
        });
        let written = write::finding((*draft).clone(), vantage, paths);
        let told_of_another = || self.entries.get(&self.by_ends.number(&draft)?);
        let before = before.or_else(|| told_of_another().map(|entry| IssuedKey::of(&entry.draft)));
        let was = before.and_then(|before| self.remove(before)).filter(|entry| !entry.over);
        let full = self.in_place.get(&place).copied().unwrap_or(0) >= self.bounds.of_a_kind
            || (self.entries.len() >= self.bounds.findings && !self.make_room());
        if full {
            self.counted.insert(key);
            self.fold(place, &draft);
            changes.extend(was.map(|entry| IssuedChange::Withdrawn(entry.told_as())));
            return;
        }
        let number = self.next;
        self.next += 1;
        self.by_ends.note(&draft, number);
        self.entries.insert(
            number,
            IssuedFinding {
                written,
                draft,
                incident: String::new(),
                over: false,
                told_at: now,
                wait: FIRST_WAIT,
                grown: false,
                was: None,
                missing_since: None,
                backing,
                since: None,
            },
        );
        self.index.insert(key, number);
        *self.in_place.entry(place).or_default() += 1;
        if let Some(connection) = key.connection() {
            self.by_connection.entry(connection).or_default().push(key);
        }
        changes.push(match was {
            Some(was) => IssuedChange::Updated(number, Some(was.told_as())),
            None => IssuedChange::Opened(number),
        });
    }

    /// Forgets the oldest finding of an incident that is over. Returns false when no incident is over.
    fn make_room(&mut self) -> bool {
        let Some((&number, _)) = self.entries.iter().find(|(_, entry)| entry.over) else { return false };
        if let Some(entry) = self.entries.get(&number) {
            let key = IssuedKey::of(&entry.draft);
            if self.index.get(&key) == Some(&number) {
                // Its draft may still exist; it must not be issued again.
                self.unlink(key);
                self.counted.insert(key);
            }
        }
        if let Some(entry) = self.entries.remove(&number) {
            self.by_ends.forget(&entry.draft, number);
        }
        self.forgotten += 1;
        true
    }

    fn remove(&mut self, key: IssuedKey) -> Option<IssuedFinding> {
        let number = self.unlink(key)?;
        let entry = self.entries.remove(&number)?;
        self.by_ends.forget(&entry.draft, number);
        if !entry.over {
            self.leave_place((entry.draft.kind, entry.draft.server));
        }
        Some(entry)
    }

    fn leave_place(&mut self, place: ListenerKey) {
        if let Some(n) = self.in_place.get_mut(&place) {
            *n -= 1;
            if *n == 0 {
                self.in_place.remove(&place);
            }
        }
    }

    fn unlink(&mut self, key: IssuedKey) -> Option<u64> {
        if let Some(connection) = key.connection()
            && let Some(keys) = self.by_connection.get_mut(&connection)
        {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.by_connection.remove(&connection);
            }
        }
        self.index.remove(&key)
    }

    /// A finding whose connection the engine has forgotten stays as it is.
    fn forget(&mut self, sight: &CurrentResult) {
        let gone: Vec<IssuedKey> = self
            .index
            .iter()
            .filter(|(key, number)| {
                let old = self.entries.get(number).is_none_or(|entry| entry.draft.during().1 < sight.since);
                old && key.connection().is_none_or(|connection| !sight.examined.contains(&connection))
            })
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            self.unlink(key);
        }
    }

    /// Groups the findings that are not over into incidents, and keeps the ids that were issued.
    fn group(&mut self, context: &CaptureContext) {
        let mut told: HashMap<&str, &str> = HashMap::new();
        for entry in self.entries.values().filter(|entry| !entry.incident.is_empty()) {
            told.insert(&entry.written.finding.id, &entry.incident);
        }
        let mut sorted: Vec<&IssuedFinding> = self.entries.values().filter(|entry| !entry.over).collect();
        sorted.sort_by_cached_key(|entry| entry.draft.order());
        let mut incidents = incident::group(sorted.into_iter().map(|entry| &entry.written), context);
        let mut renamed: HashMap<String, String> = HashMap::new();
        let mut taken: HashSet<String> = HashSet::new();
        for incident in &incidents {
            let known = incident.findings.iter().find_map(|id| told.get(id.as_str()).copied());
            // When an incident splits, its first part keeps the id.
            let name = known.filter(|name| !taken.contains(*name)).unwrap_or(&incident.id).to_owned();
            taken.insert(name.clone());
            renamed.insert(incident.id.clone(), name);
        }
        let rename = |id: &mut String| {
            if let Some(name) = renamed.get(id) {
                id.clone_from(name);
            }
        };
        for incident in &mut incidents {
            rename(&mut incident.id);
            incident.related.iter_mut().for_each(|related| rename(&mut related.incident));
        }
        let of: HashMap<&str, &str> = incidents
            .iter()
            .flat_map(|incident| incident.findings.iter().map(|id| (id.as_str(), incident.id.as_str())))
            .collect();
        for entry in self.entries.values_mut().filter(|entry| !entry.over) {
            if let Some(incident) = of.get(entry.written.finding.id.as_str()) {
                entry.incident = (*incident).to_owned();
            }
        }
        self.open = incidents;
    }

    fn is_one_quiet(&self, now: Timestamp) -> bool {
        self.open.iter().any(|incident| self.has_ended(incident, now))
    }

    fn has_ended(&self, incident: &Incident, now: Timestamp) -> bool {
        now - self.last(incident) >= QUIET || self.ended.contains(&incident.id)
    }

    /// Notes that an incident has ended: it is closed with the next look.
    pub fn end(&mut self, incident: &str) {
        self.ended.insert(incident.to_owned());
    }

    /// The time of the incident's last finding.
    fn last(&self, incident: &Incident) -> Timestamp {
        let folded = self.folded_of(incident).map(|folded| folded.until);
        incident.last.max(folded.unwrap_or(Timestamp::MIN))
    }

    fn tell(&self, changes: Vec<IssuedChange>, now: Timestamp, events: &mut Vec<LiveEvent>) {
        let at = || now.to_string();
        for change in changes {
            match change {
                IssuedChange::Opened(number) => {
                    let Some(entry) = self.entries.get(&number) else { continue };
                    events.push(LiveEvent::Opened {
                        at: at(),
                        incident: entry.incident.clone(),
                        finding: Box::new(entry.written.finding.clone()),
                    });
                }
                IssuedChange::Updated(number, was) => {
                    let Some(entry) = self.entries.get(&number) else { continue };
                    events.push(LiveEvent::Updated {
                        at: at(),
                        was,
                        finding: Box::new(entry.written.finding.clone()),
                    });
                }
                IssuedChange::Withdrawn(id) => events.push(LiveEvent::Withdrawn {
                    at: at(),
                    finding: id,
                    reason: "later packets show that there was no such problem".to_owned(),
                }),
            }
        }
    }

    /// Closes incidents that have had no new finding for a while.
    fn close(&mut self, now: Timestamp, events: &mut Vec<LiveEvent>) {
        let open = std::mem::take(&mut self.open);
        let (over, open): (Vec<_>, Vec<_>) =
            open.into_iter().partition(|incident| self.has_ended(incident, now));
        self.open = open;
        self.ended.clear();
        if over.is_empty() {
            return;
        }
        let ids: HashSet<&str> = over.iter().flat_map(|i| &i.findings).map(String::as_str).collect();
        let mut left = Vec::new();
        for entry in self.entries.values_mut() {
            if !entry.over && ids.contains(entry.written.finding.id.as_str()) {
                entry.over = true;
                left.push((entry.draft.kind, entry.draft.server));
            }
        }
        left.into_iter().for_each(|place| self.leave_place(place));
        let going_on: HashSet<IncidentKey> = self.open.iter().map(name_of).collect();
        for incident in over {
            let incident = self.whole(&incident);
            let name = name_of(&incident);
            if !going_on.contains(&name)
                && let Some(folded) = self.folded.remove(&name)
            {
                self.forgotten += folded.count;
            }
            events.push(LiveEvent::Closed { at: now.to_string(), incident: Box::new(incident.clone()) });
            self.closed.push_back(incident);
            if self.closed.len() > self.bounds.closed {
                self.closed.pop_front();
            }
        }
    }

    /// Keeps the queues of an incident that was closed just now.
    pub fn keep_queues(&mut self, incident: &Incident) {
        if let Some(closed) = self.closed.iter_mut().rev().find(|closed| closed.id == incident.id) {
            closed.queues.clone_from(&incident.queues);
        }
    }

    /// The number of open incidents.
    pub fn going_on(&self) -> usize {
        self.open.len()
    }

    /// Open incidents, `most` at most: the gravest first, and of equal ones the latest.
    pub fn open(&self, most: usize) -> Vec<Incident> {
        let mut open: Vec<&Incident> = self.open.iter().collect();
        open.sort_by(|a, b| (b.severity, &b.last).cmp(&(a.severity, &a.last)));
        open.into_iter().take(most).map(|incident| self.whole(incident)).collect()
    }

    /// Incidents that have ended, the latest first.
    pub fn closed(&self) -> impl Iterator<Item = &Incident> {
        self.closed.iter().rev()
    }

    /// The first findings of these incidents that are remembered, `most` of each.
    pub fn examples(&self, of: &HashSet<&str>, most: usize) -> HashMap<String, Vec<&Written>> {
        let mut examples: HashMap<String, Vec<&Written>> = HashMap::new();
        for entry in self.entries.values().filter(|entry| of.contains(entry.incident.as_str())) {
            let some = examples.entry(entry.incident.clone()).or_default();
            if some.len() < most {
                some.push(&entry.written);
            }
        }
        examples
    }

    /// Kind, beginning and end of every finding that is remembered.
    pub fn times(&self) -> impl Iterator<Item = (Kind, Timestamp, Timestamp)> + Clone {
        self.entries.values().map(|entry| {
            let (first, last) = entry.draft.during();
            (entry.draft.kind, first, last)
        })
    }

    /// Everything for a report: findings in order of time, their drafts, and incidents with the gravest first.
    pub fn all(&self) -> (Vec<FoundDraft>, Vec<Written>, Vec<Incident>) {
        let mut sorted: Vec<&IssuedFinding> = self.entries.values().collect();
        sorted.sort_by_cached_key(|entry| entry.draft.order());
        let drafts =
            sorted.iter().map(|entry| (entry.draft.clone(), entry.written.finding.vantage)).collect();
        let written = sorted.iter().map(|entry| entry.written.clone()).collect();
        let mut incidents: Vec<Incident> =
            self.open(usize::MAX).into_iter().chain(self.closed.iter().cloned()).collect();
        incidents.sort_by(|a, b| {
            (b.severity, a.first, a.kind, a.listener).cmp(&(a.severity, b.first, b.kind, b.listener))
        });
        (drafts, written, incidents)
    }
}
