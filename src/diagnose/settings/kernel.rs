//! The generations of the Linux kernel that agree with the readings. They are hints, since vendors backport changes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::json;

use crate::detect::Draft;
use crate::detect::details::Details;
use crate::diagnose::settings::clock::{HostClock, Offset};
use crate::diagnose::settings::inference::inferred;
use crate::model::{Inferred, Kind};

/// A kernel version: major, minor.
type KernelRelease = (u8, u8);

/// Readings of one host's kernel.
#[derive(Clone, Debug, Default)]
struct Hint {
    least: Option<KernelRelease>,
    most: Option<KernelRelease>,
    /// What applies beside the range.
    unless: Vec<&'static str>,
    from: Vec<&'static str>,
}

impl Hint {
    fn from(&mut self, version: KernelRelease, why: &'static str) {
        self.least = self.least.max(Some(version));
        self.from.push(why);
    }

    fn until(&mut self, version: KernelRelease, why: &'static str) {
        self.most = Some(self.most.map_or(version, |most| most.min(version)));
        self.from.push(why);
    }

    /// The range in words; `None` if the hints contradict each other.
    fn range(&self) -> Option<String> {
        let name = |(major, minor): KernelRelease| format!("Linux {major}.{minor}");
        let range = match (self.least, self.most) {
            (Some(least), Some(most)) if least <= most => format!("{} to {}.{}", name(least), most.0, most.1),
            (Some(_), Some(_)) => return None,
            (Some(least), None) => format!("{} or later", name(least)),
            (None, Some(most)) => format!("{} or older", name(most)),
            (None, None) => return None,
        };
        Some(if self.unless.is_empty() {
            range
        } else {
            format!("{range}, or {}", self.unless.join(", or "))
        })
    }
}

/// The range for each host that shows one.
pub fn infer(clocks: &[HostClock<'_>], linear: &BTreeMap<IpAddr, usize>, drafts: &[&Draft]) -> Vec<Inferred> {
    let mut hints: BTreeMap<IpAddr, Hint> = BTreeMap::new();
    for clock in clocks {
        let mut hint = Hint::default();
        match clock.pace {
            // TCP_TS_HZ is 1000 from 4.13 on (read in 4.18); before, it is the HZ of the build.
            Some((100 | 250 | 300, _)) => hint.until((4, 12), "a timestamp clock of jiffies"),
            Some((1_000_000, _)) => hint.from((6, 7), "a timestamp clock of microseconds"),
            _ => {}
        }
        // Several hosts behind one address have several offsets, whatever their kernels do.
        match clock.offset.filter(|_| clock.hosts.is_none()) {
            Some(Offset::None) => {
                hint.until((4, 9), "timestamps without an offset");
                hint.unless.push("any with net.ipv4.tcp_timestamps=2");
            }
            Some(Offset::PerPair) => hint.from((4, 10), "timestamp offsets per pair of addresses"),
            Some(Offset::PerConnection) => {
                hint.from((6, 1), "timestamp offsets per connection (6.1 and 6.12 with updates, 6.18)");
                hint.unless.push("a system other than Linux");
            }
            Some(Offset::NoneOrPerPair) | None => {}
        }
        hints.insert(clock.host, hint);
    }
    for host in linear.keys() {
        hints.entry(*host).or_default().from((6, 5), "SYNs repeated a second apart");
    }
    for d in drafts.iter().filter(|d| d.kind == Kind::AcceptQueueOverflow) {
        let refreshed = matches!(d.details, Details::IgnoredAck(ignored) if ignored.read_by_tcp);
        if let (true, Some(server)) = (refreshed, d.server) {
            let hint = hints.entry(server.address.ip()).or_default();
            let why = "repeated SYN-ACKs echo what the client sent last";
            if !hint.from.contains(&why) {
                hint.until((6, 13), why);
            }
        }
    }
    hints
        .into_iter()
        .filter_map(|(host, hint)| {
            Some(inferred(host, "kernel (hint)", json!(hint.range()?), hint.from.join("; ")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_narrow_each_other_or_cancel_out() {
        let mut hint = Hint::default();
        assert_eq!(hint.range(), None);
        hint.from((4, 10), "");
        hint.until((4, 12), "");
        assert_eq!(hint.range().as_deref(), Some("Linux 4.10 to 4.12"));
        hint.from((6, 5), "");
        assert_eq!(hint.range(), None);
    }
}
