//! How often SYNs and SYN-ACKs are repeated before they are given up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::json;

use crate::detect::context::CaptureContext;
use crate::diagnose::settings::inference::{AGREE, inferred};
use crate::flow::facts::ConnectionFacts;
use crate::flow::key::Host;
use crate::history::incomplete::HalfOpenRequest;
use crate::model::Inferred;
use crate::time::{Span, Timestamp};

/// A SYN that is repeated after at most this time, four times in a row, comes from linear time-outs (Linux 6.5 and
/// later).
const LINEAR: std::ops::RangeInclusive<i64> = 900_000_000..=1_200_000_000;
/// This many time-outs are linear by default (`tcp_syn_linear_timeouts`); they are not counted as retries.
const LINEAR_TIMEOUTS: u32 = 4;
/// A queue that is half full prunes requests down to this many retransmissions (`reqsk_timer_handler`): smaller numbers
/// say nothing about the setting.
const PRUNED: u16 = 2;

/// The most SYN-ACK retransmissions of requests that were watched until they expired.
pub fn of_syn_ack(context: &CaptureContext, listener: Host) -> Option<Inferred> {
    let end = context.capture?.1;
    let activity = context.activities.get(&listener)?;
    // After n SYN-ACKs a request expires 2^n - 1 timer periods (of a second or three) after the first. One that ended
    // sooner was reset by its client.
    let lived = |h: &&HalfOpenRequest| {
        let died_at = Span::millis(900).0.saturating_mul((1 << h.syn_acks.min(16)) - 1);
        h.during.to < end && (h.during.to - h.during.from).0 >= died_at
    };
    let watched = || activity.half_open.iter().filter(lived);
    let most = watched().map(|h| h.syn_acks).max()?.checked_sub(1)?;
    let agree = watched().filter(|h| h.syn_acks == most + 1).count();
    (agree >= AGREE && most > PRUNED && !context.damaged).then(|| {
        let from = format!("{agree} unanswered SYN-ACKs were repeated {most} times");
        inferred(listener.socket(), "net.ipv4.tcp_synack_retries", json!(most), from)
    })
}

/// Times between the SYNs of a connection that drew no answer at all.
fn gaps(f: &ConnectionFacts) -> Option<Vec<Span>> {
    (f.syn_ack.count == 0 && f.syn.count >= 2 && f.s.segments == 0 && f.icmp.is_none()).then(|| {
        let times: Vec<Timestamp> = f.syn.iter().map(|s| s.at.time).collect();
        times.windows(2).map(|t| t[1] - t[0]).collect()
    })
}

/// How often the SYNs of connections without any answer were repeated, by client host.
#[derive(Default)]
pub struct Retries {
    /// Hosts that repeat their SYNs four times a second apart, and how often they did.
    linear: BTreeMap<IpAddr, usize>,
    /// How many connections were given up after each number of repetitions while they were watched.
    given_up: BTreeMap<(IpAddr, u32), usize>,
}

impl Retries {
    /// Reads them from the facts of connections.
    pub fn read(kept: &[Box<ConnectionFacts>], context: &CaptureContext) -> Retries {
        let end = context.capture.map_or(Timestamp::MIN, |(_, last)| last);
        let Retries { mut linear, mut given_up } = Retries::default();
        for f in kept {
            let Some(gaps) = gaps(f) else { continue };
            let client = f.client.address.ip();
            if gaps.len() >= 4 && gaps[..4].iter().all(|gap| LINEAR.contains(&gap.0)) {
                *linear.entry(client).or_default() += 1;
            }
            let Some((gap, last)) = gaps.last().zip(f.syn.last()) else { continue };
            if end.min(f.watched) - last.at.time > Span(gap.0.saturating_mul(5) / 2) {
                *given_up.entry((client, f.syn.count - 1)).or_default() += 1;
            }
        }
        // On enough connections to exclude chance.
        linear.retain(|_, n| *n >= AGREE);
        given_up.retain(|_, n| *n >= AGREE);
        Retries { linear, given_up }
    }

    /// Client hosts that repeat their SYNs four times a second apart, and on how many connections they did.
    pub fn linear(&self) -> &BTreeMap<IpAddr, usize> {
        &self.linear
    }

    /// SYNs of clients that gave up while they were watched, and whether the first ones came a second apart. The
    /// application may have given up before the kernel: the setting is not smaller.
    pub fn inferred(&self) -> Vec<Inferred> {
        let Retries { linear, given_up } = self;
        let mut all = Vec::new();
        let clients: BTreeSet<IpAddr> =
            given_up.keys().map(|(host, _)| host).chain(linear.keys()).copied().collect();
        for host in clients {
            if let Some(n) = linear.get(&host) {
                let from = format!("{n} SYNs were repeated four times a second apart: Linux 6.5 or later");
                all.push(inferred(host, "net.ipv4.tcp_syn_linear_timeouts", json!(LINEAR_TIMEOUTS), from));
            }
            let counts = given_up.range((host, 0)..=(host, u32::MAX));
            let Some((&(_, sent), &n)) = counts.max_by_key(|(_, n)| **n) else {
                continue;
            };
            let (retries, how) = if linear.contains_key(&host) {
                (
                    sent.saturating_sub(LINEAR_TIMEOUTS),
                    ", the first four of which are linear and do not count",
                )
            } else {
                (sent, "")
            };
            let from = format!(
                "the kernel or the application gave up {n} connections after {sent} repetitions{how}"
            );
            all.push(inferred(host, "net.ipv4.tcp_syn_retries", json!({ "least": retries }), from));
        }
        all
    }
}
