//! What the SYNs have in common that a listener refused or ignored while it answered others: a filter, a four-tuple used
//! again, one of several hosts behind an address.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use crate::decode::segment::{Address, TcpOptions};
use crate::flow::facts::{ConnectionFacts, SynOffer};
use crate::flow::key::Host;
use crate::history::accepted_syns::{AcceptedSyns, REUSED_WITHIN};
use crate::history::listener::ListenerHistory;
use crate::time::{Span, Timestamp};

/// With this many failed SYNs that are alike, and as many answered ones that differ, it is not chance.
const PATTERN: usize = 3;
/// From this many refusals on, with accepted connections before and after each, the two alternate.
const ALTERNATIONS: usize = 3;
/// Refused, and accepted, within one second.
const SOME: u32 = 2;
/// A port below this one needs a privilege.
const PRIVILEGED: u16 = 1024;

/// A SYN that was refused or ignored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FailedSyn {
    /// When it was sent.
    pub at: Timestamp,
    /// Who sent it.
    pub client: Host,
    /// The options and header fields that it offered.
    pub syn: SynOffer,
    /// How long ago its four-tuple was last used, if the capture shows that.
    pub again_after: Option<Span>,
}

impl FailedSyn {
    /// The first SYN of this connection.
    pub fn of(f: &ConnectionFacts) -> FailedSyn {
        let again_after = f.previous.as_ref().map(|previous| f.first.time - previous.last.time);
        FailedSyn { at: f.first.time, client: f.client, syn: f.syn_offer, again_after }
    }

    fn is_reuse(&self) -> bool {
        self.again_after.is_some_and(|after| after <= REUSED_WITHIN)
    }
}

/// A feature that failed SYNs share and answered ones lack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SynFeature {
    /// They reuse a four-tuple: the shortest and the longest time since its last use.
    ReusedTuple(Span, Span),
    /// They ask for ECN.
    Ecn,
    /// They carry this option.
    With(&'static str),
    /// They lack this option.
    Without(&'static str),
    /// They have another maximum segment size.
    SegmentSize(u16),
    /// Their source port is privileged.
    PrivilegedPort,
    /// They have another type of service.
    ServiceType(u8),
    /// They have another time to live: they come by another path, or from another system.
    TimeToLive(u8),
    /// They come from other addresses.
    Client,
}

/// How a SYN fared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SynOutcome {
    /// It was answered by a RST.
    Refused,
    /// It was not answered.
    Ignored,
}

impl SynOutcome {
    fn participle(self) -> &'static str {
        match self {
            SynOutcome::Refused => "refused",
            SynOutcome::Ignored => "ignored",
        }
    }
}

/// A feature, and how often it was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FailurePattern {
    /// The common feature.
    pub mark: SynFeature,
    /// SYNs that failed, all of which have it.
    pub failed: usize,
    /// SYNs that were answered and do not have it.
    pub answered: u32,
    /// None of the clients whose SYNs failed had one answered: the client's address may be the reason.
    pub by_client: bool,
}

/// The patterns of one listener, computed when first asked for.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct FailurePatterns {
    refused: OnceLock<Option<FailurePattern>>,
    ignored: OnceLock<Option<FailurePattern>>,
}

impl FailurePatterns {
    /// The feature that distinguishes the refused SYNs.
    pub fn of_refused(&self, failed: &[FailedSyn], listener: &ListenerHistory) -> Option<FailurePattern> {
        *self.refused.get_or_init(|| FailurePattern::find(failed, listener))
    }

    /// The feature that distinguishes the ignored SYNs.
    pub fn of_ignored(&self, failed: &[FailedSyn], listener: &ListenerHistory) -> Option<FailurePattern> {
        *self.ignored.get_or_init(|| FailurePattern::find(failed, listener))
    }
}

impl FailurePattern {
    /// The feature that all failed SYNs have and no answered one has; of several, the most telling.
    fn find(failed: &[FailedSyn], listener: &ListenerHistory) -> Option<FailurePattern> {
        let accepted = listener.accepted.as_deref()?;
        let (first, last) = (failed.iter().map(|f| f.at).min()?, failed.iter().map(|f| f.at).max()?);
        // Answers at another time may show that the listener has changed, not that it treats clients differently.
        if failed.len() < PATTERN || listener.between(first, last).answered < PATTERN as u32 {
            return None;
        }
        let by_client = failed.iter().all(|f| accepted.lacks_client(f.client.address));
        let clients: BTreeSet<Address> = failed.iter().map(|f| f.client.address).collect();
        // Where each client sends one SYN, the clients that fail always differ from those that do not.
        let is_client = || by_client && clients.len() * PATTERN <= failed.len();
        let in_turn = alternates(failed, listener);
        let pattern = |(mark, answered)| FailurePattern { mark, failed: failed.len(), answered, by_client };
        let others = || header(failed, accepted).or_else(|| is_client().then_some(SynFeature::Client));
        reuse(failed, accepted)
            .or_else(|| ecn(failed, accepted).then_some((SynFeature::Ecn, accepted.count)))
            .or_else(|| others().filter(|_| in_turn).map(|mark| (mark, accepted.count)))
            .map(pattern)
    }

    /// One clause: the feature of the failed SYNs that the others lack.
    pub fn clause(&self, fate: SynOutcome) -> String {
        let fate = fate.participle();
        let FailurePattern { failed, answered, .. } = self;
        match self.mark {
            SynFeature::ReusedTuple(least, most) => format!(
                "all {failed} SYNs that were {fate} reuse a four-tuple of an older connection that ended {least} to {most} \
                 before, and none of {answered} SYNs from fresh ports was {fate}"
            ),
            SynFeature::Client => format!(
                "all {failed} SYNs that were {fate} come from clients that got no SYN-ACK at all, and {answered} SYNs of other \
                 clients were answered"
            ),
            mark => format!(
                "all {failed} SYNs that were {fate} {}, and none of the {answered} SYNs that were answered does",
                mark.verb()
            ),
        }
    }
}

impl SynFeature {
    fn verb(self) -> String {
        match self {
            SynFeature::ReusedTuple(..) => "reuse a four-tuple".to_owned(),
            SynFeature::Ecn => "ask for ECN (the ECE and CWR bits)".to_owned(),
            SynFeature::With(option) => format!("carry the {option} option"),
            SynFeature::Without(option) => format!("lack the {option} option"),
            SynFeature::SegmentSize(mss) => format!("offer an MSS of {mss}"),
            SynFeature::PrivilegedPort => "come from a source port below 1024".to_owned(),
            SynFeature::ServiceType(tos) => format!("have type of service {tos:#04x}"),
            SynFeature::TimeToLive(ttl) => format!("have a TTL of {ttl}"),
            SynFeature::Client => "come from addresses of their own".to_owned(),
        }
    }

    /// The field that decides, as a noun.
    pub fn noun(self) -> String {
        match self {
            SynFeature::ReusedTuple(..) => "four-tuples that are used again".to_owned(),
            SynFeature::Ecn => "the ECN bits (ECE and CWR)".to_owned(),
            SynFeature::With(option) | SynFeature::Without(option) => format!("the {option} option"),
            SynFeature::SegmentSize(_) => "the MSS".to_owned(),
            SynFeature::PrivilegedPort => "the source port".to_owned(),
            SynFeature::ServiceType(_) => "the type of service".to_owned(),
            SynFeature::TimeToLive(_) => {
                "the path or the system that the SYN comes from (its TTL)".to_owned()
            }
            SynFeature::Client => "the client's address".to_owned(),
        }
    }
}

/// All failed SYNs reuse a four-tuple, and those from fresh ports were answered.
fn reuse(failed: &[FailedSyn], accepted: &AcceptedSyns) -> Option<(SynFeature, u32)> {
    let fresh = accepted.count - accepted.reused;
    // If most SYNs that reuse a four-tuple are answered, that is not the reason.
    let is_reason = accepted.reused as usize <= failed.len() / 2 && fresh as usize >= PATTERN;
    if !is_reason || !failed.iter().all(FailedSyn::is_reuse) {
        return None;
    }
    let after = || failed.iter().filter_map(|f| f.again_after);
    Some((SynFeature::ReusedTuple(after().min()?, after().max()?), fresh))
}

/// All failed SYNs ask for ECN, and no other SYN does.
fn ecn(failed: &[FailedSyn], accepted: &AcceptedSyns) -> bool {
    accepted.ecn == 0 && failed.iter().all(|f| f.syn.ecn)
}

/// Another header field that distinguishes the failed SYNs.
fn header(failed: &[FailedSyn], accepted: &AcceptedSyns) -> Option<SynFeature> {
    if accepted.low_ports == 0 && failed.iter().all(|f| f.client.port < PRIVILEGED) {
        return Some(SynFeature::PrivilegedPort);
    }
    let options = accepted.options.all();
    let named = [
        (TcpOptions::TIMESTAMPS, "timestamps"),
        (TcpOptions::SACK_PERMITTED, "SACK-permitted"),
        (TcpOptions::WINDOW_SCALE, "window scale"),
        (TcpOptions::MSS, "MSS"),
        (TcpOptions::FAST_OPEN_REQUEST | TcpOptions::FAST_OPEN_COOKIE, "Fast Open"),
    ];
    for (bits, name) in named.into_iter().filter(|_| !options.is_empty()) {
        let has = |f: &FailedSyn| f.syn.options.any(bits);
        if failed.iter().all(has) && options.iter().all(|o| !TcpOptions(*o).any(bits)) {
            return Some(SynFeature::With(name));
        }
        if !failed.iter().any(has) && options.iter().all(|o| TcpOptions(*o).any(bits)) {
            return Some(SynFeature::Without(name));
        }
    }
    let syn = &failed[0].syn;
    let all_have = |same: fn(&SynOffer, &SynOffer) -> bool| failed.iter().all(|f| same(&f.syn, syn));
    if all_have(|a, b| a.mss == b.mss) && accepted.mss.lacks(syn.mss) {
        return Some(SynFeature::SegmentSize(syn.mss));
    }
    if all_have(|a, b| a.tos == b.tos) && accepted.tos.lacks(syn.tos) {
        return Some(SynFeature::ServiceType(syn.tos));
    }
    (all_have(|a, b| a.ttl == b.ttl) && accepted.ttl.lacks(syn.ttl))
        .then_some(SynFeature::TimeToLive(syn.ttl))
}

/// At least this many refusals in a row mean that nothing listened at that time.
const ROW: u32 = 4;

/// SYNs that failed with no pause of a whole second between them.
struct FailedRun {
    first: Timestamp,
    last: Timestamp,
    failed: u32,
}

impl FailedRun {
    /// Whether the listener failed nearly all SYNs from the first failed one to the last, judged by the rate in those
    /// seconds.
    fn fails_all(&self, listener: &ListenerHistory) -> bool {
        let (from, to) = (self.first.seconds(), self.last.seconds());
        let lasted = self.last - self.first;
        let whole = Span::secs((to - from + 1) * listener.seconds.step());
        let came = u64::from(listener.seconds.between(from, to).syns);
        // All SYNs, as if they came evenly: one in four may be missing.
        let due = came as f64 * lasted.0 as f64 / whole.0 as f64;
        self.failed >= ROW && f64::from(self.failed) >= due * 0.75
    }

    /// Whole seconds next to this row in which SYNs were answered, and seconds in which some failed and others did not.
    fn mixed(&self, seconds: &[i64], listener: &ListenerHistory) -> (usize, usize) {
        let step = listener.seconds.step();
        let (from, to) = (self.first.seconds(), self.last.seconds());
        let of_row = &seconds[seconds.partition_point(|second| *second < from)
            ..seconds.partition_point(|second| *second <= to)];
        let answered = |from: i64, to: i64| listener.seconds.between(from, to).answered > 0;
        let in_turn =
            of_row.windows(2).filter(|pair| pair[1] - pair[0] >= step && answered(pair[0], pair[1])).count();
        let has_both = |second: &&i64| {
            let both = listener.seconds.between(**second, **second);
            step == 1 && both.refused >= SOME && both.answered >= SOME
        };
        (in_turn, of_row.iter().filter(has_both).count())
    }
}

/// How many rows the refusals form: between two rows lies a whole second in which SYNs were answered.
pub fn refusal_rows(refused: &[FailedSyn], listener: &ListenerHistory) -> usize {
    let mut seconds: Vec<i64> = refused.iter().map(|f| f.at.seconds()).collect();
    seconds.sort_unstable();
    seconds.dedup();
    let answered = |from: i64, to: i64| listener.seconds.inside(from, to).answered > 0;
    usize::from(!seconds.is_empty()) + seconds.windows(2).filter(|pair| answered(pair[0], pair[1])).count()
}

/// Whether a listener refused some connections and accepted others in turn, again and again: not one host that stopped
/// and started.
pub fn alternates(refused: &[FailedSyn], listener: &ListenerHistory) -> bool {
    let mut at: Vec<Timestamp> = refused.iter().map(|f| f.at).collect();
    at.sort_unstable();
    let mut seconds: Vec<i64> = at.iter().map(|at| at.seconds()).collect();
    seconds.dedup();
    let step = listener.seconds.step();
    let mut rows: Vec<FailedRun> = Vec::new();
    for at in at {
        match rows.last_mut() {
            Some(row) if at.seconds() - row.last.seconds() <= step => {
                *row = FailedRun { last: at, failed: row.failed + 1, ..*row };
            }
            _ => rows.push(FailedRun { first: at, last: at, failed: 1 }),
        }
    }
    // A host that stops and starts fails all SYNs for a while. With several hosts, the others answer meanwhile.
    rows.retain(|row| !row.fails_all(listener));
    let answered = |from: i64, to: i64| listener.seconds.between(from, to).answered > 0;
    let between =
        rows.windows(2).filter(|pair| answered(pair[0].last.seconds(), pair[1].first.seconds())).count();
    let within = rows.iter().map(|row| row.mixed(&seconds, listener));
    let (in_turn, has_both) = within.fold((between, 0), |sum, row| (sum.0 + row.0, sum.1 + row.1));
    in_turn >= ALTERNATIONS || has_both >= 2
}
