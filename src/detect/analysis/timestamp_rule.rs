//! Whether the rule of `tcp_tw_recycle` explains unanswered SYNs.

use crate::detect::context::DetectContext;
use crate::flow::facts::ConnectionFacts;
use crate::history::tw_recycle::PawsSuspect;
use crate::time::Span;

/// If the rule explains the SYNs of fewer connections than this, it is no pattern.
const LEAST_DROPPED: u32 = 2;
/// If the server answered fewer SYNs than this that the rule lets pass, nothing shows that the others were singled out.
const LEAST_PASSING: u32 = 2;
/// Cases for the rule, dropped and passing, that must come together. With an offset per connection every timestamp is
/// behind the one before with probability one half, so fewer are chance.
const CASES: u32 = 8;
/// How many connections the rule must explain for each unanswered one that it does not.
const PER_UNEXPLAINED: u32 = 3;
/// How many drops there must be for each SYN that the rule would drop and that was answered.
const PER_CONTRADICTION: u32 = 20;
/// A SYN that was not answered by then would have been repeated (`TCP_TIMEOUT_INIT`).
const ANSWERED: Span = Span::secs(1);
/// How near in time other unanswered SYNs are evidence for another cause.
const SAME_TIME: Span = Span::secs(5);

/// The SYNs of the connection that the rule would drop and that drew no answer.
pub fn dropped_syns<'a>(
    f: &ConnectionFacts,
    around: &DetectContext<'a>,
) -> impl Iterator<Item = &'a PawsSuspect> {
    let answered = f.answered_syn().map(|syn| syn.at);
    around.suspects(f).iter().filter(move |syn| Some(syn.at) != answered)
}

/// Whether the rule explains unanswered SYNs of this connection, and agrees with the server's answers to other SYNs.
pub fn explains_unanswered_syns(f: &ConnectionFacts, around: &DetectContext<'_>) -> bool {
    // One host with one clock, and no NAT in between: there, a timestamp that runs back is an error of the capture.
    if f.client.address.ip().is_loopback() {
        return false;
    }
    // If the capture lost packets or changed their order, some of our records are older or newer than the server's.
    let imperfect = around.context.shuffled || around.context.damaged;
    agrees(f, around, if imperfect { IMPERFECT } else { 1 })
}

/// How many times as often an imperfect capture may contradict the rule.
const IMPERFECT: u32 = 4;

/// Whether the rule agrees with the fate of all SYNs. It may be contradicted once in `often` times.
pub fn agrees(f: &ConnectionFacts, around: &DetectContext<'_>, often: u32) -> bool {
    let Some(first) = dropped_syns(f, around).next() else { return false };
    // The answer to a SYN at the end of the capture comes after that end.
    let waited = around.observed_until(f.last.time).min(f.watched) - first.at.time;
    if f.syn_ack.count == 0 && waited < ANSWERED {
        return false;
    }
    let (_, server) = around.tallies(f);
    // An address that was never heard may be no listener; a SYN that has another explanation proves nothing.
    let listens = around.listener.answers > 0;
    let per = |n: u32| n.div_ceil(often);
    let unexplained = around.activity.unexplained * per(PER_UNEXPLAINED) > server.dropped_connections;
    let contradicted = match first.behind {
        Some(_) => server.answered_behind * per(PER_CONTRADICTION) > server.dropped_behind,
        None => server.answered_without > 0,
    };
    f.unanswered_syns().next().is_some()
        && listens
        && !unexplained
        && !contradicted
        && server.dropped_connections >= LEAST_DROPPED
        && server.passing >= LEAST_PASSING
        && server.dropped_connections + server.passing >= CASES
        && singled_out(first, around)
}

/// Whether SYNs that the rule lets pass were answered at that time: if they were not, timestamps are not the reason.
fn singled_out(first: &PawsSuspect, around: &DetectContext<'_>) -> bool {
    let at = first.at.time;
    let near = around.activity.ignored.iter().filter(|i| i.during.meets(at, at, SAME_TIME));
    let (behind, all) = (near.clone().filter(|i| i.behind).count(), near.count());
    (all - behind) * 2 <= behind
}
