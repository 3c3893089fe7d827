//! No report contradicts itself: its cause is not among the excluded ones, names fit the address family, and next steps
//! are about the connections that it shows.

mod support;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use support::{analyze, analyze_all, cases, options};
use synscope::model::{Certainty, Excluded, Finding, Incident, Kind, Report, Subject, Vantage};
use synscope::pair::{self, Pairing};
use synscope::report::step::NextStep;

/// Every recorded capture alone, and every pair of them as two sides of the same traffic.
fn reports() -> Vec<(String, Report)> {
    let mut all = Vec::new();
    for case in cases() {
        let captures: Vec<_> = case.truth.captures.iter().map(|c| case.capture(&c.key)).collect();
        for path in &captures {
            all.push((path.display().to_string(), analyze(path).report));
        }
        if captures.len() == 2 {
            let outcome = pair::analyze_files(&captures, Pairing::Auto, &options(), &mut |_| ());
            all.push((format!("{}: both", case.name), outcome.expect("both can be read").report));
        } else if captures.len() > 2 {
            all.push((format!("{}: all", case.name), analyze_all(&captures, &options()).report));
        }
    }
    all
}

/// Words by which a text blames the path.
fn blames_the_path(text: &str) -> bool {
    ["The network lo", "network dropped", "lost on the way"].iter().any(|words| text.contains(words))
}

fn check_finding(name: &str, finding: &Finding) {
    let cause = finding.cause.text.as_ref();
    for excluded in &finding.excluded {
        assert_ne!(cause, excluded.suspect.text(), "{name} {}: the cause is excluded", finding.id);
        assert!(
            !(blames_the_path(cause) && blames_the_path(excluded.suspect.text())),
            "{name} {}: the cause is \"{cause}\", excluded is \"{}\"",
            finding.id,
            excluded.suspect
        );
        for other in &finding.alternatives {
            assert_ne!(other.suspect, excluded.suspect, "{name} {}: an alternative is excluded", finding.id);
        }
    }
    for other in &finding.alternatives {
        assert_ne!(cause, other.suspect.text(), "{name} {}: the cause is its own alternative", finding.id);
    }
    let is_v6 = finding.server.is_some_and(|server| server.is_ipv6());
    let names = [&finding.cause.kernel_functions, &finding.cause.counters, &finding.cause.sysctls];
    for kernel in names.into_iter().flatten() {
        let fits = if is_v6 {
            !kernel.contains("_v4_") && !kernel.contains("rp_filter") && !kernel.contains("ReversePath")
        } else {
            !kernel.contains("_v6_")
        };
        assert!(fits, "{name} {}: {kernel} is of the other address family", finding.id);
    }
}

/// Addresses and ports that a report may name beside an incident: those of its findings.
fn known(findings: &[&Finding]) -> (BTreeSet<IpAddr>, BTreeSet<String>) {
    let (mut addresses, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for finding in findings {
        let also = finding.also_known_as.iter().flat_map(|names| [names.client, names.server]);
        for socket in finding.client.into_iter().chain(finding.server).chain(also) {
            addresses.insert(socket.ip());
            ports.insert(socket.port().to_string());
        }
        // A finding about a whole listener names its client in the summary; one about an untranslated segment names its
        // source address.
        for word in
            finding.summary.split_whitespace().map(|word| word.trim_matches([',', '.', ':', ';', '(', ')']))
        {
            addresses.extend(word.parse::<IpAddr>());
            if let Ok(socket) = word.parse::<SocketAddr>() {
                addresses.insert(socket.ip());
                ports.insert(socket.port().to_string());
            }
        }
        let reporter = finding.metrics.get("reported_by").and_then(|by| by.as_str().map(str::to_owned));
        addresses.extend(reporter.and_then(|by| by.parse::<IpAddr>().ok()));
    }
    (addresses, ports)
}

fn check_incident(name: &str, incident: &Incident, findings: &[&Finding]) {
    let surest = findings.iter().map(|f| f.certainty).max().unwrap_or(Certainty::Possible);
    assert!(incident.certainty <= surest, "{name} {}: surer than its findings", incident.id);
    assert!(
        findings.iter().all(|f| f.severity <= incident.severity),
        "{name} {}: a finding is graver than its incident",
        incident.id
    );
    let (addresses, ports) = known(findings);
    let is_v6 = incident.listener.is_some_and(|listener| listener.is_ipv6());
    for step in &incident.next_steps {
        assert!(!(is_v6 && step.contains("tcp[tcpflags]")), "{name}: {step} matches no IPv6");
        let words = step.split(|c: char| c.is_whitespace() || ",'\"()".contains(c));
        for word in words {
            let bare = word.trim_matches(|c| ":;.[]".contains(c));
            if let Ok(address) = bare.parse::<IpAddr>() {
                assert!(
                    addresses.contains(&address),
                    "{name} {}: {address} is not in it: {step}",
                    incident.id
                );
            }
            let port = word.strip_prefix(':').filter(|port| !port.is_empty() && port.parse::<u16>().is_ok());
            if let Some(port) = port {
                assert!(ports.contains(port), "{name} {}: port {port} is not in it: {step}", incident.id);
            }
        }
        // At the server's own interface nobody has to ask whether the SYNs of the capture arrive there.
        let at_server = findings.iter().all(|f| f.vantage == Vantage::Server);
        let asks = matches!(NextStep::read(step), NextStep::Command { remark, .. } if remark.contains("do the SYNs arrive"));
        assert!(!(at_server && asks && incident.kind == Kind::SynUnanswered), "{name}: {step}");
    }
}

#[test]
fn no_recorded_report_contradicts_itself() {
    let reports = reports();
    assert!(reports.len() > 50, "{} reports", reports.len());
    for (name, report) in &reports {
        for finding in &report.findings {
            check_finding(name, finding);
        }
        for incident in &report.incidents {
            let findings: Vec<&Finding> =
                report.findings.iter().filter(|finding| incident.findings.contains(&finding.id)).collect();
            check_incident(name, incident, &findings);
        }
        for setting in &report.inferred {
            let v6 = matches!(setting.host, Subject::Host(ip) if ip.is_ipv6());
            assert!(!(v6 && setting.setting.contains("ip_default_ttl")), "{name}: {setting:?}");
        }
    }
}

/// The check notices a planted contradiction.
#[test]
#[should_panic(expected = "the cause is")]
fn a_cause_that_is_excluded_is_noticed() {
    let mut report =
        reports().into_iter().map(|(_, r)| r).find(|r| !r.findings.is_empty()).expect("a finding");
    let finding = &mut report.findings[0];
    finding.cause.text = "The network lost a SYN.".into();
    finding.excluded.push(Excluded {
        suspect: "The SYNs were lost on the way to the server.".into(),
        reason: "they arrived".to_owned(),
    });
    check_finding("made", finding);
}
