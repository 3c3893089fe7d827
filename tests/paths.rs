//! Captures of a path with five points, joined: two clients, a balancer that translates addresses, two servers.
//!
//! Planted faults must be found at their place, and nothing else may be blamed. They are SYNs lost before the balancer,
//! a filter at one server that drops final ACKs, a full accept queue at the other one, and a narrow link behind the
//! balancer. The recorded copy lies in `testdata/balancer`; `the_lab_of_five_points` makes it anew in network
//! namespaces.

#[cfg(all(target_os = "linux", feature = "live"))]
#[path = "paths/lab.rs"]
mod lab;
#[cfg(all(target_os = "linux", feature = "live"))]
#[path = "support/netns.rs"]
mod netns;
mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use support::altered::{self, Frame, Scratch};
use support::{Case, claims, json, options};
use synscope::model::{Certainty, Finding, Kind, Report};
use synscope::pair::points::NamedInputs;
use synscope::pair::{self, Pairing};

/// The capture points of the lab.
const POINTS: [&str; 5] = ["client1", "client2", "lb", "web1", "web2"];

/// Captures with the names of their points.
type Captures = Vec<(String, PathBuf)>;

fn joined(captures: &Captures) -> Report {
    let named = captures
        .iter()
        .enumerate()
        .map(|(n, (name, _))| NamedInputs { name: Some(name.clone()), inputs: vec![n] });
    let inputs: Vec<PathBuf> = captures.iter().map(|(_, path)| path.clone()).collect();
    let outcome = pair::analyze_files_of_points(&inputs, named.collect(), &options(), &mut |_| ());
    outcome.unwrap_or_else(|error| panic!("{captures:?}: {error}")).report
}

fn recorded() -> Captures {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/balancer");
    POINTS.iter().map(|name| ((*name).to_owned(), folder.join(format!("{name}.pcap.gz")))).collect()
}

/// What happened to a connection, which the client's port tells; none where nothing did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Planted {
    SynLostOnce,
    SynsLost,
    FinalAckFiltered,
    QueueFull,
    NarrowLink,
}

impl Planted {
    fn of(port: u16) -> Option<Planted> {
        Some(match port {
            40_001..=40_004 => Planted::SynLostOnce,
            40_011..=40_013 => Planted::SynsLost,
            41_001..=41_004 => Planted::FinalAckFiltered,
            42_001..=42_006 => Planted::QueueFull,
            43_001..=43_002 => Planted::NarrowLink,
            _ => return None,
        })
    }

    /// Whether the finding says what happened, and where.
    fn is_named_by(self, finding: &Finding) -> bool {
        let route = finding.route.as_deref().expect("points have names");
        let lost = route.lost_between.as_ref().map(|[from, to]| (from.as_str(), to.as_str()));
        let reached = route.reached.as_deref();
        match self {
            Planted::SynLostOnce => {
                finding.kind == Kind::HandshakeLoss
                    && finding.certainty >= Certainty::Probable
                    && lost == Some(("client1", "lb"))
            }
            Planted::SynsLost => finding.kind == Kind::HandshakeLoss && lost == Some(("client1", "lb")),
            // The same packets as of a full queue: nothing but the place is sure.
            Planted::FinalAckFiltered => {
                let causes = finding.alternatives.iter().map(|or| or.suspect.text());
                finding.kind == Kind::AcceptQueueOverflow
                    && finding.certainty < Certainty::Confirmed
                    && causes.chain([finding.cause.text.as_ref()]).any(|text| text.contains("firewall"))
                    && (lost, reached) == (None, Some("web1"))
            }
            Planted::QueueFull => {
                matches!(finding.kind, Kind::SynDropAcceptQueue | Kind::AcceptQueueOverflow)
                    && (lost, reached) == (None, Some("web2"))
            }
            Planted::NarrowLink => finding.kind == Kind::PathMtuBlackhole && lost == Some(("web2", "lb")),
        }
    }
}

/// Holds a report of the lab to what happened.
fn check(report: &Report) {
    let mut found: BTreeSet<u16> = BTreeSet::new();
    for finding in &report.findings {
        let port = finding.client.map_or(0, |client| client.port());
        let planted = Planted::of(port).unwrap_or_else(|| panic!("nothing happened to it: {finding:#?}"));
        assert!(planted.is_named_by(finding), "{planted:?}: {finding:#?}");
        assert!(found.insert(port), "{port} is told twice: {finding:#?}");
    }
    let due = (40_001..=40_004).chain(40_011..=40_013).chain(41_001..=41_004).chain(43_001..=43_002);
    let missed: Vec<u16> = due.filter(|port| !found.contains(port)).collect();
    assert!(missed.is_empty(), "not told: {missed:?}; {:?}", claims(report));
    // Two fit into the queue.
    assert!((42_001..=42_006).filter(|port| found.contains(port)).count() >= 3, "{:?}", claims(report));
    assert_eq!(report.summary.failed_unexplained, 0, "{:?}", report.summary.unexplained);
    for path in &report.paths {
        let points: Vec<&str> = path.points.iter().map(String::as_str).collect();
        let through = points.len() == 3 && points[0].starts_with("client") && points[1] == "lb";
        assert!(through && points[2].starts_with("web") || points == ["client1"], "{path:?}");
    }
    let places: Vec<String> = report
        .incidents
        .iter()
        .flat_map(|incident| incident.places.iter().map(move |place| (incident, place)))
        .map(|(incident, place)| format!("{} {:?} {:?}", incident.kind, place.lost_between, place.reached))
        .collect();
    assert!(places.iter().any(|place| place.contains("lb")) && !places.is_empty(), "{places:?}");
    for incident in &report.incidents {
        let of = incident.findings.len() as u64;
        assert!(incident.places.len() == 1 && incident.places[0].of == of, "{:?}", incident.places);
        assert_eq!(incident.places[0].findings, of, "{:?}", incident.places);
    }
}

#[test]
fn each_fault_is_named_with_its_place_and_nothing_else_is_blamed() {
    let report = joined(&recorded());
    check(&report);
    // Other packets of the same server came to the balancer within 50 ms.
    let sure = |f: &&Finding| f.kind == Kind::HandshakeLoss && f.certainty == Certainty::Confirmed;
    assert_eq!(report.findings.iter().filter(sure).count(), 4, "{:?}", claims(&report));
}

/// The findings, without times.
fn judgements(report: &Report) -> BTreeSet<String> {
    report
        .findings
        .iter()
        .map(|f| {
            let route = f.route.as_deref().map(|r| (&r.points, &r.lost_between, &r.reached));
            // Packets of two ends may be as near to each other as the clocks are uncertain.
            let seen: BTreeSet<_> =
                f.evidence.iter().map(|e| format!("#{} {:?}", e.packet, e.points)).collect();
            format!("{} {:?} {:?} {} {route:?} {seen:?}", f.kind, f.client, f.server, f.certainty)
        })
        .collect()
}

/// The frames by a clock that is `ahead` nanoseconds ahead and gains `drift` nanoseconds a second.
fn by_clock(frames: &[Frame], ahead: i64, drift: i64) -> Vec<Frame> {
    let begin = frames.first().map_or(0, |frame| frame.time);
    let late = |time: i64| ((i128::from(time - begin) * i128::from(drift)) / 1_000_000_000) as i64;
    frames.iter().map(|f| Frame { time: f.time + ahead + late(f.time), ..f.clone() }).collect()
}

#[test]
fn clocks_that_are_seconds_apart_and_drift_change_nothing_but_times() {
    let scratch = Scratch::new();
    let plain = recorded();
    let expected = joined(&plain);
    // Nanoseconds ahead, and nanoseconds gained in a second.
    let clocks = [
        [(3_200_000_000, 0), (-7_000_000_000, 0), (0, 0), (86_400_000_000_000, 0), (-1_500_000, 0)],
        [(5_000_000_000, 80_000), (0, -60_000), (-2_000_000_000, 0), (1_000_000, 100_000), (0, -100_000)],
    ];
    for set in clocks {
        let moved: Captures = plain
            .iter()
            .zip(set)
            .map(|((name, path), (ahead, drift))| {
                let frames = by_clock(&altered::read(path), ahead, drift);
                (name.clone(), scratch.pcap(&format!("{name}.pcap"), &frames))
            })
            .collect();
        let report = joined(&moved);
        check(&report);
        assert_eq!(judgements(&report), judgements(&expected));
        let reference = report.points.iter().position(|point| point.reference).expect("there is one");
        for (n, point) in report.points.iter().enumerate() {
            let due = (set[n].0 - set[reference].0) as f64 / 1e9;
            let offset = point.offset_s.expect("all are linked");
            // Each file's clock begins to drift with its first packet, some time before the first connection in common.
            assert!((offset - due).abs() < 0.003, "{}: {offset} instead of {due}", point.name);
            let drift = (set[n].1 - set[reference].1) as f64 / 1e3;
            let error = (point.drift_ppm.expect("all are linked") - drift).abs();
            assert!(error < 15.0, "{}: {:?} instead of {drift}", point.name, point.drift_ppm);
        }
    }
}

#[test]
fn the_order_of_the_points_does_not_matter() {
    let plain = recorded();
    let expected = judgements(&joined(&plain));
    for turn in 1..plain.len() {
        let mut turned = plain.clone();
        turned.rotate_left(turn);
        assert_eq!(judgements(&joined(&turned)), expected, "{turn}");
    }
    let reversed: Captures = plain.into_iter().rev().collect();
    assert_eq!(judgements(&joined(&reversed)), expected);
}

#[test]
fn two_points_are_a_pair_with_names() {
    for name in
        ["handshake-loss/syn-ack-lost", "accept-queue-overflow/data-then-served", "connection-refused/icmp"]
    {
        let case = Case::named(name);
        let files: Vec<PathBuf> =
            ["client", "server"].map(|side| case.folder.join(format!("{side}.pcap"))).into();
        let pair =
            pair::analyze_files(&files, Pairing::Force, &options(), &mut |_| ()).expect("a pair").report;
        let named =
            files.iter().zip(["client", "server"]).map(|(path, name)| (name.to_owned(), path.clone()));
        let report = joined(&named.collect());
        assert_eq!(claims(&report), claims(&pair), "{name}");
        assert_eq!(report.summary, pair.summary, "{name}");
        assert!(report.points.len() == 2 && report.pairs.is_empty(), "{name}");
    }
}

#[test]
fn without_the_servers_nothing_is_put_down_to_the_path_behind_the_balancer() {
    let with = |names: &[&str]| {
        let captures = recorded().into_iter().filter(|(name, _)| names.contains(&name.as_str()));
        joined(&captures.collect())
    };
    let report = with(&["client1", "client2", "lb"]);
    for finding in &report.findings {
        let planted = finding.client.and_then(|client| Planted::of(client.port()));
        assert!(planted.is_some(), "nothing happened to it: {finding:#?}");
        let lost = finding.route.as_deref().and_then(|route| route.lost_between.as_ref());
        let before = matches!(planted, Some(Planted::SynLostOnce | Planted::SynsLost));
        assert_eq!(lost.is_some(), before, "{finding:#?}");
        let reached = finding.route.as_deref().and_then(|route| route.reached.as_deref());
        assert!(reached.is_none_or(|reached| reached == "lb"), "{finding:#?}");
    }
    let whole = joined(&recorded());
    // The balancer has each connection twice, and it counts once.
    assert_eq!(report.summary.connections, whole.summary.connections);
    // What stalled at a server is not seen to stall before it.
    assert!(report.summary.failed <= whole.summary.failed, "{:?}", report.summary.outcomes);
    assert_eq!(report.summary.failed_unexplained, 0, "{:?}", report.summary.unexplained);
}

#[test]
fn without_the_balancer_the_hop_is_longer() {
    let captures: Captures = recorded().into_iter().filter(|(name, _)| name != "lb").collect();
    let report = joined(&captures);
    let hops: BTreeSet<[String; 2]> =
        report.findings.iter().filter_map(|finding| finding.route.as_deref()?.lost_between.clone()).collect();
    let due = [["client1", "web1"], ["client1", "web1 or web2"], ["client1", "web2"], ["web2", "client2"]];
    let due: BTreeSet<[String; 2]> = due.iter().map(|hop| hop.map(str::to_owned)).collect();
    assert!(hops.is_subset(&due) && hops.len() >= 3, "{hops:?}");
    assert_eq!(claims(&report).len(), claims(&joined(&recorded())).len());
}

#[test]
fn a_point_that_cannot_be_read_is_named_and_loses_nothing_else() {
    let mut captures = recorded();
    captures.push(("web3".to_owned(), PathBuf::from("/nowhere/web3.pcap")));
    let report = joined(&captures);
    check(&report);
    assert!(
        report.warnings.iter().any(|warning| warning.contains("/nowhere/web3.pcap")),
        "{:?}",
        report.warnings
    );
}

#[test]
fn the_report_is_as_reviewed() {
    let report = joined(&recorded());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/balancer");
    let short = json(&report).replace(&format!("{}/", folder.display()), "");
    let report: Report = serde_json::from_str(&short).expect("its own output can be read");
    let schema = synscope::report::schema::schema().to_value();
    assert!(jsonschema::is_valid(&schema, &serde_json::from_str(&short).expect("JSON")));
    let forms = support::forms(&report);
    for form in &forms {
        for due in ["5 capture points, joined", "ost between client1 and lb: ", "client2 → lb → web1"] {
            assert!(form.contains(due), "{due} is not in {form}");
        }
    }
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false, snapshot_path => "../testdata/balancer" }, {
        insta::assert_snapshot!("report", &forms[0]);
    });
}

#[cfg(all(target_os = "linux", feature = "live"))]
mod namespaces {
    use std::process::Command;

    use super::{Path, check, joined, lab};

    #[test]
    #[ignore = "a part that other tests let a copy of this program play"]
    fn part() {
        if let Ok(role) = std::env::var("SYNSCOPE_TEST_ROLE") {
            assert!(lab::play(&role), "no such part: {role}");
        }
    }

    /// With `SYNSCOPE_RECORD` set, its captures become the recorded copy.
    #[test]
    #[cfg_attr(any(no_namespaces, no_tcpdump, no_nft), ignore = "needs root, ip, unshare, tcpdump and nft")]
    fn the_lab_of_five_points() {
        lab::record(|captures| {
            if std::env::var_os("SYNSCOPE_RECORD").is_some() {
                let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/balancer");
                for (name, path) in captures {
                    let packed = Command::new("gzip").args(["-9", "-n", "-c"]).arg(path).output();
                    let packed = packed.expect("gzip is there").stdout;
                    std::fs::write(folder.join(format!("{name}.pcap.gz")), packed)
                        .expect("it can be written");
                }
            }
            check(&joined(captures));
        });
    }
}
