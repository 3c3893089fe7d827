//! How long an orphan stays in FIN_WAIT2, and after what idle time keepalive probes are sent.

use std::collections::BTreeMap;

use serde_json::json;

use crate::detect::reading::Readings;
use crate::diagnose::settings::{AGREE, inferred};
use crate::diagnose::write::Written;
use crate::report::model::{Inferred, Kind};
use crate::time::Span;

/// Up to this `tcp_fin_timeout` an orphan lives as long as it says; above it lives twice the excess, seconds
/// (`tcp_fin`, `tcp_time_wait`, `TCP_TIMEWAIT_LEN`).
const TIME_WAIT: f64 = 60.0;
/// How far apart the idle times of two connections may lie and be of one setting: timers run late by up to 3 %.
const SLACK: f64 = 0.03;

/// A FIN or a probe that drew a RST: by then the orphan was gone.
pub fn fin_timeout(written: &[Written]) -> Vec<Inferred> {
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
            let gone = format!("a socket in FIN_WAIT2 was gone {silence:.1} s after its FIN was acknowledged");
            let above = TIME_WAIT + silence / 2.0;
            let (most, from) = if silence < TIME_WAIT {
                (silence, format!("{gone}; or the setting lies between 60 and {above:.1}: above 60 s an orphan lives twice the excess"))
            } else {
                (above, gone)
            };
            inferred(host, "net.ipv4.tcp_fin_timeout (s)", json!({ "most": most }), from)
        })
        .collect()
}

/// Probes that were answered come each after the same idle time; so does the first one.
pub fn keepalive(readings: &Readings) -> Vec<Inferred> {
    let mut hosts: BTreeMap<_, Vec<Span>> = BTreeMap::new();
    for idle in readings.idle.iter().filter(|idle| idle.probes == 1 || idle.answered) {
        let each = Span(idle.lasted.0 / i64::from(idle.probes.max(1)));
        hosts.entry(idle.host.address.ip()).or_default().push(each);
    }
    let mut all = Vec::new();
    for (host, mut times) in hosts {
        times.sort_unstable();
        let (shortest, longest) = (times[0], times[times.len() - 1]);
        if times.len() < AGREE || longest.0 as f64 > shortest.0 as f64 * (1.0 + 2.0 * SLACK) {
            continue;
        }
        let seconds = (shortest.0 as f64 / 1e8).round() / 10.0;
        let from = format!(
            "{} idle connections were probed each {shortest} to {longest} after the last exchange",
            times.len()
        );
        all.push(inferred(host, "net.ipv4.tcp_keepalive_time, or TCP_KEEPIDLE (s)", json!(seconds), from));
    }
    all
}
