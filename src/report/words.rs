//! Phrases that more than one rendering uses.

use super::clock;
use super::model::{Alternative, Capture, Finding, Incident, Vantage};
use super::terminal::{counted, grouped};

/// How many of `n` are not shown where `limit` are.
pub(crate) fn left_over(n: usize, limit: usize) -> Option<usize> {
    n.checked_sub(limit).filter(|&rest| rest > 0)
}

/// `… and 38 more connections`.
pub(crate) fn more(n: usize, noun: &str) -> String {
    let ending = if n == 1 { "" } else { "s" };
    format!("… and {} more {noun}{ending}", grouped(n as u64))
}

/// A sentence with its full stop.
pub(crate) fn ended(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}

pub(crate) fn shown_path(path: &str) -> &str {
    if path == "-" { "standard input" } else { path }
}

/// `pcapng.gz, 812,400 packets, 811,002 TCP segments`.
pub(crate) fn contents(capture: &Capture) -> String {
    let mut text = format!(
        "{}, {}, {}",
        capture.format,
        counted(capture.packets, "packet"),
        counted(capture.tcp_segments, "TCP segment")
    );
    if let Some(dropped) = capture.dropped.filter(|&dropped| dropped > 0) {
        text.push_str(&format!(", {} dropped while capturing", grouped(dropped)));
    }
    text
}

/// From the first to the last packet of all inputs, and how long that is.
pub(crate) fn time_range(captures: &[Capture]) -> Option<String> {
    let key = |time: &&String| clock::parse(time);
    let first = captures.iter().filter_map(|capture| capture.first.as_ref()).min_by_key(key)?;
    let last = captures.iter().filter_map(|capture| capture.last.as_ref()).max_by_key(key)?;
    let mut text = clock::range(first, last);
    if let Some(span) = clock::between(first, last) {
        text.push_str(&format!(" ({span})"));
    }
    Some(text)
}

/// Where a finding's packets were captured.
pub(crate) fn captured_at(vantage: Vantage) -> &'static str {
    match vantage {
        Vantage::Client => "captured at the client",
        Vantage::Server => "captured at the server",
        Vantage::Between => "captured between the hosts",
        Vantage::Unknown => "capture point unknown",
    }
}

/// `198.51.100.1:41800 -> 10.0.0.5:8080`, or the one end that is known.
pub(crate) fn who(finding: &Finding) -> String {
    match (&finding.client, &finding.server) {
        (Some(client), Some(server)) => format!("{client} -> {server}"),
        (Some(one), None) | (None, Some(one)) => one.clone(),
        (None, None) => String::new(),
    }
}

/// Why a finding is as sure as it is, where it says so.
pub(crate) fn certainty_reason(finding: &Finding) -> Option<&str> {
    Some(finding.certainty_reason.as_str()).filter(|reason| !reason.is_empty())
}

/// The address of `address:port`.
pub(crate) fn host_of(socket: &str) -> &str {
    socket.rsplit_once(':').map_or(socket, |(host, _)| host)
}

/// The causes that could not be excluded in `findings`, each once.
pub(crate) fn alternatives<'r>(findings: &[&'r Finding]) -> Vec<&'r Alternative> {
    let mut seen = std::collections::HashSet::new();
    let all = findings.iter().flat_map(|finding| &finding.alternatives);
    all.filter(|alternative| seen.insert(alternative.text.as_str())).collect()
}

/// Names that `findings` bring, each once.
pub(crate) fn union<'r>(findings: &[&'r Finding], pick: fn(&Finding) -> &Vec<String>) -> Vec<&'r str> {
    let mut seen = std::collections::HashSet::new();
    let names = findings.iter().flat_map(|finding| pick(finding)).map(String::as_str);
    names.filter(|name| seen.insert(*name)).collect()
}

/// The findings to look at first: the surest and gravest, those that show most packets; then in order of time.
pub(crate) fn clearest<'r>(findings: &[&'r Finding]) -> Vec<&'r Finding> {
    let mut best = findings.to_vec();
    best.sort_by_key(|finding| {
        let shown = finding.evidence.len().min(ENOUGH_PACKETS);
        std::cmp::Reverse((finding.certainty, finding.severity, shown))
    });
    best
}

/// More packets than this do not make an example clearer.
const ENOUGH_PACKETS: usize = 10;

/// `5 connections of 2 clients`, or how many findings where they are about no connection.
pub(crate) fn extent(incident: &Incident) -> String {
    match (incident.connections, incident.clients) {
        (0, _) => counted(incident.findings.len() as u64, "finding"),
        (n, 0) => counted(n, "connection"),
        (n, clients) => format!("{} of {}", counted(n, "connection"), counted(clients, "client")),
    }
}

/// ` at 10.0.0.5:8080`, or nothing where an incident is about no listener.
pub(crate) fn place(incident: &Incident) -> String {
    incident.listener.as_ref().map(|listener| format!(" at {listener}")).unwrap_or_default()
}
