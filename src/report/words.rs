//! Phrases that more than one rendering uses.

use super::clock::{self, TimeFormat};
use super::terminal::{counted, grouped};
use crate::model::{
    Alternative, Capture, Certainty, Evidence, Excluded, Filtered, Finding, Incident, Inferred, Outcome,
    PacketPoints, Pair, Phrase, Quality, Report, Summary, Unexplained, Vantage, path::distinct_names,
};
use crate::time::Span;

/// How many of `n` are not shown where `limit` are.
pub(crate) fn omitted(n: usize, limit: usize) -> Option<usize> {
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
    if capture.format.is_empty() {
        return "not read".to_owned();
    }
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

/// The filters, and how much they left out: ``filtered by `--port 1`: 62 of 62 TCP segments left out``.
pub(crate) fn filters(report: &Report) -> Option<String> {
    let filtered = report.filtered.as_ref()?;
    Some(format!("filtered by `{}`: {}", filtered.typed(), left_out(report, filtered)))
}

fn left_out(report: &Report, filtered: &Filtered) -> String {
    let mut parts = Vec::new();
    let of = |n: u64, all: u64, noun: &str| format!("{} of {}", grouped(n), counted(all, noun));
    if filtered.selects_times() {
        parts.push(of(filtered.packets, report.summary.packets, "packet"));
    }
    if filtered.selects_connections() {
        let within = if filtered.selects_times() { " in that time" } else { "" };
        parts.push(of(filtered.tcp_segments, report.summary.tcp_segments, "TCP segment") + within);
    }
    format!("{} left out", parts.join(", "))
}

/// Why there was nothing to judge.
pub(crate) fn no_connection(report: &Report) -> String {
    match &report.filtered {
        None => "The packets read hold no TCP connection: nothing to judge.".to_owned(),
        Some(filtered) => format!(
            "No TCP connection matches `{}`: nothing to judge. Without it there may be some ({}).",
            filtered.typed(),
            left_out(report, filtered)
        ),
    }
}

/// How many inputs are named one by one; more of them share one line.
pub(crate) const NAMED_INPUTS: usize = 20;

/// Many inputs in one line: `a.pcap to z.pcap: 1,500 captures (pcap, pcapng.gz)`.
pub(crate) fn many_inputs(captures: &[Capture]) -> String {
    let mut formats: Vec<&str> =
        captures.iter().map(|c| if c.format.is_empty() { "not read" } else { c.format.as_str() }).collect();
    formats.sort_unstable();
    formats.dedup();
    let end = |capture: Option<&Capture>| capture.map_or("", |c| shown_path(&c.path)).to_owned();
    format!(
        "{} ... {}: {} ({})",
        end(captures.first()),
        end(captures.last()),
        counted(captures.len() as u64, "capture"),
        formats.join(", ")
    )
}

/// The inputs whose clock the findings use: all, the server's side of a pair, or those of one of several points.
pub(super) fn timed(report: &Report) -> Vec<&Capture> {
    let by_another = |c: &Capture| {
        report.pairs.iter().any(|pair| pair.client_side.contains(&c.path))
            || report.points.iter().any(|point| !point.reference && point.captures.contains(&c.path))
    };
    report.captures.iter().filter(|capture| !by_another(capture)).collect()
}

/// The connections that two captures of the same traffic share, and the difference of their clocks: two sentences.
pub(super) fn paired(pair: &Pair) -> [String; 2] {
    let first = |paths: &'_ [String]| paths.first().cloned().unwrap_or_default();
    let firsts = [first(&pair.client_side), first(&pair.server_side)];
    let names = distinct_names(&firsts[0], &firsts[1]);
    let side = |name: &str, paths: &[String]| match paths.len() {
        0 | 1 => name.to_owned(),
        n => format!("{name} and {} more", grouped(n as u64 - 1)),
    };
    let (client, server) = (side(names[0], &pair.client_side), side(names[1], &pair.server_side));
    let about = if pair.estimated { "about " } else { "" };
    let translated = match pair.translated {
        0 => String::new(),
        n => format!(" ({} under other addresses: a NAT or proxy is between)", grouped(n)),
    };
    let common = format!(
        "Two captures of the same traffic: {about}{} in both{translated}, {} only in {client}, {} only in {server}.",
        counted(pair.connections_matched, "TCP connection"),
        grouped(pair.only_in.client_side),
        grouped(pair.only_in.server_side),
    );
    let span = |seconds: f64| Span((seconds * 1e9).round() as i64);
    let sure = match pair.uncertainty_s {
        Some(uncertainty) => format!("±{}", span(uncertainty)),
        None => "only one direction was captured, so the delay between the two is part of it".to_owned(),
    };
    let drift = match pair.drift_ppm {
        0.0 => String::new(),
        ppm => format!(", drifting by {ppm:.1} ppm"),
    };
    let offset = span(pair.offset_s.abs());
    let differs = match pair.uncertainty_s.is_some_and(|u| pair.offset_s.abs() <= u) {
        true => format!("The clocks agree ({sure}{drift})"),
        false => {
            let way = if pair.offset_s < 0.0 { "behind" } else { "ahead of" };
            format!("The clock of {client} is {offset} {way} that of {server} ({sure}{drift})")
        }
    };
    [common, format!("{differs}; the times of findings are those of {server}.")]
}

/// Other captures that hold a packet: `server.pcap`, `client.pcap #12`, `not in server.pcap`. With the captures of the
/// report as `own`, the packet's own capture is named first.
pub(super) fn seen_elsewhere(evidence: &Evidence, own: Option<&[Capture]>) -> String {
    if let Some(points) = &evidence.points {
        return format!("  [{}]", seen_at(points));
    }
    let elsewhere = evidence.also.as_ref().map(|also| &also.capture).or(evidence.missing_in.as_ref());
    let [here, there] = match elsewhere {
        Some(other) => distinct_names(&evidence.capture, other),
        None => [short_path(&evidence.capture, own.unwrap_or_default()), ""],
    };
    let mut parts = Vec::new();
    if own.is_some() {
        parts.push(here.to_owned());
    }
    match &evidence.also {
        Some(also) => parts.push(format!("{there} #{}", also.packet)),
        None if elsewhere.is_some() => parts.push(format!("not in {there}")),
        None => {}
    }
    if parts.is_empty() { String::new() } else { format!("  [{}]", parts.join(", ")) }
}

/// Which points saw a packet: `client, lb; not at web1`.
fn seen_at(points: &PacketPoints) -> String {
    let seen = points.seen_at.join(", ");
    match &points.missing_at {
        Some(missing) => format!("{seen}; not at {missing}"),
        None => seen,
    }
}

/// The capture that all packets of `finding` are in, and no other; `None` if the name adds nothing, as with one
/// capture.
pub(super) fn sole_capture<'p>(finding: &'p Finding, captures: &[Capture]) -> Option<&'p str> {
    if finding.evidence.iter().any(|e| e.points.is_some()) {
        return None;
    }
    let first = finding.evidence.first().filter(|_| captures.len() > 1)?;
    let here = |e: &Evidence| e.capture == first.capture && e.also.is_none() && e.missing_in.is_none();
    finding.evidence.iter().all(here).then(|| short_path(&first.capture, captures))
}

/// The other addresses of a finding's ends: `10.0.0.1:4000 -> 10.0.0.5:80 in client.pcap`.
pub(super) fn other_names(finding: &Finding) -> Option<String> {
    let names = finding.also_known_as.as_ref()?;
    Some(format!("{} -> {} in {}", names.client, names.server, shown_path(&names.capture)))
}

/// The causes that a second capture excludes in `findings`, each once.
pub(super) fn excluded<'r>(findings: &[&'r Finding]) -> Vec<&'r Excluded> {
    let mut seen = std::collections::HashSet::new();
    let all = findings.iter().flat_map(|finding| &finding.excluded);
    all.filter(|excluded| seen.insert(excluded.suspect.text())).collect()
}

/// From the first to the last packet of all inputs, and how long that is.
pub(crate) fn time_range(captures: &[&Capture]) -> Option<String> {
    let first = captures.iter().filter_map(|capture| capture.first).min()?;
    let last = captures.iter().filter_map(|capture| capture.last).max()?;
    Some(format!("{} ({})", clock::range(first, last), last - first))
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
pub(crate) fn endpoints(finding: &Finding) -> String {
    match (&finding.client, &finding.server) {
        (Some(client), Some(server)) => format!("{client} -> {server}"),
        (Some(one), None) | (None, Some(one)) => one.to_string(),
        (None, None) => String::new(),
    }
}

/// The reason for a finding's certainty, if it gives one.
pub(crate) fn certainty_reason(finding: &Finding) -> Option<&str> {
    Some(finding.certainty_reason.as_str()).filter(|reason| !reason.is_empty())
}

/// The alternatives that could not be excluded in `findings`, each once.
pub(crate) fn alternatives<'r>(findings: &[&'r Finding]) -> Vec<&'r Alternative> {
    let mut seen = std::collections::HashSet::new();
    let all = findings.iter().flat_map(|finding| &finding.alternatives);
    all.filter(|alternative| seen.insert(alternative.suspect.text())).collect()
}

/// The names in `findings`, each once.
pub(crate) fn union<'r>(findings: &[&'r Finding], pick: fn(&Finding) -> &[Phrase]) -> Vec<&'r str> {
    let mut seen = std::collections::HashSet::new();
    let names = findings.iter().flat_map(|finding| pick(finding)).map(AsRef::as_ref);
    names.filter(|name| seen.insert(*name)).collect()
}

/// The findings to look at first: those as certain as their incident, `certainty`, then the gravest, and those with
/// most packets; then in order of time. The third is one with another outcome, if there is any: of many connections
/// that were never answered, one that was.
pub(crate) fn clearest<'r>(findings: &[&'r Finding], certainty: Certainty) -> Vec<&'r Finding> {
    let mut best = findings.to_vec();
    best.sort_by_key(|finding| {
        let shown = finding.evidence.len().min(ENOUGH_PACKETS);
        std::cmp::Reverse((finding.certainty == certainty, finding.certainty, finding.severity, shown))
    });
    if best.len() > EXAMPLES {
        let usual = best[0].severity;
        let other = best.iter().position(|finding| finding.severity != usual);
        if let Some(other) = other.filter(|other| *other >= EXAMPLES) {
            best[EXAMPLES - 1..=other].rotate_right(1);
        }
    }
    best
}

/// This many findings of an incident are shown in full.
const EXAMPLES: usize = 3;
/// More packets than this do not make an example clearer.
const ENOUGH_PACKETS: usize = 10;

/// `5 connections of 2 clients`, or how many findings if they are not about connections.
pub(crate) fn extent(incident: &Incident) -> String {
    let at_least = at_least(incident);
    match (incident.connections, incident.clients) {
        (0, _) => counted(incident.findings.len() as u64, "finding"),
        (n, 0) => format!("{at_least}{}", counted(n, "connection")),
        (n, clients) => format!("{at_least}{} of {}", counted(n, "connection"), counted(clients, "client")),
    }
}

/// The prefix of a number of examined connections, if more were only counted.
pub(super) fn at_least(incident: &Incident) -> &'static str {
    if incident.unexamined.is_some() { "at least " } else { "" }
}

/// ` at 10.0.0.5:8080`, or nothing for an incident without a listener.
pub(crate) fn place(incident: &Incident) -> String {
    incident.listener.as_ref().map(|listener| format!(" at {listener}")).unwrap_or_default()
}

/// With a capital letter.
pub(super) fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

/// `4 of the 10 connections attempted during the incident (40 %); none of the 4 recovered before the capture ended`, if
/// that is known; `all 10 connections ...` if all were hit.
pub(super) fn share(incident: &Incident) -> Option<String> {
    let mut said = Vec::new();
    if let Some(unexamined) = &incident.unexamined {
        let clock = TimeFormat::new([incident.last, unexamined.last]);
        said.push(format!(
            "{} more similar connections, the last at {} UTC, counted but not examined: there were too many",
            grouped(unexamined.connections),
            clock.second(unexamined.last)
        ));
    } else if let Some(attempts) = incident.attempts.filter(|&n| n > 0) {
        said.push(match (attempts, incident.connections) {
            (1, 1..) => "the only connection attempted during the incident".to_owned(),
            (n, hit) if hit >= n => format!("all {} attempted during the incident", counted(n, "connection")),
            (n, hit) => format!(
                "{} of the {} attempted during the incident ({})",
                grouped(hit),
                counted(n, "connection"),
                percent(hit, n)
            ),
        });
    }
    match (incident.recovered, incident.got_through) {
        (Some(true), Some(n)) if n == incident.connections && incident.unexamined.is_none() => {
            said.push("all recovered before the capture ended".to_owned())
        }
        (Some(true), Some(n)) => {
            let those = if incident.unexamined.is_some() { "examined" } else { "affected" };
            said.push(format!(
                "{} of the {} {those} recovered before the capture ended",
                grouped(n),
                grouped(incident.connections)
            ));
        }
        (Some(true), None) => said.push("some recovered before the capture ended".to_owned()),
        (Some(false), _) if incident.connections > 1 => said.push(format!(
            "none of the {} recovered before the capture ended",
            grouped(incident.connections)
        )),
        (Some(false), _) => said.push("it did not recover before the capture ended".to_owned()),
        (None, _) => {}
    }
    if let Some(packets) = incident.judged_by_kernel.filter(|packets| *packets > 1) {
        said.push(format!("the kernel gave a verdict on {} of their packets", grouped(packets)));
    }
    Some(said.join("; ")).filter(|said| !said.is_empty())
}

/// A share, rounded: `42 %`; `below 1 %` and `above 99 %` instead of 0 and 100.
pub(super) fn percent(part: u64, whole: u64) -> String {
    let whole = u128::from(whole.max(1));
    match (u128::from(part) * 200 + whole) / (2 * whole) {
        0 if part > 0 => "below 1 %".to_owned(),
        100.. if u128::from(part) < whole => "above 99 %".to_owned(),
        rounded => format!("{rounded} %"),
    }
}

/// The value of a setting, exact or as a limit: `2`, or `at least 2`.
pub(super) fn setting_value(value: &serde_json::Value) -> (bool, String) {
    match (value.as_str(), &value["least"], &value["most"]) {
        (Some(text), ..) => (true, text.to_owned()),
        (_, least, most) if !least.is_null() && least == most => (true, least.to_string()),
        (_, least, most) if !least.is_null() && !most.is_null() => (false, format!("{least} to {most}")),
        (_, least, _) if !least.is_null() => (false, format!("at least {least}")),
        (_, _, most) if !most.is_null() => (false, format!("at most {most}")),
        _ => (true, value.to_string()),
    }
}

/// The title of the table of settings: with statements of the host's snapshots, or from the packets alone.
pub(super) fn settings_title(inferred: &[Inferred]) -> &'static str {
    match inferred.iter().any(|setting| setting.from.starts_with("snapshot of ")) {
        true => "Kernel settings stated by the host or inferred from the packets",
        false => "Kernel settings inferred from the packets",
    }
}

/// Whether some client was hit more than once: otherwise there is no order among them.
pub(super) fn ranked(incident: &Incident) -> bool {
    incident.top_clients.first().is_some_and(|share| share.findings > 1)
}

/// `10.0.0.7 (12), 10.0.0.9 (3), and 5 more`: the `limit` clients that were hit most, if there are several and some
/// were hit more than once.
pub(super) fn most_affected(incident: &Incident, limit: usize) -> Option<String> {
    if !ranked(incident) {
        return None;
    }
    let shown = incident.top_clients.iter().take(limit);
    let shown: Vec<String> =
        shown.map(|share| format!("{} ({})", share.client, grouped(share.findings))).collect();
    let rest = omitted(incident.clients as usize, shown.len());
    let rest = rest.map(|rest| format!(", and {} more", grouped(rest as u64))).unwrap_or_default();
    (!shown.is_empty()).then(|| format!("{}{rest}", shown.join(", ")))
}

/// How many connections failed, which of those no finding explains, and some examples: one sentence each. Nothing if no
/// connection failed.
pub(super) fn failures(summary: &Summary) -> Vec<String> {
    if summary.failed == 0 {
        return Vec::new();
    }
    let failed = OUTCOMES.iter().filter_map(|(outcome, words)| {
        summary.outcomes.get(outcome).map(|n| format!("{} {words}", grouped(*n)))
    });
    let failed: Vec<String> = failed.collect();
    let of = grouped(summary.connections);
    let mut sentences = vec![format!(
        "{} of {of} {} failed: {}.",
        grouped(summary.failed),
        if summary.connections == 1 { "connection" } else { "connections" },
        failed.join(", ")
    )];
    match summary.failed_unexplained {
        0 => sentences.push("Findings explain all of them.".to_owned()),
        n => {
            let examples: Vec<String> = summary.unexplained.iter().take(UNEXPLAINED).map(example).collect();
            let rest = n.saturating_sub(examples.len() as u64);
            let mut text = format!("No finding explains {}", grouped(n));
            if !examples.is_empty() {
                text.push_str(&format!(": {}", examples.join("; ")));
                if rest > 0 {
                    text.push_str(&format!("; and {} more", grouped(rest)));
                }
            }
            text.push('.');
            sentences.push(text);
        }
    }
    sentences
}

/// Unexplained failures that are named.
const UNEXPLAINED: usize = 5;

/// The outcomes that are failures, in words after a number.
const OUTCOMES: [(Outcome, &str); 7] = [
    (Outcome::Refused, "refused"),
    (Outcome::Unanswered, "never answered"),
    (Outcome::NeverCompleted, "with a handshake that never completed"),
    (Outcome::Stalled, "stalled"),
    (Outcome::ResetByClient, "reset by the client"),
    (Outcome::ResetByServer, "reset by the server"),
    (Outcome::ResetByBox, "reset by a box on the path"),
];

fn example(failed: &Unexplained) -> String {
    let outcome = failed.outcome.name().replace('-', " ");
    format!("{} to {} ({outcome}, packet {})", failed.client, failed.server, failed.packet)
}

/// How far the captures can be trusted, a clause for each reason; empty if there is no doubt. The warnings of the
/// report already cover packets that were captured twice, cut or malformed.
pub(super) fn quality(quality: &Quality) -> Vec<String> {
    let times = |n: u64| match n {
        1 => "once".to_owned(),
        n => format!("{} times", grouped(n)),
    };
    let on = |n: u64| format!("on {}", counted(n, "connection"));
    let facts = [
        (
            quality.dropped.unwrap_or(0),
            counted(quality.dropped.unwrap_or(0), "packet") + " dropped while capturing",
        ),
        (quality.one_sided, format!("one direction only {}", on(quality.one_sided))),
        (quality.mid_stream, counted(quality.mid_stream, "connection") + " whose beginning was not captured"),
        (quality.clock_jumps, format!("the clock stepped back {}", times(quality.clock_jumps))),
        (quality.bad_checksums, counted(quality.bad_checksums, "segment") + " with a wrong checksum"),
    ];
    facts.into_iter().filter_map(|(n, fact)| (n > 0).then_some(fact)).collect()
}

/// The consequences for findings where the captures lost packets or mixed up their times.
pub(super) const fn trust(quality: &Quality) -> &'static str {
    match quality.damaged {
        true => " Therefore a missing packet confirms nothing.",
        false => "",
    }
}

/// The file's name if it distinguishes `path` from the other captures, else all of it.
pub(super) fn short_path<'p>(path: &'p str, captures: &[Capture]) -> &'p str {
    fn name(path: &str) -> &str {
        path.rsplit('/').next().unwrap_or(path)
    }
    let own = name(path);
    match captures.iter().any(|other| other.path != path && name(&other.path) == own) || own.is_empty() {
        true => path,
        false => shown_path(own),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_snapshot_states_is_no_inference() {
        let mut inferred = crate::report::samples::overflow().inferred;
        assert_eq!(settings_title(&inferred), "Kernel settings inferred from the packets");
        inferred[0].from = "snapshot of 2026-11-22T14:03:07Z".to_owned();
        assert_eq!(
            settings_title(&inferred),
            "Kernel settings stated by the host or inferred from the packets"
        );
    }

    #[test]
    fn percentages_are_rounded_and_never_say_none_or_all_of_some() {
        assert_eq!(percent(5, 12), "42 %");
        assert_eq!(percent(1, 3), "33 %");
        assert_eq!(percent(1, 1000), "below 1 %");
        assert_eq!(percent(999, 1000), "above 99 %");
        assert_eq!(percent(7, 7), "100 %");
    }

    #[test]
    fn a_file_name_is_enough_unless_two_share_it() {
        let capture = |path: &str| Capture { path: path.to_owned(), ..Capture::default() };
        let captures = [capture("/a/server.pcap"), capture("/b/server.pcap"), capture("/b/client.pcap")];
        assert_eq!(short_path("/a/server.pcap", &captures), "/a/server.pcap");
        assert_eq!(short_path("/b/client.pcap", &captures), "client.pcap");
        assert_eq!(short_path("-", &captures), "standard input");
    }
}
