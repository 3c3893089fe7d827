//! Recorded captures with the counters of their servers: what the counters confirm must be true, and what only looks
//! like a full queue must not keep that name.
//!
//! The captures lie beside the repository; `SYNSCOPE_CAPTURES` and `SYNSCOPE_CAPTURES_OLD` name their folders.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use synscope::engine::{self, AnalysisOptions};
use synscope::host::snapshot::SCHEMA;
use synscope::host::{HostFacts, Snapshot};
use synscope::model::{Certainty, Finding, Kind, Report, Vantage};
use synscope::time::{Span, Timestamp};

/// Counters that every kernel of the recordings has.
const COUNTERS: &[&str] = &[
    "TcpExtListenOverflows",
    "TcpExtListenDrops",
    "TcpExtEmbryonicRsts",
    "TcpExtSyncookiesSent",
    "TcpExtTCPReqQFullDrop",
    "TcpExtTCPTimeWaitOverflow",
    "TcpExtTCPDeferAcceptDrop",
    "TcpExtTCPFastOpenPassiveFail",
    "TcpExtTCPFastOpenListenOverflow",
    "TcpExtTCPAbortOnData",
    "TcpExtTCPAbortOnClose",
    "TcpExtTCPAbortOnMemory",
    "TcpExtTCPTimeouts",
    "TcpExtIPReversePathFilter",
    "TcpOutRsts",
];

/// What each counter stood at before.
const BEFORE: u64 = 1_000;

/// One run of the laboratory.
struct Run {
    name: String,
    folder: PathBuf,
    truth: Value,
    old_kernel: bool,
}

impl Run {
    /// The server's snapshots from a second before the run and a second after it.
    fn facts(&self) -> Option<HostFacts> {
        let rises = self.truth["counters"]["server"].as_object()?;
        let times = |key| self.captures().filter_map(move |c| c[key].as_f64());
        let first = times("first_ts").fold(f64::MAX, f64::min) - 1.0;
        let last = times("last_ts").fold(f64::MIN, f64::max) + 1.0;
        let mut counters: BTreeMap<String, u64> =
            COUNTERS.iter().map(|name| ((*name).to_owned(), BEFORE)).collect();
        if self.old_kernel {
            counters.insert("TcpExtPAWSPassive".to_owned(), BEFORE);
        }
        counters.extend(rises.keys().map(|name| (name.clone(), BEFORE)));
        let snapshot = |seconds: f64, after: bool| {
            let rise =
                |name: &str| if after { rises.get(name).and_then(Value::as_u64).unwrap_or(0) } else { 0 };
            let time = Timestamp((seconds * 1e9) as i64);
            Snapshot {
                schema: SCHEMA.to_owned(),
                time,
                finished: time,
                kernel: self.truth["kernel"].as_str().map(str::to_owned),
                hostname: None,
                boot_id: None,
                netns: None,
                addresses: self.servers(),
                counters: counters.iter().map(|(name, n)| (name.clone(), n + rise(name))).collect(),
                sysctls: self.truth["sysctls"]["server"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                    .collect(),
                listeners: None,
                time_wait: None,
                states: None,
                holders: Default::default(),
            }
        };
        Some(HostFacts::new(vec![snapshot(first, false), snapshot(last, true)]).expect("one host"))
    }

    fn captures(&self) -> impl Iterator<Item = &Value> {
        self.truth["captures"].as_array().into_iter().flatten()
    }

    fn connections(&self) -> impl Iterator<Item = &Value> {
        self.truth["connections"].as_array().into_iter().flatten()
    }

    fn servers(&self) -> BTreeSet<std::net::IpAddr> {
        let address = |c: &Value| Some(c["server"].as_str()?.parse::<std::net::SocketAddr>().ok()?.ip());
        self.connections().filter_map(address).collect()
    }

    /// All that is true of a connection, over all its instances.
    fn truth_of(&self, f: &Finding) -> BTreeSet<&str> {
        let is = |c: &&Value| {
            let named = |key: &str, end: Option<std::net::SocketAddr>| {
                c[key].as_str() == end.map(|end| end.to_string()).as_deref()
            };
            named("server", f.server) && (named("client", f.client) || named("client_before_nat", f.client))
        };
        self.connections()
            .filter(is)
            .flat_map(|c| c["truth"].as_array().into_iter().flatten())
            .filter_map(Value::as_str)
            .collect()
    }

    fn analyze(&self, capture: &Value, host: Option<HostFacts>) -> Report {
        let path = self.folder.join(capture["file"].as_str().expect("a file name"));
        let options = AnalysisOptions {
            host,
            half_close_after: Span::secs(2),
            threads: 1,
            ..AnalysisOptions::default()
        };
        engine::analyze(&[path], &options, &mut |_| ()).expect("a readable capture").report
    }
}

fn runs() -> Vec<Run> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let mut runs = Vec::new();
    for (variable, name, old_kernel) in
        [("SYNSCOPE_CAPTURES", "captures", false), ("SYNSCOPE_CAPTURES_OLD", "captures-oldkernel", true)]
    {
        let folder = std::env::var_os(variable).map_or_else(|| beside.join(name), PathBuf::from);
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| {
            panic!("{}: {error}; {variable} may name another folder", folder.display())
        });
        for path in entries.map(|entry| entry.expect("a readable folder").path()) {
            let Some(name) = path.file_name().and_then(|n| n.to_str()?.strip_suffix(".truth.json")) else {
                continue;
            };
            let text = fs::read_to_string(&path).expect("a readable file");
            let truth = serde_json::from_str(&text).expect("JSON");
            runs.push(Run { name: name.to_owned(), folder: folder.clone(), truth, old_kernel });
        }
    }
    runs.sort_by(|a, b| a.name.cmp(&b.name));
    runs
}

/// The ids of the laboratory that make a finding of this kind true.
fn true_ids(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::AcceptQueueOverflow => &["accept-overflow-silent", "accept-overflow-cookie"],
        Kind::AcceptQueueReset => &["accept-overflow-rst"],
        Kind::SynDropAcceptQueue => &["syn-drop-accept-full"],
        Kind::SynDropSynQueue => &["syn-queue-full-drop"],
        Kind::SynDropTimestamp => &["tw-recycle-syn-drop"],
        Kind::TimeWaitCollision => &["time-wait-reuse"],
        Kind::ConnectionRefused => &["refused", "filtered-reject", "port-scan"],
        Kind::DeferAccept => &["defer-accept"],
        Kind::FastopenFallback => &["fastopen"],
        Kind::ListenerClosed => &["listener-closed-with-queue"],
        Kind::AbortiveClose => &["linger-rst"],
        Kind::HalfClose => &["half-close-close-wait"],
        _ => &[],
    }
}

#[test]
#[ignore = "needs recordings: SYNSCOPE_CAPTURES=FOLDER cargo test recordings -- --ignored"]
fn nothing_wrong_in_recordings_is_confirmed_and_overflows_are_told_from_firewalls() {
    let (mut confirmed, mut refuted) = (0, 0);
    for run in runs() {
        let Some(facts) = run.facts() else { continue };
        for capture in run.captures() {
            let place = format!("{} {}", run.name, capture["file"]);
            let (without, with) = (run.analyze(capture, None), run.analyze(capture, Some(facts.clone())));
            for f in with.findings.iter().filter(|f| f.client.is_some()) {
                let truth = run.truth_of(f);
                if f.certainty == Certainty::Confirmed {
                    assert!(
                        true_ids(f.kind).iter().any(|id| truth.contains(id)),
                        "{place}: {} of {:?} is confirmed, the truth is {truth:?}\n{:?}",
                        f.kind,
                        f.client,
                        f.metrics
                    );
                    confirmed += 1;
                }
            }
            let kinds = |report: &Report, kind| {
                report.findings.iter().filter(move |f| f.kind == kind).cloned().collect::<Vec<_>>()
            };
            let overflows = kinds(&with, Kind::AcceptQueueOverflow);
            if run.name.starts_with("filtered.") {
                assert_eq!(overflows, [], "{place}");
                let looked_alike = kinds(&without, Kind::AcceptQueueOverflow);
                let told = kinds(&with, Kind::HandshakeLoss);
                assert_eq!(looked_alike.len(), told.len(), "{place}");
                for f in told {
                    let at_server = f.vantage == Vantage::Server;
                    assert!(f.cause.text.contains("firewall"), "{place}: {}", f.cause.text);
                    assert!(
                        !at_server || f.cause.text.contains("on the server"),
                        "{place}: {}",
                        f.cause.text
                    );
                    assert_eq!(f.metrics["host_ListenOverflows"], 0, "{place}");
                    refuted += 1;
                }
            } else {
                for f in overflows {
                    assert_eq!(f.certainty, Certainty::Confirmed, "{place}: {:?}", f.metrics);
                }
            }
        }
    }
    eprintln!("{confirmed} findings confirmed, {refuted} told from overflows");
}
