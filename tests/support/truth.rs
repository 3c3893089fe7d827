//! The truth files of the recordings, and how a report is measured against one.
//!
//! A truth file lists the due findings of each connection in each capture. `must` holds `A` or `A|B|C`: A happened, and
//! the packets of this vantage cannot tell B and C from it. `may` holds harmless findings. Any other finding on the
//! connection is false. The words are those of the recordings; [`words`] are the ones that a finding kind stands for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde_json::Value;
use synscope::model::{Finding, Kind};

/// The words of truth files that mean a kind, where those are not its name.
const WORDS: &[(Kind, &[&str])] = &[
    (Kind::AcceptQueueOverflow, &["accept-overflow-silent", "accept-overflow-cookie"]),
    (Kind::AcceptQueueReset, &["accept-overflow-rst"]),
    (Kind::SynDropAcceptQueue, &["syn-drop-accept-full"]),
    (Kind::SynDropSynQueue, &["syn-queue-full-drop"]),
    (Kind::SynDropTimestamp, &["tw-recycle-syn-drop"]),
    (Kind::SynUnanswered, &["filtered-syn", "net-loss-syn"]),
    (Kind::SynFlood, &["syn-flood-half-open"]),
    (Kind::Syncookies, &["syncookies"]),
    (Kind::TimeWaitCollision, &["time-wait-reuse"]),
    (Kind::ConnectionRefused, &["refused", "filtered-reject"]),
    (Kind::HandshakeLoss, &["net-loss-syn", "net-loss-synack", "net-loss-final-ack"]),
    (Kind::DeferAccept, &["defer-accept"]),
    (Kind::FastopenFallback, &["fastopen"]),
    (Kind::ListenerClosed, &["listener-closed-with-queue"]),
    (Kind::HalfClose, &["half-close-close-wait"]),
    (Kind::FinWait2Expired, &["half-close-close-wait"]),
    (Kind::AbortiveClose, &["linger-rst"]),
    (Kind::FinUnacknowledged, &["fin-unacknowledged"]),
    (Kind::TimeWaitPressure, &["time-wait-build-up"]),
    (Kind::SynAckUnanswered, &["net-loss-synack", "net-loss-final-ack"]),
    (Kind::DataUnacknowledged, &["data-black-hole", "idle-drop-silent", "user-timeout"]),
    (Kind::PathMtuBlackhole, &["pmtu-blackhole"]),
    (Kind::IdleFlowDropped, &["idle-drop-silent", "idle-drop-rst"]),
    (Kind::InjectedReset, &["injected-rst"]),
    (Kind::StaleConnection, &["peer-restarted", "idle-drop-rst"]),
];

/// What the recordings call the things that a kind stands for; empty when they do not label it.
pub fn words(kind: Kind) -> &'static [&'static str] {
    let known = WORDS.iter().find(|(known, _)| *known == kind);
    known.map_or_else(|| &*vec![kind.name()].leak(), |(_, words)| words)
}

/// Whether the recordings have a word for this kind.
pub fn is_labelled(kind: Kind) -> bool {
    WORDS.iter().any(|(known, _)| *known == kind)
}

/// Said once for a listener, they are said for each of its connections.
const COLLECTIVE: [&str; 3] = ["syncookies", "syn-flood-half-open", "time-wait-build-up"];

/// An address, or an address and a port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct End {
    ip: IpAddr,
    port: Option<u16>,
}

impl From<SocketAddr> for End {
    fn from(socket: SocketAddr) -> End {
        End { ip: socket.ip(), port: Some(socket.port()) }
    }
}

impl End {
    fn parse(text: &str) -> End {
        match text.parse::<SocketAddr>() {
            Ok(socket) => End::from(socket),
            Err(_) => {
                let ip = text.trim_matches(['[', ']']).parse();
                End { ip: ip.unwrap_or_else(|_| panic!("no address: {text}")), port: None }
            }
        }
    }

    /// Whether this, which may leave something open, can mean `other`.
    fn covers(&self, other: &End) -> bool {
        self.ip == other.ip && (self.port.is_none() || other.port.is_none() || self.port == other.port)
    }
}

/// Whether `a`, which may leave everything open, can mean `b`.
fn covers(a: Option<End>, b: Option<End>) -> bool {
    a.zip(b).is_none_or(|(a, b)| a.covers(&b))
}

/// The key that stands for the client's and the server's capture together.
pub const PAIR: &str = "pair";

/// The due and the allowed findings for one row of a truth file.
struct Expectation {
    must: Vec<Vec<String>>,
    may: Vec<String>,
}

impl Expectation {
    fn of(row: &Value, key: &str) -> Expectation {
        if key == PAIR {
            return Expectation::of(row, "server").and(Expectation::of(row, "client"));
        }
        let expect = &row["expect"];
        let expect = expect.get(key).unwrap_or(&expect["default"]);
        let words = |must| string(must).split('|').map(str::to_owned).collect();
        Expectation {
            must: list(&expect["must"]).iter().map(words).collect(),
            may: list(&expect["may"]).iter().map(string).collect(),
        }
    }

    /// Both captures together leave open what both leave open, and whether a packet was lost between them is no
    /// question any more.
    fn and(mut self, client: Expectation) -> Expectation {
        for theirs in client.must {
            match self.must.iter_mut().find(|own| own[0] == theirs[0]) {
                Some(own) => own.retain(|word| theirs.contains(word)),
                None if theirs[0].starts_with("net-loss-") => self.must.push(vec![theirs[0].clone()]),
                None => self.must.push(theirs),
            }
        }
        self.may.extend(client.may);
        self
    }
}

/// One capture of a recording.
pub struct Capture {
    pub key: String,
    pub file: String,
}

/// The due findings of one connection, over all its incarnations.
#[derive(Default)]
struct Due {
    must: Vec<Vec<String>>,
    may: BTreeSet<String>,
    /// The client as each side of a NAT sees it.
    names: BTreeSet<End>,
}

/// The due findings of a listener or host as a whole.
struct Group {
    kind: String,
    server: Option<End>,
    client: Option<End>,
    must: bool,
}

/// A truth file.
pub struct Truth {
    pub name: String,
    pub captures: Vec<Capture>,
    /// Addresses and ports that listened.
    pub servers: BTreeSet<SocketAddr>,
    document: Value,
}

impl Truth {
    /// Reads it.
    pub fn read(path: &Path) -> Truth {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let document: Value = serde_json::from_str(&text).expect("a truth file is JSON");
        let captures = list(&document["captures"])
            .iter()
            .map(|capture| Capture { key: string(&capture["key"]), file: string(&capture["file"]) })
            .collect();
        let servers = list(&document["connections"])
            .iter()
            .map(|connection| string(&connection["server"]).parse().expect("a server is address and port"))
            .collect();
        Truth { name: string(&document["name"]), captures, servers, document }
    }

    /// Whether nothing is due in this capture.
    pub fn is_clean(&self, key: &str) -> bool {
        self.connections(key).values().all(|due| due.must.is_empty())
            && self.groups(key).iter().all(|group| !group.must)
    }

    /// The words that are due or allowed in this capture.
    pub fn labels(&self, key: &str) -> BTreeSet<String> {
        let connections = self.connections(key);
        let single = connections.values().flat_map(|due| due.must.iter().flatten().chain(&due.may)).cloned();
        single.chain(self.groups(key).into_iter().map(|group| group.kind)).collect()
    }

    /// What the packets of this capture cannot tell from what a finding names, where it names something that is due: the
    /// other words of the `A|B|C` of its connection.
    pub fn look_alikes(&self, key: &str, finding: &Finding) -> BTreeSet<String> {
        let end = |address: Option<SocketAddr>| address.map(End::from);
        let (Some(client), Some(server)) = (end(finding.client), end(finding.server)) else {
            return BTreeSet::new();
        };
        let own = words(finding.kind);
        let is_own = |word: &String| own.contains(&word.as_str());
        self.connections(key)
            .into_iter()
            .filter(|((_, at), due)| *at == server && due.names.contains(&client))
            .flat_map(|(_, due)| due.must)
            .filter(|must| must.iter().any(is_own))
            .flat_map(|must| must.into_iter().filter(|word| !is_own(word)))
            .collect()
    }

    /// The document itself.
    pub fn document(&self) -> &Value {
        &self.document
    }

    fn connections(&self, key: &str) -> BTreeMap<(End, End), Due> {
        let mut connections: BTreeMap<(End, End), Due> = BTreeMap::new();
        for row in list(&self.document["connections"]) {
            let expect = Expectation::of(row, key);
            let client = End::parse(&string(&row["client"]));
            let due = connections.entry((client, End::parse(&string(&row["server"])))).or_default();
            // A 4-tuple that was used several times: what any of its connections allows is allowed.
            for must in expect.must {
                if !due.must.contains(&must) {
                    due.must.push(must);
                }
            }
            due.may.extend(expect.may);
            due.names.insert(client);
            // Before a NAT it may be known by the name of its host only, which no capture shows.
            let before = row["client_before_nat"].as_str();
            due.names.extend(before.filter(|name| name.parse::<SocketAddr>().is_ok()).map(End::parse));
        }
        connections
    }

    fn groups(&self, key: &str) -> Vec<Group> {
        let here = |group: &&Value| {
            let captures = list(&group["captures"]);
            let sides: &[&str] = if key == PAIR { &["client", "server"] } else { &[key] };
            captures.is_empty() || captures.iter().any(|capture| sides.iter().any(|side| capture == side))
        };
        list(&self.document["groups"])
            .iter()
            .filter(here)
            .map(|group| Group {
                kind: string(&group["kind"]),
                server: group["server"].as_str().map(End::parse),
                client: group["client"].as_str().map(End::parse),
                must: group["must"].as_bool() == Some(true),
            })
            .collect()
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// What a finding turned out to be worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Worth {
    /// Nothing speaks for it.
    False,
    /// It names what happened.
    Exact,
    /// It names what the packets cannot tell from what happened.
    Indistinguishable,
    /// Allowed, and not due.
    Allowed,
}

/// A report measured against the truth.
pub struct Score<'a> {
    /// Each finding that the recordings have words for, with its worth.
    pub findings: Vec<(&'a Finding, Worth)>,
    /// The findings that were due and were found: the word, and how often.
    pub found: BTreeMap<String, usize>,
    /// The findings that were due and are missing: the word and where.
    pub missed: Vec<(String, String)>,
}

struct Said<'a> {
    finding: &'a Finding,
    words: &'static [&'static str],
    client: Option<End>,
    server: Option<End>,
    worth: Worth,
}

impl Said<'_> {
    fn says(&self, word: &str) -> bool {
        self.words.contains(&word)
    }

    /// Whether it is about more than one connection.
    fn is_wide(&self) -> bool {
        self.client.is_none_or(|client| client.port.is_none())
    }

    fn is_about(&self, client: &End, server: &End) -> bool {
        let straight = self.client == Some(*client) && self.server.is_none_or(|s| s == *server);
        // Seen from the middle, who is the client is a guess.
        straight || (self.client == Some(*server) && self.server == Some(*client))
    }

    fn raise(&mut self, worth: Worth) {
        let rank = |worth| match worth {
            Worth::False => 0,
            Worth::Allowed => 1,
            Worth::Indistinguishable => 2,
            Worth::Exact => 3,
        };
        if rank(worth) > rank(self.worth) {
            self.worth = worth;
        }
    }
}

/// Scores the findings in the capture `key`.
pub fn score<'a>(truth: &Truth, key: &str, findings: &'a [Finding]) -> Score<'a> {
    let mut said: Vec<Said<'a>> = findings
        .iter()
        .filter(|finding| !words(finding.kind).is_empty())
        .map(|finding| Said {
            finding,
            words: words(finding.kind),
            client: finding.client.map(End::from),
            server: finding.server.map(End::from),
            worth: Worth::False,
        })
        .collect();
    let connections = truth.connections(key);
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    let mut missed = Vec::new();
    for ((client, server), due) in &connections {
        let place = format!("{client:?} -> {server:?}");
        for must in &due.must {
            let mut hit = false;
            for s in said.iter_mut().filter(|s| due.names.iter().any(|name| s.is_about(name, server))) {
                if s.says(&must[0]) {
                    s.raise(Worth::Exact);
                    hit = true;
                } else if must.iter().any(|word| s.says(word)) {
                    s.raise(Worth::Indistinguishable);
                    hit = true;
                }
            }
            if !hit && COLLECTIVE.contains(&must[0].as_str()) {
                for s in said.iter_mut().filter(|s| s.is_wide() && s.says(&must[0])) {
                    if covers(s.client, Some(*client)) && covers(s.server, Some(*server)) {
                        s.raise(Worth::Exact);
                        hit = true;
                    }
                }
            }
            if hit {
                *found.entry(must[0].clone()).or_default() += 1;
            } else {
                missed.push((must[0].clone(), place.clone()));
            }
        }
        for s in said.iter_mut().filter(|s| due.names.iter().any(|name| s.is_about(name, server))) {
            if due.may.iter().any(|word| s.says(word)) {
                s.raise(Worth::Allowed);
            }
        }
    }
    for group in truth.groups(key) {
        let mut hit = false;
        for s in said.iter_mut().filter(|s| s.says(&group.kind) && covers(s.server, group.server)) {
            if covers(s.client, group.client) && (s.is_wide() || group.must) {
                s.raise(if s.is_wide() { Worth::Exact } else { Worth::Allowed });
                hit = true;
            }
        }
        if group.must && hit {
            *found.entry(format!("{} (listener)", group.kind)).or_default() += 1;
        } else if group.must {
            missed.push((format!("{} (listener)", group.kind), format!("{:?}", group.server)));
        }
    }
    for s in said.iter_mut().filter(|s| s.is_wide() && s.worth == Worth::False) {
        let fair = connections.iter().any(|((client, server), due)| {
            let allowed = due.may.iter().chain(due.must.iter().flatten()).any(|word| s.says(word));
            allowed && covers(s.client, Some(*client)) && covers(s.server, Some(*server))
        });
        if fair {
            s.raise(Worth::Allowed);
        }
    }
    Score { findings: said.iter().map(|s| (s.finding, s.worth)).collect(), found, missed }
}
