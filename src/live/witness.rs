//! The kernel's counters and listeners, read repeatedly, and their effect on the findings.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;

use crate::decode::segment::PacketId;
use crate::detect::{Draft, FoundDraft, registry};
use crate::diagnose::host::{self, HostStatements, TROUBLE};
use crate::flow::key::Host;
use crate::host::listeners::{ListenSocket, serving};
use crate::host::{HostFacts, Snapshot};
use crate::model::{Certainty, Kind};
use crate::time::{Span, Timestamp};

/// A source of facts about the host that is watched.
pub trait HostSource: Send {
    /// The host's current facts; `at` is the time by the packets' clock, for sources that have no clock of their own.
    /// `None` if the host does not answer.
    fn look(&mut self, at: Timestamp) -> Option<Snapshot>;

    /// The same, when no finding waits for it. Also `None` if no packet has come since the last look, unless that was
    /// long ago.
    fn look_if_moved(&mut self, at: Timestamp) -> Option<Snapshot> {
        self.look(at)
    }

    /// A change of the watched namespace since the last call, in words.
    fn news(&mut self) -> Option<String> {
        None
    }
}

/// How long after the rise of a counter a finding that explains it may still come: the second SYN-ACK comes after 1 s,
/// the third SYN after 3 s.
const GRACE: Span = Span::millis(4_500);
/// The same for a counter of refusals where a listener's own socket shows them: the finding with their number comes at
/// once, unless none of their packets was captured.
const GRACE_OF_SOCKET: Span = Span::millis(300);
/// A finding explains rises of counters during its time, and this long before and after.
const AROUND: Span = Span::secs(1);
/// A counter that still rises without a finding is reported again after this.
const AGAIN: Span = Span::secs(60);
/// How long looks are kept: for the two generations of findings that the engine remembers, and a little longer.
const KEPT: Span = Span::secs(330);
/// Looks that are older than this are thinned out; two that stay are then at least the second value apart.
const FRESH: Span = Span::secs(10);
const SPARE: Span = Span::millis(1_300);
/// How many listeners are named beside a counter.
const NAMED: usize = 8;

/// The facts that the host gave, newest last.
#[derive(Default)]
pub struct HostObservations {
    first: Option<Snapshot>,
    looks: VecDeque<Snapshot>,
    /// Rises that no finding explains yet.
    open: VecDeque<Rise>,
    /// When each counter was last reported, and by how much it has risen since.
    told: BTreeMap<&'static str, (Timestamp, u64)>,
}

/// The findings that are left after the comparison with the kernel's counters.
#[derive(Default)]
pub struct RemainingFindings {
    /// In order of time.
    pub drafts: Vec<FoundDraft>,
    /// The connections of this host about which the kernel could not be asked.
    pub unheard: HashMap<PacketId, Unheard>,
    /// The findings that the kernel confirms: connection or server, and kind.
    pub confirmed: HashSet<(Option<PacketId>, Option<Host>, Kind)>,
    /// Changes at the servers of findings since then: a further sentence for each.
    pub changed: HashMap<Host, &'static str>,
}

/// Why the kernel could not be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unheard {
    /// It was not asked since the last packet.
    Yet,
    /// It began before the oldest look that is remembered.
    Past,
}

/// A counter that moved between two looks.
struct Rise {
    counter: host::account::Counter,
    by: u64,
    from: Timestamp,
    to: Timestamp,
    listeners: Vec<SocketAddr>,
}

impl Rise {
    /// How long a rise waits for a finding that explains it.
    fn grace(&self) -> Span {
        if self.is_of_socket() { GRACE_OF_SOCKET } else { GRACE }
    }

    /// Whether it counts refusals, and a listener's own socket shows some.
    fn is_of_socket(&self) -> bool {
        let counters = [host::account::LISTEN_OVERFLOWS, host::account::REQ_Q_FULL_DROP];
        counters.contains(&self.counter) && !self.listeners.is_empty()
    }
}

/// A counter that moved without a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnexplainedRise {
    /// As `nstat` names it.
    pub counter: &'static str,
    /// By how much it rose.
    pub rose: u64,
    /// When.
    pub at: Timestamp,
    /// Listeners that dropped something in that time.
    pub listeners: Vec<SocketAddr>,
}

impl HostObservations {
    /// Records a look; returns the settings that have changed.
    pub fn record_look(&mut self, look: Snapshot) -> Vec<String> {
        let mut changed = Vec::new();
        if let Some(before) = self.looks.back() {
            for (name, value) in &look.sysctls {
                // A count, not a setting.
                if name.ends_with("_count") {
                    continue;
                }
                if let Some(was) = before.sysctls.get(name).filter(|was| *was != value) {
                    changed.push(format!("{name} was changed from {was} to {value}"));
                }
            }
            // In each look the counters were read before the sockets: the previous look has the sockets' earlier
            // counts.
            let earlier = self.looks.iter().rev().nth(1).unwrap_or(before);
            self.open.extend(rises(before, &look, &dropping(earlier, &look)));
        } else {
            self.first = Some(look.clone());
        }
        let now = look.time;
        self.looks.push_back(look);
        while self.looks.front().is_some_and(|look| now - look.time > KEPT) {
            self.looks.pop_front();
        }
        self.thin_out(now);
        changed
    }

    /// Of the looks that are not quite new one a second is enough.
    fn thin_out(&mut self, now: Timestamp) {
        let fresh = self.looks.partition_point(|look| now - look.time > FRESH);
        if let [.., a, _, c] = &self.looks.make_contiguous()[..fresh]
            && c.time - a.time <= SPARE
        {
            self.looks.remove(fresh - 2);
        }
    }

    /// The newest look.
    pub fn latest(&self) -> Option<&Snapshot> {
        self.looks.back()
    }

    /// How much each TCP counter has risen since the beginning; counters of trouble are included even at 0.
    pub fn rises(&self) -> BTreeMap<String, u64> {
        let (Some(first), Some(last)) = (&self.first, self.latest()) else { return BTreeMap::new() };
        let trouble = |name: &str| TROUBLE.iter().any(|counter| counter.name == name);
        // These are values that may fall as well.
        let gauge = |name: &str| {
            ["TcpCurrEstab", "TcpMaxConn", "TcpRtoMin", "TcpRtoMax", "TcpRtoAlgorithm"].contains(&name)
        };
        let rise = |(name, now): (&String, &u64)| {
            let rise = now.checked_sub(*first.counters.get(name)?)?;
            (rise > 0 || trouble(name)).then(|| (name.clone(), rise))
        };
        last.counters
            .iter()
            .filter(|(name, _)| name.starts_with("Tcp") && !gauge(name))
            .filter_map(rise)
            .collect()
    }

    /// Whether one of these findings is about this host, and came after the newest look.
    pub fn is_behind<'a>(&self, mut drafts: impl Iterator<Item = &'a Draft>) -> bool {
        let Some(latest) = self.latest() else { return false };
        drafts.any(|draft| newest(draft) > latest.time && self.is_here(draft))
    }

    /// Whether the host that is asked did what the finding is about: whether it had the address just before the
    /// finding's first packet, or just after. An address may move away later.
    fn is_here(&self, draft: &Draft) -> bool {
        let Some(actor) = host::actor(draft) else { return false };
        let after = self.looks.partition_point(|look| look.finished <= draft.during().0);
        let near = [after.checked_sub(1), Some(after)].into_iter().flatten();
        near.filter_map(|n| self.looks.get(n)).any(|look| look.has(actor.socket()))
    }

    /// Confirms, refutes or rewrites the findings about this host, each by the changes between the last look before it
    /// and the first look after it. Findings that share such an interval are judged together.
    pub fn judge(&self, drafts: Vec<FoundDraft>) -> RemainingFindings {
        let mut judged = RemainingFindings::default();
        if self.looks.is_empty() {
            return RemainingFindings { drafts, ..judged };
        }
        let mut mine: Vec<(usize, usize, FoundDraft)> = Vec::new();
        for found in drafts {
            if !self.is_here(&found.0) {
                judged.drafts.push(found);
                continue;
            }
            self.note_change(&found.0, &mut judged);
            match self.around(&found.0) {
                Ok((before, after)) => mine.push((before, after, found)),
                Err(unheard) => {
                    judged.unheard.extend(found.0.connection.map(|connection| (connection, unheard)));
                    judged.drafts.push(found);
                }
            }
        }
        mine.sort_by_key(|(before, ..)| *before);
        let mut mine = mine.into_iter().peekable();
        while let Some((before, mut after, found)) = mine.next() {
            let mut together = vec![found];
            while let Some((_, later, found)) = mine.next_if(|(next, ..)| *next < after) {
                after = after.max(later);
                together.push(found);
            }
            let looks = vec![self.looks[before].clone(), self.looks[after].clone()];
            if let Ok(facts) = HostFacts::new(looks) {
                host::corroborate(&mut together, &facts);
            }
            let confirmed = together.iter().filter(|(d, _)| d.certainty() == Certainty::Confirmed);
            judged.confirmed.extend(confirmed.map(|(d, _)| (d.connection, d.server, d.kind)));
            judged.drafts.append(&mut together);
        }
        judged.drafts.sort_by_cached_key(|(d, _)| d.order());
        judged
    }

    /// Notes differences between the newest look and the one before the finding.
    fn note_change(&self, draft: &Draft, judged: &mut RemainingFindings) {
        let (Some(server), Some(latest)) = (draft.server, self.latest()) else { return };
        let before = self.looks.partition_point(|look| look.finished <= draft.during().0);
        let Some(before) = before.checked_sub(1).and_then(|n| self.looks.get(n)) else { return };
        let at = server.socket();
        let inodes = |look: &Snapshot| -> Option<BTreeSet<u64>> {
            Some(serving(look.listeners.as_ref()?, at).iter().map(|socket| socket.inode).collect())
        };
        let text = if before.has(at) && !latest.has(at) {
            "since then the address has left this host"
        } else if let (Some(was), Some(is)) = (inodes(before), inodes(latest))
            && !was.is_empty()
            && was.is_disjoint(&is)
        {
            match is.is_empty() {
                true => "since then the listening socket was closed",
                false => "since then another socket listens there",
            }
        } else {
            return;
        };
        judged.changed.insert(server, text);
    }

    /// The last look before a finding and the first one after it.
    fn around(&self, draft: &Draft) -> Result<(usize, usize), Unheard> {
        let evidence = draft.evidence();
        let times = || evidence.iter().map(|(at, _)| at.time);
        let (first, last) = (times().min().unwrap_or_default(), times().max().unwrap_or_default());
        let before = self.looks.partition_point(|look| look.finished <= first);
        let after = self.looks.partition_point(|look| look.time < last);
        match before.checked_sub(1) {
            None => Err(Unheard::Past),
            Some(_) if after == self.looks.len() => Err(Unheard::Yet),
            Some(before) => Ok((before, after)),
        }
    }

    /// Whether a socket has refused something that no finding explains yet.
    pub fn has_refusals_to_explain(&self) -> bool {
        self.open.iter().any(Rise::is_of_socket)
    }

    /// Counters that rose a while ago and that none of `found` explains; `found` holds kind, beginning and end of each
    /// finding.
    pub fn unexplained(
        &mut self,
        now: Timestamp,
        found: impl Iterator<Item = (Kind, Timestamp, Timestamp)> + Clone,
    ) -> Vec<UnexplainedRise> {
        let mut all: BTreeMap<&'static str, UnexplainedRise> = BTreeMap::new();
        // A fresh rise of a counter that is to be reported is reported with it.
        let is_due = |rise: &Rise| now - rise.to >= rise.grace();
        let counters: BTreeSet<_> =
            self.open.iter().filter(|rise| is_due(rise)).map(|rise| rise.counter.name).collect();
        let (due, open): (VecDeque<Rise>, _) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|rise| is_due(rise) || (rise.is_of_socket() && counters.contains(rise.counter.name)));
        self.open = open;
        for rise in due {
            let explains = |(kind, first, last): (Kind, Timestamp, Timestamp)| {
                registry::spec(kind).counters.contains(&rise.counter.name)
                    && first <= rise.to + AROUND
                    && rise.from <= last + AROUND
            };
            if found.clone().any(explains) {
                continue;
            }
            let one = all.entry(rise.counter.name).or_insert_with(|| UnexplainedRise {
                counter: rise.counter.name,
                rose: 0,
                at: rise.to,
                listeners: Vec::new(),
            });
            one.rose += rise.by;
            let named: BTreeSet<_> = one.listeners.drain(..).chain(rise.listeners).collect();
            one.listeners = named.into_iter().take(NAMED).collect();
        }
        let mut tell = Vec::new();
        for (name, mut one) in all {
            match self.told.get_mut(name) {
                Some((last, since)) if one.at - *last < AGAIN => *since += one.rose,
                Some((last, since)) => {
                    one.rose += std::mem::take(since);
                    *last = one.at;
                    tell.push(one);
                }
                None => {
                    self.told.insert(name, (one.at, 0));
                    tell.push(one);
                }
            }
        }
        tell
    }

    /// The statements of the newest look, for a report on these findings.
    pub fn states(&self, drafts: &[FoundDraft]) -> HostStatements {
        let Some(facts) = self.latest().and_then(|latest| HostFacts::new(vec![latest.clone()]).ok()) else {
            return HostStatements::default();
        };
        let here = drafts.iter().filter(|(d, _)| host::is_here(d, &facts));
        let mut here: Vec<FoundDraft> = here.cloned().collect();
        let told = host::corroborate(&mut here, &facts);
        HostStatements { warnings: Vec::new(), ..told }
    }
}

/// Time of the last packet that shows a finding.
fn newest(draft: &Draft) -> Timestamp {
    draft.evidence().last().map(|(at, _)| at.time).unwrap_or_default()
}

/// The counters that mean trouble and moved between two looks.
fn rises(before: &Snapshot, after: &Snapshot, listeners: &[SocketAddr]) -> Vec<Rise> {
    let cookies = after.sysctls.get("net.ipv4.tcp_syncookies").map(String::as_str);
    let mut found = Vec::new();
    for counter in TROUBLE {
        let (Some(was), Some(is)) = (before.counters.get(counter.name), after.counters.get(counter.name))
        else {
            continue;
        };
        // With tcp_syncookies=2 every SYN is answered by a cookie, so the counter rises without trouble.
        let meant = counter == host::account::SYNCOOKIES_SENT && cookies == Some("2");
        if is > was && !meant {
            found.push(Rise {
                counter,
                by: is - was,
                from: before.finished,
                to: after.time,
                listeners: listeners.to_vec(),
            });
        }
    }
    found
}

/// The listeners whose own drop counts rose.
fn dropping(before: &Snapshot, after: &Snapshot) -> Vec<SocketAddr> {
    let was: BTreeMap<u64, &ListenSocket> = before.listeners.iter().flatten().map(|l| (l.inode, l)).collect();
    let rose = |l: &&ListenSocket| was.get(&l.inode).is_some_and(|was| l.drops > was.drops);
    after.listeners.iter().flatten().filter(rose).map(|l| l.address).collect()
}
