//! How long an orphan stays in FIN_WAIT2, and after how much idle time keepalive probes are sent.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::json;

use crate::detect::Draft;
use crate::detect::analysis::fin_wait2::LateSegment;
use crate::detect::details::{Details, seconds};
use crate::diagnose::settings::inference::{AGREE, inferred};
use crate::flow::key::Host;
use crate::history::host_clocks::ClockReadings;
use crate::model::{Inferred, Kind};
use crate::time::Span;

/// Up to this value of `tcp_fin_timeout` an orphan lives as long as it says; above it, twice the excess, seconds
/// (`tcp_fin`, `tcp_time_wait`, `TCP_TIMEWAIT_LEN`).
const TIME_WAIT: f64 = 60.0;
/// How far the idle times of two connections with one setting may differ: timers run late by up to 3 %.
const SLACK: f64 = 0.03;

/// For how long sockets of one host were seen to be in FIN_WAIT2.
#[derive(Clone, Copy, Debug, Default)]
struct FinWait2Durations {
    /// For this long one was still there as an orphan, seconds: the shortest of this many, since each may have been
    /// closed later than its FIN was sent.
    alive: Option<(f64, usize)>,
    /// After this time one was gone, seconds.
    gone: Option<f64>,
}

/// A FIN or a probe drew a RST: by then the orphan was gone. A probe was answered by a small socket: it was still
/// there.
pub fn fin_timeout(drafts: &[&Draft]) -> Vec<Inferred> {
    // In order of their names, as they are written.
    let mut hosts: BTreeMap<(String, IpAddr), FinWait2Durations> = BTreeMap::new();
    let name = |host: Host| (host.address.ip().to_string(), host.address.ip());
    for d in drafts {
        match (d.kind, d.details) {
            (Kind::HalfClose, Details::HalfClose(half)) => {
                let lives = hosts.entry(name(half.closer_host)).or_default();
                if let Some(alive) = half.orphan_alive.map(seconds) {
                    let (least, n) = lives.alive.unwrap_or((alive, 0));
                    lives.alive = Some((least.min(alive), n + 1));
                }
            }
            // An orphan refuses data while it lives: only a FIN or a probe proves that it is gone.
            (
                Kind::FinWait2Expired,
                Details::Expiry { closer, late: LateSegment::Fin | LateSegment::KeepAlive, silence },
            ) => {
                let lives = hosts.entry(name(closer)).or_default();
                let silence = seconds(silence);
                lives.gone = Some(lives.gone.map_or(silence, |gone| gone.min(silence)));
            }
            _ => {}
        }
    }
    hosts.into_iter().filter_map(|((_, host), lives)| bounds(host, lives)).collect()
}

/// The limits for the setting that these lifetimes allow.
fn bounds(host: IpAddr, lives: FinWait2Durations) -> Option<Inferred> {
    // Timers run late: it may have been due.
    let alive = lives.alive.filter(|(_, n)| *n >= AGREE).map(|(s, n)| (s / (1.0 + SLACK), n));
    if alive.zip(lives.gone).is_some_and(|((alive, _), gone)| alive > gone) {
        return None;
    }
    let above = |lived: f64| TIME_WAIT + lived / 2.0;
    let mut said = Vec::new();
    let mut value = serde_json::Map::new();
    if let Some((alive, n)) = alive {
        said.push(format!(
            "{n} orphans in FIN_WAIT2 still answered a probe {alive:.1} s after their FIN was acknowledged"
        ));
        let least = if alive < TIME_WAIT { alive } else { above(alive) };
        value.insert("least".to_owned(), json!((least * 10.0).floor() / 10.0));
    }
    if let Some(gone) = lives.gone {
        said.push(format!("a socket in FIN_WAIT2 was gone {gone:.1} s after its FIN was acknowledged"));
        if gone < TIME_WAIT {
            let from = alive.map_or(TIME_WAIT, |(alive, _)| above(alive));
            said.push(format!(
                "or the setting lies between {from:.1} and {:.1}: above 60 s an orphan lives for twice the excess only",
                above(gone)
            ));
        }
        value.insert("most".to_owned(), json!(if gone < TIME_WAIT { gone } else { above(gone) }));
    }
    (!said.is_empty()).then(|| inferred(host, "net.ipv4.tcp_fin_timeout (s)", value.into(), said.join("; ")))
}

/// Probes with an answer come each after the same idle time; so does the first one. Probes without an answer follow at
/// another interval.
pub fn keepalive(readings: &ClockReadings) -> Vec<Inferred> {
    let (mut idle, mut between): (BTreeMap<_, Vec<Span>>, BTreeMap<_, Vec<Span>>) = Default::default();
    for one in &readings.idle {
        let host = one.host.address.ip();
        let probes = i64::from(one.probes.max(1));
        if one.probes == 1 || one.answered {
            idle.entry(host).or_default().push(Span(one.lasted.0 / probes));
        } else if !one.any_answered {
            idle.entry(host).or_default().push(one.first);
            between.entry(host).or_default().push(Span((one.lasted - one.first).0 / (probes - 1)));
        }
    }
    let mut all = Vec::new();
    let time = "net.ipv4.tcp_keepalive_time, or TCP_KEEPIDLE (s)";
    let intvl = "net.ipv4.tcp_keepalive_intvl, or TCP_KEEPINTVL (s)";
    for (host, times) in idle {
        let from = |n: usize, shortest: Span, longest: Span| {
            format!("{n} idle connections were probed each {shortest} to {longest} after the last exchange")
        };
        all.extend(agreed(host, time, times, from));
    }
    for (host, times) in between {
        let from = |n: usize, shortest: Span, longest: Span| {
            format!("on {n} connections, probes without an answer came {shortest} to {longest} apart")
        };
        all.extend(agreed(host, intvl, times, from));
    }
    all
}

/// The value on which the times of enough connections agree.
fn agreed(
    host: IpAddr,
    setting: &str,
    mut times: Vec<Span>,
    from: impl Fn(usize, Span, Span) -> String,
) -> Option<Inferred> {
    times.sort_unstable();
    let (shortest, longest) = (*times.first()?, *times.last()?);
    let agree = times.len() >= AGREE && longest.0 as f64 <= shortest.0 as f64 * (1.0 + 2.0 * SLACK);
    agree.then(|| {
        let seconds = (shortest.0 as f64 / 1e8).round() / 10.0;
        inferred(host, setting, json!(seconds), from(times.len(), shortest, longest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::facts::PacketRef;
    use crate::history::host_clocks::KeepaliveProbes;

    fn lives(alive: Option<(f64, usize)>, gone: Option<f64>) -> Option<serde_json::Value> {
        bounds(IpAddr::from([192, 0, 2, 1]), FinWait2Durations { alive, gone }).map(|i| i.value)
    }

    #[test]
    fn an_orphan_lives_as_long_as_the_setting_says_or_twice_the_excess_above_60_s() {
        assert_eq!(lives(None, Some(6.3)), Some(json!({ "most": 6.3 })));
        assert_eq!(lives(Some((10.3, 3)), Some(31.0)), Some(json!({ "least": 10.0, "most": 31.0 })));
        assert_eq!(lives(Some((103.0, 3)), None), Some(json!({ "least": 110.0 })));
        assert_eq!(lives(None, Some(100.0)), Some(json!({ "most": 110.0 })));
    }

    #[test]
    fn nothing_is_said_of_few_or_of_lives_that_contradict_each_other() {
        assert_eq!(lives(Some((10.3, 2)), None), None);
        assert_eq!(lives(Some((40.0, 5)), Some(20.0)), None);
    }

    fn idle(probes: u16, first: i64, lasted: i64, answered: bool) -> KeepaliveProbes {
        KeepaliveProbes {
            at: PacketRef::default(),
            host: Host::default(),
            probes,
            first: Span::secs(first),
            lasted: Span::secs(lasted),
            answered,
            any_answered: answered,
        }
    }

    fn read(idle: Vec<KeepaliveProbes>) -> Vec<(bool, f64)> {
        let all = keepalive(&ClockReadings { idle, ..ClockReadings::default() });
        all.iter().map(|i| (i.setting.contains("intvl"), i.value.as_f64().expect("seconds"))).collect()
    }

    #[test]
    fn probes_without_an_answer_tell_the_interval_too() {
        assert_eq!(read(vec![idle(4, 60, 75, false); 3]), [(false, 60.0), (true, 5.0)]);
        assert_eq!(read(vec![idle(4, 60, 240, true); 3]), [(false, 60.0)]);
        assert_eq!(read(vec![idle(1, 60, 60, false); 3]), [(false, 60.0)]);
        assert_eq!(read(vec![idle(4, 60, 75, false); 2]), []);
    }

    #[test]
    fn connections_that_differ_tell_nothing() {
        assert_eq!(read(vec![idle(4, 60, 75, false), idle(4, 60, 75, false), idle(4, 90, 150, false)]), []);
    }
}
