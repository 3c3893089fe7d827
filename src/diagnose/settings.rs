//! What the wire betrays of the kernels' settings: each with what it was read from, and only where enough shows it.

use std::collections::BTreeMap;

use serde_json::json;

use crate::detect::ignored_syn::CROWD;
use crate::detect::screen::Sample;
use crate::detect::surroundings::World;
use crate::diagnose::vantage::INITIAL_TTL;
use crate::diagnose::write::Written;
use crate::flow::facts::{ConnectionFacts, Sent};
use crate::flow::key::Host;
use crate::report::model::{Inferred, Kind};
use crate::time::{Span, Timestamp};

/// Connections that must agree before a number of retries is believed.
const AGREE: usize = 3;
/// A SYN repeated after this much at most, four times running, is sent by linear time-outs (Linux 6.5 and later).
const LINEAR: std::ops::RangeInclusive<i64> = 900_000_000..=1_200_000_000;

/// Reads what can be read, in a fixed order.
pub fn infer(
    world: &World,
    kept: &[ConnectionFacts],
    samples: &[(std::net::IpAddr, Vec<Sample>)],
    written: &[Written],
) -> Vec<Inferred> {
    let mut all = Vec::new();
    for (server, some) in samples {
        all.extend(initial_ttl(*server, some));
    }
    let mut listeners: Vec<Host> = world.scenes.keys().copied().collect();
    listeners.sort_unstable();
    for listener in listeners {
        all.extend(accept_queue(world, listener, written));
        all.extend(syn_queue(world, listener, written));
        all.extend(synack_retries(world, listener));
        all.extend(deferral(listener, written));
    }
    all.extend(syn_retries(world, kept));
    all.extend(fin_timeout(written));
    all
}

fn inferred(host: impl ToString, setting: &str, value: serde_json::Value, from: String) -> Inferred {
    Inferred { host: host.to_string(), setting: setting.to_owned(), value, from }
}

/// Every SYN-ACK's TTL is the same, and a value that hosts start from lies not far above it.
fn initial_ttl(server: std::net::IpAddr, samples: &[Sample]) -> Option<Inferred> {
    let ttl = samples.first()?.server_ttl;
    let initial = *INITIAL_TTL.iter().find(|&&initial| initial >= ttl)?;
    let same = samples.iter().all(|s| s.server_ttl == ttl);
    (same && samples.len() >= AGREE && initial - ttl < 32).then(|| {
        let from =
            format!("TTL {ttl} in the SYN-ACKs of {} handshakes, {} hops away", samples.len(), initial - ttl);
        inferred(server, "net.ipv4.ip_default_ttl", json!(initial), from)
    })
}

/// How many completed connections waited when the first client was refused: one more than the backlog fit
/// (`sk_acceptq_is_full`).
fn accept_queue(world: &World, listener: Host, written: &[Written]) -> Option<Inferred> {
    let kinds = [Kind::AcceptQueueOverflow, Kind::AcceptQueueReset, Kind::SynDropAcceptQueue];
    first_of(written, listener, &kinds)?;
    let scene = world.scenes.get(&listener)?;
    // Refused at the final ACK or at the SYN; others of the same burst may have taken the last places just before.
    let stuck = scene.stuck.iter().map(|s| s.during.from);
    let reset = scene.reset.iter().map(|at| at.time);
    let ignored = scene.ignored.iter().map(|i| i.during.from);
    // SYNs may have gone unanswered for other reasons, and before: they count where nothing surer does.
    let refused = stuck.chain(reset).min().or(ignored.min())?;
    let waiting = scene.unserved_at(refused.after(Span(-1)));
    (waiting >= 2).then(|| {
        let from = format!(
            "{waiting} completed connections had not been served when the first client was refused (those that had come before the \
             capture are not counted)"
        );
        inferred(listener.socket(), "accept queue limit (listen backlog, net.core.somaxconn)", json!(waiting - 1), from)
    })
}

/// How many handshakes were half open when the first SYN was dropped for it.
fn syn_queue(world: &World, listener: Host, written: &[Written]) -> Option<Inferred> {
    let first = first_of(written, listener, &[Kind::SynDropSynQueue])?;
    let half_open = world.scenes.get(&listener)?.half_open_at(first);
    (half_open >= CROWD).then(|| {
        let from = format!("{half_open} handshakes were half open when the first SYN was dropped");
        inferred(listener.socket(), "SYN queue limit", json!(half_open), from)
    })
}

/// The most SYN-ACK retransmissions of requests that were watched until they must have died. Two may be a request
/// that was pruned because the queue was half full (`reqsk_timer_handler`).
fn synack_retries(world: &World, listener: Host) -> Option<Inferred> {
    let end = world.capture?.1;
    let scene = world.scenes.get(&listener)?;
    let watched = |h: &&crate::detect::scene::HalfOpen| h.during.to < end;
    let most = scene.half_open.iter().filter(watched).map(|h| h.syn_acks).max()?.checked_sub(1)?;
    let agree = scene.half_open.iter().filter(watched).filter(|h| h.syn_acks == most + 1).count();
    (agree >= AGREE && most > 2).then(|| {
        let from = format!("{agree} unanswered SYN-ACKs were sent {most} more times and then no more");
        inferred(listener.socket(), "net.ipv4.tcp_synack_retries", json!(most), from)
    })
}

/// Which seconds of `TCP_DEFER_ACCEPT` lead to a first repetition after 1, 3, 7 ... s (`secs_to_retrans`).
fn deferral(listener: Host, written: &[Written]) -> Option<Inferred> {
    let mut alike =
        written.iter().filter(|w| w.draft.kind == Kind::DeferAccept && w.draft.server == Some(listener));
    let after = alike.next()?.draft.metrics.get("repeated_after_s")?.as_f64()?;
    let (least, most) = match after {
        0.0..2.0 => (1, 1),
        2.0..5.0 => (2, 3),
        5.0..11.0 => (4, 7),
        11.0..23.0 => (8, 15),
        _ => (16, 31),
    };
    let n = alike.count() + 1;
    let from = format!("the only repetition of the SYN-ACK came after {after:.1} s ({n} times)");
    Some(inferred(listener.socket(), "TCP_DEFER_ACCEPT (s)", json!({ "least": least, "most": most }), from))
}

/// SYNs of clients that gave up while they were watched: how many, and whether the first ones came a second apart.
fn syn_retries(world: &World, kept: &[ConnectionFacts]) -> Vec<Inferred> {
    let mut hosts: BTreeMap<std::net::IpAddr, (BTreeMap<u32, usize>, usize)> = BTreeMap::new();
    let end = world.capture.map_or(Timestamp::MIN, |(_, last)| last);
    for f in kept.iter().filter(|f| f.syn_ack.count == 0 && f.syn.count >= 2 && f.s.segments == 0) {
        let times: Vec<Timestamp> = f.syn.iter().map(|s: &Sent| s.at.time).collect();
        let gaps: Vec<Span> = times.windows(2).map(|t| t[1] - t[0]).collect();
        let (Some(last), Some(gap)) = (times.last(), gaps.last()) else { continue };
        let (counts, linear) = hosts.entry(f.client.address.ip()).or_default();
        let given_up = end.min(f.watched) - *last > Span(gap.0.saturating_mul(5) / 2);
        if given_up {
            *counts.entry(f.syn.count - 1).or_default() += 1;
        }
        *linear += usize::from(gaps.len() >= 4 && gaps[..4].iter().all(|gap| LINEAR.contains(&gap.0)));
    }
    let mut all = Vec::new();
    for (host, (counts, linear)) in hosts {
        if linear >= AGREE {
            let from = format!("{linear} SYNs were repeated four times a second apart: Linux 6.5 or later");
            all.push(inferred(host, "net.ipv4.tcp_syn_linear_timeouts", json!(4), from));
        }
        if let Some((retries, n)) = counts.iter().max_by_key(|(_, n)| **n).filter(|(_, n)| **n >= AGREE) {
            let linear_too = if linear > 0 { ", the linear ones included" } else { "" };
            let from = format!("{n} clients gave up after {retries} repetitions{linear_too}");
            all.push(inferred(host, "net.ipv4.tcp_syn_retries", json!(retries), from));
        }
    }
    all
}

/// A FIN or a probe that drew a RST: by then the orphan was gone.
fn fin_timeout(written: &[Written]) -> Vec<Inferred> {
    let mut hosts: BTreeMap<String, f64> = BTreeMap::new();
    for w in written.iter().filter(|w| w.draft.kind == Kind::FinWait2Expired) {
        let metrics = &w.draft.metrics;
        let proof = matches!(metrics.get("late").and_then(|v| v.as_str()), Some("FIN" | "a keepalive probe"));
        let closer = metrics.get("closed_by").and_then(|v| v.as_str());
        if let (true, Some(closer), Some(silence)) =
            (proof, closer, metrics.get("silence_s").and_then(|v| v.as_f64()))
        {
            hosts.entry(closer.to_owned()).and_modify(|least| *least = least.min(silence)).or_insert(silence);
        }
    }
    hosts
        .into_iter()
        .map(|(host, silence)| {
            let from =
                format!("a socket in FIN_WAIT2 was gone {silence:.1} s after its FIN was acknowledged");
            inferred(host, "net.ipv4.tcp_fin_timeout (s)", json!({ "most": silence }), from)
        })
        .collect()
}

/// When the first finding of one of `kinds` at `listener` began.
fn first_of(written: &[Written], listener: Host, kinds: &[Kind]) -> Option<Timestamp> {
    let mine = written.iter().filter(|w| w.draft.server == Some(listener) && kinds.contains(&w.draft.kind));
    mine.map(|w| w.draft.during().0).min()
}
