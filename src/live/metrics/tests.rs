//! The page by the rules of OpenMetrics, and clients that do not behave.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use super::server::{MOST_CLIENTS, PATIENCE};
use super::*;
use crate::live::samples;
use crate::live::state::{InterfaceState, ListenerState};

/// A metric family, read from text.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    unit: String,
    help: String,
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

/// Reads a page by the text format of OpenMetrics 1.0.0; panics where it breaks a rule.
fn parse(page: &str) -> BTreeMap<String, Family> {
    assert!(page.ends_with("# EOF\n"), "the last line is EOF");
    assert_eq!(page.matches("# EOF").count(), 1);
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in page.strip_suffix("# EOF\n").unwrap().lines() {
        assert!(!line.is_empty(), "no line is empty");
        if let Some(meta) = line.strip_prefix("# ") {
            let (word, rest) = meta.split_once(' ').unwrap();
            let (name, value) = rest.split_once(' ').unwrap();
            if name != current {
                assert!(!families.contains_key(name), "{name} is in one piece");
                current = name.to_owned();
            }
            let family = families.entry(current.clone()).or_default();
            assert!(family.samples.is_empty(), "{name}: what describes it comes first");
            let field = match word {
                "HELP" => &mut family.help,
                "TYPE" => &mut family.kind,
                "UNIT" => &mut family.unit,
                other => panic!("{other} is no keyword"),
            };
            assert!(field.is_empty(), "{line}: said once");
            value.clone_into(field);
            continue;
        }
        let (name, labels, value) = sample(line);
        let family = families.get_mut(&current).expect("a family before its samples");
        let suffix =
            name.strip_prefix(&current).unwrap_or_else(|| panic!("{name} does not belong to {current}"));
        let expected = match family.kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            "gauge" => "",
            other => panic!("{other} is no type that is used here"),
        };
        assert_eq!(suffix, expected, "{line}");
        assert!(family.kind != "counter" || value >= 0.0 && value.is_finite(), "{line}");
        let twice = family.samples.iter().any(|(_, known, _)| *known == labels);
        assert!(!twice, "{line}: two samples of one name and one set of labels");
        family.samples.push((name, labels, value));
    }
    for (name, family) in &families {
        assert!(!family.help.is_empty() && !family.kind.is_empty(), "{name}: {family:?}");
        let ends = family.unit.is_empty() || name.ends_with(&format!("_{}", family.unit));
        assert!(ends, "{name} ends with its unit {}", family.unit);
        let legal = |c: char| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit();
        assert!(name.chars().all(legal) && !name.ends_with("_total"), "{name}");
    }
    families
}

/// `name{label="value"} 1`.
fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, behind) = rest.split_once("=\"").unwrap();
            let mut value = String::new();
            let mut chars = behind.char_indices();
            let end = loop {
                match chars.next().expect("a closing quote") {
                    (at, '"') => break at,
                    (_, '\\') => match chars.next().unwrap().1 {
                        'n' => value.push('\n'),
                        c @ ('\\' | '"') => value.push(c),
                        c => panic!("\\{c} is no escape"),
                    },
                    (_, c) => value.push(c),
                }
            };
            assert!(labels.insert(label.trim_start_matches(',').to_owned(), value).is_none(), "{line}");
            rest = &behind[end + 1..];
        }
        rest = &rest[1..];
    }
    (name.to_owned(), labels, rest.strip_prefix(' ').unwrap().parse().unwrap())
}

/// The value of the sample of `family` that has all of `labels`.
fn value(families: &BTreeMap<String, Family>, family: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let has = |all: &BTreeMap<String, String>| {
        labels.iter().all(|(name, value)| all.get(*name).map(String::as_str) == Some(value))
    };
    families[family].samples.iter().find(|(_, all, _)| has(all)).map(|(.., value)| *value)
}

fn opened(state: &WatchState) -> Vec<LiveEvent> {
    let of = |watched: &crate::live::state::WatchedIncident| {
        let incident = watched.incident.id.clone();
        let all = watched.examples.iter().cloned();
        all.map(|finding| LiveEvent::Opened {
            at: String::new(),
            incident: incident.clone(),
            finding: finding.into(),
        })
        .collect::<Vec<_>>()
    };
    state.incidents.iter().flat_map(of).collect()
}

fn page(state: &WatchState, events: &[LiveEvent]) -> BTreeMap<String, Family> {
    let mut book = MetricValues::default();
    book.note(state, events);
    parse(&text::page(&book))
}

#[test]
fn every_state_makes_a_page_by_the_rules() {
    for (_, state) in samples::all() {
        page(&state, &opened(&state));
    }
}

/// `docs/live.md` has them in a table: their names as they are scraped, and their meanings. Only Linux tells the memory.
#[test]
#[cfg(target_os = "linux")]
fn the_documentation_lists_what_is_served() {
    let served: Vec<String> = page(&samples::mixture(), &[])
        .iter()
        .map(|(name, family)| {
            let suffix = match family.kind.as_str() {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            format!("| `{name}{suffix}` | {} |", family.help)
        })
        .collect();
    let listed: Vec<&str> = include_str!("../../../docs/live.md")
        .lines()
        .filter(|line| ["| `synscope_", "| `process_"].iter().any(|name| line.starts_with(name)))
        .collect();
    assert_eq!(listed, served, "docs/live.md should have\n{}", served.join("\n"));
}

#[test]
fn what_the_page_says_is_what_is_known() {
    let mut state = samples::overflow();
    state.total.attempts = 86_400;
    state.interfaces[0].dropped_by_interface = 7;
    let more = [
        LiveEvent::CounterOnly {
            at: String::new(),
            counter: "TcpExtListenDrops".into(),
            rose: 12,
            listeners: vec![],
            refused: vec![],
        },
        LiveEvent::Warning { at: String::new(), text: "a".into() },
    ];
    let page = page(&state, &[opened(&state), more.into()].concat());
    let listener = [("listener", "10.0.0.5:8080")];
    assert_eq!(value(&page, "synscope_accept_queue_length", &listener), Some(129.0));
    assert_eq!(value(&page, "synscope_accept_queue_limit", &listener), Some(128.0));
    assert_eq!(value(&page, "synscope_listener_drops", &listener), Some(374.0));
    let found = [("kind", "accept-queue-overflow"), ("listener", "10.0.0.5:8080")];
    assert_eq!(value(&page, "synscope_findings", &found), Some(3.0));
    let open = [found[0], found[1], ("state", "growing")];
    assert_eq!(value(&page, "synscope_open_incidents", &open), Some(1.0));
    assert_eq!(value(&page, "synscope_lag_seconds", &[]), Some(0.002));
    assert_eq!(value(&page, "synscope_connection_attempts", &[]), Some(86_400.0));
    let dropped = [("interface", "eth0"), ("place", "interface")];
    assert_eq!(value(&page, "synscope_dropped_packets", &dropped), Some(7.0));
    let counter = [("counter", "TcpExtListenDrops")];
    assert_eq!(value(&page, "synscope_unexplained_counter_rise", &counter), Some(12.0));
    assert_eq!(value(&page, "synscope_kernel_counter_rise", &counter), Some(374.0));
    assert_eq!(value(&page, "synscope_warnings", &[]), Some(1.0));
    assert_eq!(value(&page, "synscope_build", &[("version", env!("CARGO_PKG_VERSION"))]), Some(1.0));
}

#[test]
fn findings_are_labelled_with_the_socket_that_took_them() {
    let mut state = samples::overflow();
    state.listeners[1].address = "0.0.0.0:8080".parse().unwrap();
    let page = page(&state, &opened(&state));
    assert_eq!(value(&page, "synscope_findings", &[("listener", "0.0.0.0:8080")]), Some(3.0));
}

#[test]
fn a_scan_makes_no_more_series_than_the_limit() {
    let mut state = samples::overflow();
    let template = state.incidents[0].examples[0].clone();
    let mut events = Vec::new();
    for port in 1..=5_000u16 {
        let server: SocketAddr = format!("203.0.113.9:{port}").parse().unwrap();
        state.listeners.push(ListenerState { address: server, limit: None, ..state.listeners[0].clone() });
        let finding = crate::model::Finding { server: Some(server), ..template.clone() };
        events.push(LiveEvent::Opened { at: String::new(), incident: "i".into(), finding: finding.into() });
    }
    let page = page(&state, &events);
    let labels: BTreeSet<&String> =
        page["synscope_findings"].samples.iter().map(|s| &s.1["listener"]).collect();
    assert!(labels.len() <= MOST_LISTENERS + 1, "{}", labels.len());
    assert!(value(&page, "synscope_findings", &[("listener", "other")]).unwrap() > 4_900.0);
    // This host's own sockets have their labels first.
    assert_eq!(value(&page, "synscope_accept_queue_limit", &[("listener", "[::]:443")]), Some(4_096.0));
}

#[test]
fn no_label_is_a_clients_address() {
    let state = samples::mixture();
    let mut book = MetricValues::default();
    book.note(&state, &opened(&state));
    let text = text::page(&book);
    for client in state.incidents.iter().flat_map(|w| &w.examples).filter_map(|f| f.client.as_ref()) {
        let host = client.ip();
        assert!(!text.contains(&format!("\"{host}")), "{client}");
    }
    // Where nothing is known to listen, the end taken for the server may be a client's.
    assert_eq!(book.label(Some("198.51.100.77:51000".parse().unwrap())), "other");
    assert_eq!(book.label(None), "none");
}

#[test]
fn hostile_names_stay_inside_their_label() {
    let name = "e\"} 1\nsynscope_evil\u{1b}[31m 1\\";
    let written = "e\"} 1\\x0asynscope_evil\\x1b[31m 1\\";
    let state = WatchState {
        interfaces: vec![InterfaceState { name: name.to_owned(), packets: 5, ..InterfaceState::default() }],
        ..WatchState::default()
    };
    assert_eq!(value(&page(&state, &[]), "synscope_packets", &[("interface", written)]), Some(5.0));
}

fn serving() -> LiveMetrics {
    let metrics = LiveMetrics::serve(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    metrics.note(&samples::overflow(), &[]);
    metrics
}

fn ask(metrics: &LiveMetrics, request: &str) -> String {
    let mut stream = TcpStream::connect(metrics.address()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    // A server that closes with unread data sends a RST.
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn one_page_is_served_and_nothing_else() {
    let metrics = serving();
    for path in ["/metrics", "/metrics?target=a"] {
        let answer = ask(&metrics, &format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("application/openmetrics-text; version=1.0.0"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
        parse(body);
    }
    for (request, line) in [
        ("GET / HTTP/1.1\r\n\r\n", "404"),
        ("GET /metrics/ HTTP/1.1\r\n\r\n", "404"),
        ("GET /metrics/../etc/passwd HTTP/1.1\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
        ("HEAD /metrics HTTP/1.1\r\n\r\n", "405"),
        ("\x16\x03\x01\r\n\r\n", "400"),
    ] {
        let answer = ask(&metrics, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {line} ")), "{request:?}: {answer:?}");
        assert!(answer.ends_with("\r\n\r\n"), "{request:?}: no page in {answer:?}");
    }
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(20_000));
    assert!(!ask(&metrics, &long).contains("200 OK"));
}

#[test]
fn slow_clients_do_not_keep_out_real_ones() {
    let metrics = serving();
    // They take all places and send a header that never ends, one byte at a time.
    let mut slow: Vec<TcpStream> =
        (0..2 * MOST_CLIENTS).map(|_| TcpStream::connect(metrics.address()).unwrap()).collect();
    let begun = Instant::now();
    let request = "GET /metrics HTTP/1.1\r\n\r\n";
    for _ in 0..5 {
        slow.iter_mut().for_each(|stream| {
            let _ = stream.write_all(b"G");
        });
        assert!(ask(&metrics, request).contains("# EOF"));
    }
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}
