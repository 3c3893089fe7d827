//! Captures to measure with: deterministic, in order of time, with valid checksums and well-formed payloads.
//!
//! Everything is derived from the seed: the same [`Plan`] gives the same bytes. The packets follow schematic scripts
//! ([`script`]), so these captures are good for measuring speed and memory and for checking that results depend
//! neither on threads nor on formats. They are no evidence of what a kernel does: detectors are judged on recorded
//! captures only.

mod frame;
mod record;
mod rng;
mod script;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use frame::{Ends, Framer};
pub use record::Format;
use record::Recorder;
use rng::Rng;
pub use script::Kind;
use script::{Download, MICROSECOND, MILLISECOND, Packet, SECOND, Sizes, script};

/// When the first packet is captured, nanoseconds since the epoch.
const EPOCH: u64 = 1_700_000_000 * SECOND;

/// What the traffic is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Profile {
    /// The everyday case: HTTP-like flows of heavy-tailed sizes, every pathology at a few per cent, some UDP and ICMP.
    Web,
    /// Hard on flow tables: handshakes, refusals, floods, millions of short flows.
    Syn,
    /// Hard on sharding by flow: one endless download in full segments.
    Bulk,
}

impl Profile {
    /// Kinds of flow and how often each one is.
    fn mix(self) -> &'static [(Kind, f64)] {
        use Kind::*;
        match self {
            Profile::Web => &[
                (Clean, 74.0),
                (SynRetrans, 1.5),
                (SynTimeout, 0.5),
                (OverflowSilent, 1.5),
                (OverflowRst, 0.5),
                (Refused, 1.0),
                (LingerRst, 3.0),
                (HalfClose, 2.0),
                (TwReuse, 1.0),
                (TwRecycle, 0.3),
                (Cookie, 0.7),
                (SynFlood, 1.0),
                (Handshake, 2.0),
                (Udp, 10.0),
                (Icmp, 1.0),
            ],
            Profile::Syn => &[
                (Clean, 6.0),
                (SynRetrans, 3.0),
                (SynTimeout, 2.0),
                (OverflowSilent, 5.0),
                (OverflowRst, 4.0),
                (Refused, 12.0),
                (LingerRst, 2.0),
                (HalfClose, 1.0),
                (TwReuse, 2.0),
                (TwRecycle, 1.0),
                (Cookie, 2.0),
                (SynFlood, 38.0),
                (Handshake, 16.0),
                (Udp, 5.0),
                (Icmp, 1.0),
            ],
            Profile::Bulk => &[(Udp, 1.0)],
        }
    }

    /// New flows per second where the plan does not say.
    fn rate(self) -> f64 {
        match self {
            Profile::Web => 700.0,
            Profile::Syn => 50_000.0,
            Profile::Bulk => 20.0,
        }
    }
}

impl FromStr for Profile {
    type Err = String;
    fn from_str(name: &str) -> Result<Profile, String> {
        match name {
            "web" => Ok(Profile::Web),
            "syn" => Ok(Profile::Syn),
            "bulk" => Ok(Profile::Bulk),
            _ => Err(format!("no profile '{name}'; there are: web, syn, bulk")),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Profile::Web => "web",
            Profile::Syn => "syn",
            Profile::Bulk => "bulk",
        })
    }
}

/// What to write.
#[derive(Clone, Debug)]
pub struct Plan {
    pub profile: Profile,
    /// Bytes of file, met to within one packet; the capture ends there, whatever is going on.
    pub size: u64,
    pub seed: u64,
    pub format: Format,
    pub snaplen: u32,
    /// New flows per second; `None` leaves it to the profile.
    pub rate: Option<f64>,
    /// Server addresses, at most 256.
    pub servers: u64,
    pub clients: u64,
    /// Downloads of the profile `bulk`.
    pub downloads: u64,
    /// The smallest response of the heavy-tailed sizes, bytes.
    pub least_body: f64,
    /// Only flows of this kind.
    pub only: Option<Kind>,
    /// End after this many flows.
    pub flows: u64,
}

impl Plan {
    pub fn new(profile: Profile, size: u64) -> Plan {
        Plan {
            profile,
            size,
            seed: 1,
            format: Format::Pcap,
            snaplen: 65_535,
            rate: None,
            servers: 64,
            clients: 20_000,
            downloads: 1,
            least_body: 4200.0,
            only: None,
            flows: u64::MAX,
        }
    }
}

/// Counts of the written capture.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub packets: u64,
    pub file_bytes: u64,
    pub wire_bytes: u64,
    pub flows: u64,
    /// The most flows that were open at once.
    pub open: usize,
    /// From the first packet to the last, nanoseconds.
    pub duration: u64,
    pub kinds: BTreeMap<Kind, u64>,
}

/// A flow whose packets are not all written yet.
struct Flow {
    ends: Ends,
    packets: Vec<Packet>,
    next: usize,
    download: Option<Download>,
}

/// Flows by the time of their next packet; those of the same time in the order in which they were put in.
#[derive(Default)]
struct Schedule {
    flows: Vec<Flow>,
    free: Vec<usize>,
    due: BinaryHeap<Reverse<(u64, u64, usize)>>,
    turn: u64,
}

impl Schedule {
    fn open(&mut self, flow: Flow) {
        let time = flow.packets[0].time;
        let place = match self.free.pop() {
            Some(place) => {
                self.flows[place] = flow;
                place
            }
            None => {
                self.flows.push(flow);
                self.flows.len() - 1
            }
        };
        self.put(time, place);
    }

    fn put(&mut self, time: u64, place: usize) {
        self.due.push(Reverse((time, self.turn, place)));
        self.turn += 1;
    }

    fn next_time(&self) -> Option<u64> {
        self.due.peek().map(|Reverse((time, ..))| *time)
    }

    /// Hands the next packet to `write`.
    fn step(&mut self, write: impl FnOnce(&Ends, &Packet) -> io::Result<()>) -> io::Result<()> {
        let Some(Reverse((_, _, place))) = self.due.pop() else { return Ok(()) };
        let flow = &mut self.flows[place];
        write(&flow.ends, &flow.packets[flow.next])?;
        flow.next += 1;
        if flow.next == flow.packets.len()
            && let Some(download) = &mut flow.download
        {
            download.more(&mut flow.packets);
            flow.next = 0;
        }
        match flow.packets.get(flow.next).map(|packet| packet.time) {
            Some(time) => self.put(time, place),
            None => {
                flow.packets = Vec::new();
                self.free.push(place);
            }
        }
        Ok(())
    }
}

/// Writes the capture of `plan` into `sink`.
///
/// # Errors
/// Those of `sink`, and a kind asked for that the profile does not have.
pub fn write(plan: &Plan, sink: impl Write) -> io::Result<Summary> {
    let mix: Vec<(Kind, f64)> =
        plan.profile.mix().iter().copied().filter(|(kind, _)| plan.only.is_none_or(|k| k == *kind)).collect();
    if mix.is_empty() {
        return Err(io::Error::other(format!("the profile {} has no flows of this kind", plan.profile)));
    }
    let rate = plan.rate.unwrap_or(plan.profile.rate());
    let sizes = Sizes { small: plan.profile != Profile::Web, least_body: plan.least_body };

    let mut rng = Rng::new(plan.seed);
    let mut framer = Framer::new(&mut rng);
    let mut out = Recorder::start(sink, plan.format, plan.snaplen)?;
    let mut schedule = Schedule::default();
    let mut summary = Summary::default();
    if plan.profile == Profile::Bulk {
        for number in 0..plan.downloads {
            let ends = Ends::new(Kind::Bulk, number, 1, 1, &mut rng).plain();
            let packets = script(Kind::Bulk, number * MILLISECOND, sizes, &mut rng);
            let download = Download::after(&packets, 12 * MICROSECOND * plan.downloads);
            summary.add(Kind::Bulk);
            schedule.open(Flow { ends, packets, next: 0, download: Some(download) });
        }
    }
    let mut next_flow = 0u64;
    while out.file_bytes < plan.size {
        let due = schedule.next_time();
        if summary.flows < plan.flows && due.is_none_or(|due| next_flow <= due) {
            let start = next_flow;
            next_flow += (rng.exponential(1.0 / rate) * SECOND as f64) as u64 + 1;
            let kind = pick(&mix, &mut rng);
            let ends = Ends::new(kind, summary.flows, plan.servers, plan.clients, &mut rng);
            let packets = script(kind, start, sizes, &mut rng);
            summary.add(kind);
            schedule.open(Flow { ends, packets, next: 0, download: None });
            summary.open = summary.open.max(schedule.due.len());
        } else if let Some(due) = due {
            schedule.step(|ends, packet| out.record(EPOCH + packet.time, framer.frame(ends, packet)))?;
            summary.duration = due;
        } else {
            break;
        }
    }
    out.finish()?;
    Ok(Summary { packets: out.packets, file_bytes: out.file_bytes, wire_bytes: out.wire_bytes, ..summary })
}

impl Summary {
    fn add(&mut self, kind: Kind) {
        self.flows += 1;
        *self.kinds.entry(kind).or_default() += 1;
    }
}

fn pick(mix: &[(Kind, f64)], rng: &mut Rng) -> Kind {
    let total: f64 = mix.iter().map(|(_, weight)| weight).sum();
    let mut point = rng.unit() * total;
    for (kind, weight) in mix {
        if point < *weight {
            return *kind;
        }
        point -= weight;
    }
    mix[0].0
}
