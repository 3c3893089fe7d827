//! The data that a detector may use beside the connection itself.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, LazyLock};

use crate::decode::segment::{Address, PacketId};
use crate::detect::analysis::common_features::{self, FailurePattern};
use crate::detect::analysis::host_activity::{HostActivity, Outage};
use crate::detect::analysis::ignored_ack::StuckConnection;
use crate::detect::analysis::listener_activity::ListenerActivity;
use crate::detect::analysis::lone_syns::AllLoneSyns;
use crate::detect::capture_state::CaptureState;
use crate::flow::facts::{ConnectionFacts, PacketRef, Role};
use crate::flow::key::{Host, Map, Set};
use crate::history::host_pairs::HostPair;
use crate::history::interval::Interval;
use crate::history::listener::ListenerHistory;
use crate::history::settings::UserSettings;
use crate::history::strays::{OpenFlow, Stray, Strays};
use crate::history::tw_recycle::{PawsSuspect, SynFateCounts, TwRecycleModel};
use crate::model::Vantage;
use crate::time::{Span, Timestamp};

/// If a capture has no packet for this long, it counts as interrupted.
const STANDSTILL: Span = Span::secs(3_600);

/// Whether a server's answers are in the capture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServerAnswers {
    /// At least one is in the capture: so a missing answer was not sent.
    Captured,
    /// None is in the capture, but the server's clients went on: this direction was not captured.
    Missing,
    /// None is in the capture, and nothing shows whether there were any.
    Unseen,
}

/// The TTLs of one host's segments may differ by this much: routes change.
const ROUTES: u8 = 3;

/// Whether SYN-ACKs with these TTLs may come from one host. Several hosts behind one address say nothing about each
/// other.
fn is_one_host(a: u8, b: u8) -> bool {
    a == 0 || b == 0 || a.abs_diff(b) <= ROUTES
}

/// A stuck connection is compared with this many others at most, so that the time grows with the number of connections,
/// not with its square.
const COMPANY: usize = 1_024;

/// A host that sends something this soon after a SYN was up when the SYN came.
const MOMENT: Span = Span::millis(500);

/// Why a vantage was inferred, and which.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VantageView {
    /// Where the capture was taken, seen from this server's connections.
    pub vantage: Vantage,
    /// Whether this is known from details that only the host itself sees of its own packets, and not a switch in front
    /// of it.
    pub on_host: bool,
    /// The reason, one clause.
    pub reason: String,
    /// The usual round trip of its handshakes.
    pub round_trip: Option<Span>,
    /// TTL of its SYN-ACKs, when they all have the same.
    pub server_ttl: Option<u8>,
}

impl Default for VantageView {
    fn default() -> VantageView {
        VantageView {
            vantage: Vantage::Unknown,
            on_host: false,
            reason: "no plain handshake was captured".to_owned(),
            round_trip: None,
            server_ttl: None,
        }
    }
}

/// All data beside the connection itself.
#[derive(Default)]
pub struct CaptureContext {
    /// What the user set.
    pub settings: UserSettings,
    /// The first and last packet of all inputs.
    pub capture: Option<(Timestamp, Timestamp)>,
    /// Stretches without any packet.
    pub silences: Vec<Interval>,
    /// By listener.
    pub listeners: Map<Host, ListenerHistory>,
    /// By server address.
    pub views: Map<Address, VantageView>,
    /// The replayed memory of servers with `tcp_tw_recycle`.
    pub peers: Arc<TwRecycleModel>,
    /// Server addresses of which at least one answer was captured.
    pub answering: Set<Address>,
    /// Server addresses without a captured answer whose clients went on, so an answer reached them.
    pub unheard: Set<Address>,
    /// By client address: how many server addresses never answered it.
    pub silent_servers: Map<Address, u32>,
    /// SYNs without an answer that were answered under another address of the server, by client and initial sequence
    /// number: the capture holds them before and after a NAT.
    pub answered_elsewhere: Map<(Host, u32), TranslatedServer>,
    /// The capture itself lost packets, or its clock stepped back: a missing packet proves nothing.
    pub damaged: bool,
    /// The capture changed the order of neighbouring packets: their order proves nothing.
    pub shuffled: bool,
    /// No filter left anything out.
    pub unfiltered: bool,
    /// The capture was filtered down to SYNs and SYN-ACKs: a handshake without its end means nothing.
    pub handshakes_only: bool,
    /// The activity at each listener across its connections.
    pub activities: Map<Host, ListenerActivity>,
    /// SYNs that were neither answered nor repeated.
    pub lone_syns: AllLoneSyns,
    /// SYNs that were answered, and whose clients neither completed the handshake nor repeated the SYN.
    pub lone_answers: AllLoneSyns,
    /// When each host was heard, on connections that last.
    pub heard: Map<Address, Vec<Interval>>,
    /// Segments without a connection of their own.
    pub strays: Strays,
    /// The activity of each host with several listeners on all of them.
    pub hosts: Map<Address, HostActivity>,
    /// Whether a missing packet may still arrive.
    pub state: CaptureState,
    /// Addresses of the host on which the capture is taken, where that is known.
    pub own: Arc<HashSet<Address>>,
    /// What hosts state about themselves.
    pub stated: Arc<StatedByHost>,
    /// For a stream without an end: floods that began in a part of it that is forgotten, by listener.
    pub floods: Option<Arc<HashMap<Host, ForgottenFlood>>>,
    /// For the same: the reported sizes of floods that go on, by listener. A reported size must not shrink.
    pub floods_told: Arc<HashMap<Host, FloodSize>>,
    /// Packets of which the kernel says that it refused them for a full accept queue.
    pub refused: Arc<HashSet<PacketId>>,
}

impl CaptureContext {
    /// Takes over data about listeners and hosts from another capture with the same clock, if this one does not have
    /// it.
    pub fn adopt_listeners(&mut self, other: CaptureContext) {
        for (host, listener) in other.listeners {
            self.listeners.entry(host).or_insert(listener);
        }
        for (host, activity) in other.activities {
            self.activities.entry(host).or_insert(activity);
        }
        for (address, host) in other.hosts {
            self.hosts.entry(address).or_insert(host);
        }
    }
}

/// The other address under which a SYN was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TranslatedServer {
    /// The server there.
    pub server: Host,
    /// The SYN and the SYN-ACK.
    pub handshake: [PacketRef; 2],
    /// The client's RST, if it refused that answer.
    pub refused: Option<PacketRef>,
}

impl TranslatedServer {
    fn of(f: &ConnectionFacts) -> Option<TranslatedServer> {
        let answer = f.syn_ack.first()?;
        let refused = f.c.reset.as_deref().filter(|reset| reset.is_bare() && f.final_ack.is_none());
        Some(TranslatedServer {
            server: f.server,
            handshake: [f.first, answer.at],
            refused: refused.map(|reset| reset.at),
        })
    }
}

/// The size of a flood, as far as it is known.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FloodSize {
    /// Handshakes that were begun and not completed.
    pub handshakes: u64,
    /// Addresses that began them.
    pub sources: u64,
}

/// The part of a flood that is forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ForgottenFlood {
    /// Handshakes that were begun and not completed.
    pub incomplete: u64,
    /// When the first of them may have begun.
    pub since: Timestamp,
}

/// How many backlogs of listeners are remembered at most, beside those of open ones.
const MOST_BACKLOGS: usize = 10_000;
/// A refusal and the looks that show it are no further apart than this.
const NEAR: Span = Span::secs(1);
/// How many backlogs of replaced sockets are remembered at most.
const MOST_EARLIER: usize = 1_000;

/// A socket's address, its backlog, and the interval in which it refused something.
pub type RefusalInterval = (SocketAddr, u32, (Timestamp, Timestamp));

/// Facts that a host states about itself; none of them is inferred from packets.
#[derive(Clone, Debug, Default)]
pub struct StatedByHost {
    /// Its addresses.
    pub addresses: HashSet<Address>,
    /// The settings that it states, as `sysctl` names them.
    pub settings: BTreeSet<String>,
    /// The addresses of its listening sockets, with their backlogs.
    pub backlogs: Vec<(SocketAddr, u32)>,
    /// When it stated that.
    pub at: Timestamp,
    /// Backlogs of sockets that were replaced, and when the replacement was first seen, in order of that time.
    pub earlier: Vec<(SocketAddr, u32, Timestamp)>,
    /// Backlogs of sockets that have refused something, with the interval if it is known.
    pub refusing: Vec<RefusalInterval>,
}

impl StatedByHost {
    /// Whether the host at `address` states this setting.
    pub fn has_setting(&self, address: Address, name: &str) -> bool {
        self.addresses.contains(&address) && self.settings.contains(name)
    }

    /// Whether the host at `address` states the limits of its accept queues.
    pub fn has_backlogs(&self, address: Address) -> bool {
        !self.backlogs.is_empty() && self.addresses.contains(&address)
    }

    /// Keeps the backlogs of listeners that were closed since, or that came back with another backlog.
    pub fn with_backlogs_of(mut self, before: &StatedByHost) -> StatedByHost {
        let now: HashSet<(SocketAddr, u32)> = self.backlogs.iter().copied().collect();
        let open: HashSet<SocketAddr> = self.backlogs.iter().map(|(address, _)| *address).collect();
        let room = MOST_BACKLOGS.saturating_sub(self.backlogs.len());
        let closed = before.backlogs.iter().filter(|(address, _)| !open.contains(address));
        let others = before.backlogs.iter().filter(|was| open.contains(&was.0) && !now.contains(was));
        self.earlier = before.earlier.clone();
        self.earlier.extend(others.map(|(address, backlog)| (*address, *backlog, self.at)));
        let too_many = self.earlier.len().saturating_sub(MOST_EARLIER);
        self.earlier.drain(..too_many);
        self.backlogs.extend(closed.take(room));
        self
    }

    /// Whether one socket serves both listeners because it listens on all addresses, as far as their host states it.
    pub fn is_one_socket(&self, one: Host, other: Host) -> bool {
        let is_same = |socket| self.socket_on_all_addresses(other) == Some(socket);
        one == other || one.port == other.port && self.socket_on_all_addresses(one).is_some_and(is_same)
    }

    /// The socket on all addresses that serves this listener, if its host states one.
    pub fn socket_on_all_addresses(&self, listener: Host) -> Option<SocketAddr> {
        let server = listener.socket();
        let listens = |ip: IpAddr| {
            let at = SocketAddr::new(ip, listener.port);
            self.backlogs.iter().any(|(address, _)| *address == at).then_some(at)
        };
        let any = if server.is_ipv4() { listens(Ipv4Addr::UNSPECIFIED.into()) } else { None };
        let is_own = !self.addresses.contains(&listener.address) || listens(server.ip()).is_some();
        any.or_else(|| listens(Ipv6Addr::UNSPECIFIED.into())).filter(|_| !is_own)
    }

    /// The backlog that a listener had at a time, if its host states it. Of several sockets at one port it is that of
    /// the one that refused connections, or else the longest.
    pub fn backlog(&self, listener: Host, at: Timestamp) -> Option<u32> {
        let server = listener.socket();
        let serves = |address: &SocketAddr| {
            address.port() == server.port() && (address.ip() == server.ip() || address.ip().is_unspecified())
        };
        let is_near = |(from, to): (Timestamp, Timestamp)| Interval { from, to }.meets(at, at, NEAR);
        let refusing =
            self.refusing.iter().filter(|(address, _, during)| serves(address) && is_near(*during));
        let refusing = refusing.map(|(_, backlog, _)| *backlog).min();
        let mut earlier = self.earlier.iter().filter(|(address, _, until)| serves(address) && at < *until);
        let was = earlier.next().map(|(_, backlog, _)| *backlog);
        let own = self.backlogs.iter().filter(|(address, _)| serves(address)).map(|(_, backlog)| *backlog);
        refusing.or(was).or_else(|| own.max()).filter(|_| self.addresses.contains(&listener.address))
    }
}

/// What surrounds one connection.
pub struct DetectContext<'a> {
    /// Everything.
    pub context: &'a CaptureContext,
    /// The outcomes of the listener's other connections.
    pub listener: &'a ListenerHistory,
    /// What happened to them.
    pub activity: &'a ListenerActivity,
    /// Where the capture was taken.
    pub view: &'a VantageView,
    /// A connection, by its first packet, that is known not to have died ([`crate::detect::analysis::end_of_flow`]):
    /// several kinds ask one after the other.
    pub(super) lives: Cell<Option<PacketId>>,
}

/// The view of a connection that does not leave its host, as `seen` says.
fn within(seen: &VantageView) -> &VantageView {
    static WITHIN: LazyLock<VantageView> = LazyLock::new(|| VantageView::default().within_host());
    if seen.vantage == Vantage::Server { seen } else { &WITHIN }
}

impl VantageView {
    /// The same if client and server are one host: a capture there was taken at the server.
    pub fn within_host(self) -> VantageView {
        VantageView {
            vantage: Vantage::Server,
            on_host: true,
            reason: "client and server are the same host".to_owned(),
            ..self
        }
    }
}

impl VantageView {
    /// The same if the server's address belongs to the host on which the capture is taken.
    pub fn on_own_host(self) -> VantageView {
        let reason = "the server's address belongs to the host that captures".to_owned();
        VantageView { vantage: Vantage::Server, on_host: true, reason, ..self }
    }
}

impl CaptureContext {
    /// The context of one connection.
    pub fn around(&self, f: &ConnectionFacts) -> DetectContext<'_> {
        let around = self.at(f.server);
        let within_host = f.client.address == f.server.address;
        let view = if within_host { within(around.view) } else { around.view };
        DetectContext { view, ..around }
    }

    /// The context of one listener.
    pub fn at(&self, server: Host) -> DetectContext<'_> {
        static NOTHING: LazyLock<(ListenerHistory, ListenerActivity, VantageView)> =
            LazyLock::new(Default::default);
        DetectContext {
            context: self,
            listener: self.listeners.get(&server).unwrap_or(&NOTHING.0),
            activity: self.activities.get(&server).unwrap_or(&NOTHING.1),
            view: match self.views.get(&server.address) {
                Some(view) => view,
                None if server.address.ip().is_loopback() => within(&NOTHING.2),
                None => &NOTHING.2,
            },
            lives: Cell::new(None),
        }
    }

    /// Whether all packets have the same time.
    pub fn has_no_clock(&self) -> bool {
        self.capture.is_some_and(|(first, last)| first == last)
    }

    /// Whether the answers of the server at `address` are in the capture.
    pub fn answers_of(&self, address: Address) -> ServerAnswers {
        if self.answering.contains(&address) {
            ServerAnswers::Captured
        } else if self.unheard.contains(&address) {
            ServerAnswers::Missing
        } else {
            ServerAnswers::Unseen
        }
    }
}

impl CaptureContext {
    /// Notes which servers never answered, and whether their clients went on; `end` is the end of the capture.
    pub fn note_silence(&mut self, kept: &[Box<ConnectionFacts>], end: Timestamp) {
        let went_on = kept.iter().filter(|f| f.s.segments == 0 && f.client_continued());
        self.unheard.extend(went_on.map(|f| f.server.address));
        let mut silent: Map<Address, Set<Address>> = Map::default();
        for f in kept.iter().filter(|f| f.s.segments == 0 && f.syn.count > 1) {
            silent.entry(f.client.address).or_default().insert(f.server.address);
        }
        self.silent_servers = silent.into_iter().map(|(client, all)| (client, all.len() as u32)).collect();
        for activity in self.activities.values_mut() {
            activity.note_lone(end);
        }
        self.note_other_names(kept);
    }

    /// Notes SYNs without an answer that the capture holds a second time, to another address, where they were answered.
    fn note_other_names(&mut self, kept: &[Box<ConnectionFacts>]) {
        let key = |f: &ConnectionFacts| (f.client, f.c.isn.0);
        let asked = kept.iter().filter(|f| f.syn.count > 0);
        let unanswered: Set<(Host, u32)> =
            asked.clone().filter(|f| f.s.segments == 0).map(|f| key(f)).collect();
        if unanswered.is_empty() {
            return;
        }
        let answered = asked.filter(|f| f.syn_ack.count > 0 && unanswered.contains(&key(f)));
        self.answered_elsewhere = answered.filter_map(|f| Some((key(f), TranslatedServer::of(f)?))).collect();
    }
}

impl<'a> DetectContext<'a> {
    /// The last packet of the capture.
    pub fn end(&self) -> Timestamp {
        self.context.capture.map_or(Timestamp::MAX, |(_, last)| last)
    }

    /// The time until which a connection whose last packet came at `last` was watched: the capture's end, or the first
    /// interval of `STANDSTILL` without any packet. In such an interval the capture was interrupted, or it was joined
    /// from several.
    pub fn observed_until(&self, last: Timestamp) -> Timestamp {
        let still = self.context.silences.iter().filter(|s| s.from >= last && s.to - s.from >= STANDSTILL);
        still.map(|s| s.from).min().unwrap_or(Timestamp::MAX).min(self.end())
    }

    /// How much of the time from `from` to `to` was captured: intervals without any packet do not count.
    pub fn seen_time(&self, from: Timestamp, to: Timestamp) -> Span {
        let unseen = self.context.silences.iter().map(|s| (s.to.min(to) - s.from.max(from)).max(Span::ZERO));
        unseen.fold(to - from, |left, gap| left - gap)
    }

    /// A segment of this connection that came under another address of its sender, and which end got it.
    pub fn untranslated(&self, f: &ConnectionFacts) -> Option<(Role, &'a Stray)> {
        self.context.strays.of(f)
    }

    /// The other address under which this connection's SYN was answered, if it drew no answer under its own.
    pub fn answered_elsewhere(&self, f: &ConnectionFacts) -> Option<&'a TranslatedServer> {
        let is_unanswered = f.s.segments == 0 && f.syn.count > 0;
        let names = &self.context.answered_elsewhere;
        if !is_unanswered || names.is_empty() {
            return None;
        }
        names.get(&(f.client, f.c.isn.0)).filter(|other| other.server != f.server)
    }

    /// Whether this is the handshake under the other address of a SYN that drew no answer, and the client refused it.
    pub fn is_other_name(&self, f: &ConnectionFacts) -> bool {
        let other = self.context.answered_elsewhere.get(&(f.client, f.c.isn.0));
        other.is_some_and(|other| other.server == f.server && other.refused.is_some())
    }

    /// The connection that this stray segment belongs to, of which the capture knows nothing else.
    pub fn connection_of_stray(&self, f: &ConnectionFacts) -> Option<(&'a OpenFlow, Role, Stray)> {
        self.context.strays.connection_of(f)
    }

    /// The SYNs of this connection that `tcp_tw_recycle` would have dropped.
    pub fn suspects(&self, f: &ConnectionFacts) -> &'a [PawsSuspect] {
        self.context.peers.suspects(f.first.packet)
    }

    /// The answers to the SYNs from this client host to this server, and from all hosts to this server.
    pub fn tallies(&self, f: &ConnectionFacts) -> (SynFateCounts, SynFateCounts) {
        let pair = HostPair { client: f.client.address, server: f.server.address };
        (self.context.peers.tally(pair), self.context.peers.server_tally(f.server.address))
    }

    /// Connections of the same listener that are stuck at about the same time, without this one (given by its client).
    /// Of more than `COMPANY`, those that began just before and after it.
    pub fn others_stuck(
        &self,
        f: &ConnectionFacts,
        during: Interval,
        slack: Span,
    ) -> impl Iterator<Item = &StuckConnection> {
        let (me, ttl) = (f.client, f.syn_ack_offer.ttl);
        let stuck = &self.activity.stuck;
        let place = stuck.partition_point(|s| s.during.from < during.from);
        let first = place.saturating_sub(COMPANY / 2).min(stuck.len().saturating_sub(COMPANY));
        stuck
            .iter()
            .skip(first)
            .take(COMPANY)
            .filter(move |s| is_one_host(s.answer_ttl, ttl))
            .filter(move |s| s.client != me && s.during.meets(during.from, during.to, slack))
    }

    /// Whether the server's host was heard in that time, on any port.
    pub fn heard_of_host(&self, server: Address, during: Interval) -> bool {
        let Interval { from, to } = during;
        // A host that drops SYNs is heard again a moment later.
        let lasted = |heard: &Interval| heard.meets(from, to + MOMENT, Span::ZERO);
        let by_second = match self.context.hosts.get(&server) {
            Some(host) => host.seconds.inside(from.seconds(), to.seconds()).heard,
            None => self.listener.inside(during).heard,
        };
        by_second > 0 || self.context.heard.get(&server).is_some_and(|all| all.iter().any(lasted))
    }

    /// SYNs to several ports of the server that were ignored together with one of this time.
    pub fn outage_of_host(&self, server: Address, during: Interval) -> Option<&'a Outage> {
        self.context.hosts.get(&server)?.outage(during)
    }

    /// The common feature of the SYNs that this listener ignored.
    pub fn ignored_pattern(&self) -> Option<FailurePattern> {
        self.activity.patterns.of_ignored(&self.activity.ignored_syns, self.listener)
    }

    /// Whether the listener refuses and accepts in turn. Computed once for all of its connections.
    pub fn refuses_in_turn(&self) -> bool {
        let refused = &self.activity.refused_syns;
        *self.activity.alternates.get_or_init(|| common_features::alternates(refused, self.listener))
    }

    /// How many rows of refusals, without an answer in between, the listener has. Computed once for all of its
    /// connections.
    pub fn refusal_rows(&self) -> usize {
        let refused = &self.activity.refused_syns;
        *self.activity.refusal_rows.get_or_init(|| common_features::refusal_rows(refused, self.listener))
    }

    /// The common feature of the SYNs that this listener refused.
    pub fn refused_pattern(&self) -> Option<FailurePattern> {
        self.activity.patterns.of_refused(&self.activity.refused_syns, self.listener)
    }

    /// The usual round trip of this server's handshakes.
    pub fn round_trip(&self) -> Option<Span> {
        self.view.round_trip
    }

    /// TTL of the server's SYN-ACKs, when they all have the same.
    pub fn view_of_ttl(&self) -> Option<u8> {
        self.view.server_ttl
    }

    /// Whether the capture was taken where the server's answers leave their host.
    pub fn at_server(&self) -> bool {
        self.view.vantage == Vantage::Server
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_of_all_addresses_is_one() {
        let host =
            |ip: &str| Host { address: Address::from(ip.parse::<IpAddr>().expect("an address")), port: 80 };
        let ips = ["192.0.2.1", "198.51.100.1", "2001:db8::1", "127.0.0.1"];
        let listens = |all: &[&str]| StatedByHost {
            addresses: ips[..3].iter().map(|ip| host(ip).address).collect(),
            backlogs: all.iter().map(|at| (at.parse().expect("an address"), 5)).collect(),
            ..StatedByHost::default()
        };
        let with_first = |all: &[&str]| {
            let stated = listens(all);
            ips.map(|ip| stated.is_one_socket(host(ips[0]), host(ip)))
        };
        assert_eq!(with_first(&["[::]:80"]), [true, true, true, false], "another host has the last");
        assert_eq!(with_first(&["0.0.0.0:80", "[::]:80"]), [true, true, false, false]);
        assert_eq!(with_first(&["0.0.0.0:80", "192.0.2.1:80"]), [true, false, false, false]);
        assert_eq!(with_first(&["0.0.0.0:8080"]), [true, false, false, false]);
    }

    #[test]
    fn a_listener_that_came_back_had_another_backlog_before() {
        let address: SocketAddr = "192.0.2.1:80".parse().expect("an address");
        let listener = Host { address: Address::from(address.ip()), port: 80 };
        let at = |second: i64| Timestamp(second * 1_000_000_000);
        let stated = |backlogs: &[u32], second: i64| StatedByHost {
            addresses: HashSet::from([listener.address]),
            backlogs: backlogs.iter().map(|backlog| (address, *backlog)).collect(),
            at: at(second),
            ..StatedByHost::default()
        };
        let mut all = StatedByHost::default();
        // It is closed for a while, comes back with another backlog, and then with a third one.
        for now in [
            stated(&[4], 1),
            stated(&[4], 2),
            stated(&[], 3),
            stated(&[7], 4),
            stated(&[7], 5),
            stated(&[5], 6),
        ] {
            all = now.with_backlogs_of(&all);
        }
        let known = [1, 3, 4, 5, 6, 9].map(|second| all.backlog(listener, at(second)));
        assert_eq!(known, [4, 4, 7, 7, 5, 5].map(Some));
        // Of several sockets the one that refused something decides.
        all.refusing.push((address, 2, (at(20), at(22))));
        assert_eq!([15, 21, 30].map(|second| all.backlog(listener, at(second))), [5, 2, 5].map(Some));
        let elsewhere = Host {
            address: Address::from("192.0.2.2".parse::<std::net::IpAddr>().expect("an address")),
            port: 80,
        };
        assert_eq!(all.backlog(elsewhere, at(1)), None);
    }
}
