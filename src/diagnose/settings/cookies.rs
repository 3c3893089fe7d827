//! `tcp_syncookies`: whether a listener sends cookies when its SYN queue is full, or always.

use serde_json::json;

use crate::detect::analysis::ignored_syn::CROWD;
use crate::detect::context::CaptureContext;
use crate::diagnose::settings::clock::HostClock;
use crate::diagnose::settings::inference::{AGREE, inferred};
use crate::flow::facts::Role;
use crate::flow::key::Host;
use crate::history::host_clocks::ClockReading;
use crate::history::syn_ack_lag::{CLEAR, LONGEST, SPREAD};
use crate::model::Inferred;

/// How many handshakes must be read before a conclusion: one cookie in 32 lags no more than the noise.
const ENOUGH: usize = 10;
/// The low six bits of a cookie's TSval hold options (`TSBITS`), so it lags the clock by 0 to 63 ticks of a
/// millisecond, with a margin for varying delays.
const LAG: std::ops::RangeInclusive<i64> = -2..=66;

/// Reads it of one listener.
pub fn infer(context: &CaptureContext, listener: Host, clocks: &[HostClock<'_>]) -> Option<Inferred> {
    let activity = context.activities.get(&listener);
    let stripped = activity.map_or(0, |activity| activity.stripped.len());
    let full = context.listeners.get(&listener).map_or(0, |l| l.full_offers);
    let say = |value: u8, from: String| {
        Some(inferred(listener.socket(), "net.ipv4.tcp_syncookies", json!(value), from))
    };
    if stripped >= AGREE && full >= AGREE as u64 {
        return say(1, format!("{stripped} SYN-ACKs without the options that {full} others carried"));
    }
    let millisecond = |clock: &&HostClock<'_>| clock.pace.is_some_and(|(pace, _)| pace == 1_000);
    let clock = clocks.iter().find(|clock| clock.host == listener.address.ip()).filter(millisecond)?;
    let of_listener = |r: &&ClockReading| r.role == Role::Server && r.host == listener && r.span() <= LONGEST;
    let own = clock.readings.iter().copied().filter(of_listener);
    let all: Vec<(&ClockReading, i64)> = own.map(|r| (r, r.ticks() - r.span().0 / 1_000_000)).collect();
    let clear: Vec<i64> = all.iter().map(|(_, lag)| *lag).filter(|lag| *lag >= CLEAR).collect();
    let spread = clear.iter().max()? - clear.iter().min()?;
    if all.len() < ENOUGH || spread < SPREAD || all.iter().any(|(_, lag)| !LAG.contains(lag)) {
        return None;
    }
    let from = |what: &str| {
        format!(
            "the TSval of {} of {} SYN-ACKs lags the server's clock by up to {} ms{what}",
            clear.len(),
            all.len(),
            clear.iter().max().unwrap_or(&0)
        )
    };
    // Nine in ten cookies lag clearly.
    if clear.len() * 4 >= all.len() * 3 {
        let crowded =
            |r: &ClockReading| activity.is_some_and(|activity| activity.half_open_at(r.first.0) >= CROWD);
        let idle = all.iter().filter(|(r, _)| !crowded(r)).count();
        (idle * 4 >= all.len() * 3)
            .then(|| say(2, from(", although few handshakes were half open")))
            .flatten()
    } else if clear.len() >= ENOUGH / 2 {
        say(1, from(", and that of the others does not"))
    } else {
        None
    }
}
