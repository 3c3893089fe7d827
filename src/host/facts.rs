//! One or two snapshots of a host, and what changed between them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::listeners::{ListenSocket, serving};
use super::recording::QueueRecord;
use super::snapshot::Snapshot;
use crate::time::Timestamp;

/// From this kernel on a listening socket's own drops count every refused handshake (`tcp_listendrop`, in 4.9, not in
/// 4.4).
const DROPS_TELL: Version = (4, 9);

/// Major and minor number of a kernel.
pub type Version = (u32, u32);

/// Facts about the host around a capture.
#[derive(Clone, Debug, PartialEq)]
pub struct HostFacts {
    /// The earlier snapshot; `None` if there is only one.
    before: Option<Snapshot>,
    /// The later one, or the only one.
    after: Snapshot,
    /// The queues of listeners meanwhile, where they were recorded: by address and inode of the socket.
    queues: Arc<BTreeMap<(SocketAddr, u64), Vec<QueueRecord>>>,
}

/// Two snapshots that have no difference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotMismatch {
    /// No snapshot was given.
    #[error("no snapshot")]
    None,
    /// They are of two hosts, kernels or namespaces.
    #[error(
        "the snapshots are not of the same {what}: {before} and {after}. Take both in the same place, one before and \
         one after the capture."
    )]
    Another {
        /// The difference.
        what: &'static str,
        /// The value in the earlier one.
        before: String,
        /// The value in the later one.
        after: String,
    },
    /// Its counters began at 0 again.
    #[error(
        "the host was started anew between the snapshots ({before} and {after}): its counters began at 0 again and have \
         no difference. Use snapshots of one boot."
    )]
    Rebooted {
        /// Time of the earlier one.
        before: Timestamp,
        /// Time of the later one.
        after: Timestamp,
    },
}

impl HostFacts {
    /// Uses the first and the last in time of `snapshots`.
    ///
    /// # Errors
    /// If they are not of the same host, boot and namespace. A value that one of them lacks is no
    /// contradiction.
    pub fn new(mut snapshots: Vec<Snapshot>) -> Result<HostFacts, SnapshotMismatch> {
        snapshots.sort_by_key(|s| s.time);
        let after = snapshots.pop().ok_or(SnapshotMismatch::None)?;
        let Some(before) = (!snapshots.is_empty()).then(|| snapshots.swap_remove(0)) else {
            return Ok(HostFacts { before: None, after, queues: Arc::default() });
        };
        for (what, b, a) in [
            ("host", &before.hostname, &after.hostname),
            ("kernel", &before.kernel, &after.kernel),
            ("network namespace", &before.netns, &after.netns),
            ("boot", &before.boot_id, &after.boot_id),
        ] {
            if let (Some(b), Some(a)) = (b, a)
                && b != a
            {
                return Err(if what == "boot" {
                    SnapshotMismatch::Rebooted { before: before.time, after: after.time }
                } else {
                    SnapshotMismatch::Another { what, before: b.clone(), after: a.clone() }
                });
            }
        }
        Ok(HostFacts { before: Some(before), after, queues: Arc::default() })
    }

    /// The same, with the queues of listeners over time.
    #[must_use]
    pub fn with_queues(self, queues: BTreeMap<(SocketAddr, u64), Vec<QueueRecord>>) -> HostFacts {
        HostFacts { queues: Arc::new(queues), ..self }
    }

    /// The accept queue over time of the socket that serves `server`; of several sockets the one with the longest
    /// queue. Empty if it was not recorded.
    pub fn queue_samples(&self, server: SocketAddr) -> &[QueueRecord] {
        let sockets =
            self.after.listeners.iter().chain(self.before.iter().flat_map(|s| &s.listeners)).flatten();
        let sockets: Vec<ListenSocket> = sockets.cloned().collect();
        let of = |socket: &ListenSocket| self.queues.get(&(socket.address, socket.inode));
        let recorded = serving(&sockets, server).into_iter().filter_map(of);
        let longest = |samples: &&Vec<QueueRecord>| samples.iter().map(|sample| sample.accept_queue).max();
        recorded.max_by_key(longest).map_or(&[], Vec::as_slice)
    }

    /// The later snapshot, or the only one.
    pub fn latest(&self) -> &Snapshot {
        &self.after
    }

    /// From the end of the earlier snapshot to the beginning of the later one: events in that time are in the
    /// differences. `None` with one snapshot.
    pub fn between(&self) -> Option<(Timestamp, Timestamp)> {
        Some((self.before.as_ref()?.finished, self.after.time))
    }

    /// How much a counter rose between the snapshots. `None` is unknown: one snapshot only, a kernel without that
    /// counter, or a value that went back.
    pub fn rise(&self, counter: &str) -> Option<u64> {
        let before = self.before.as_ref()?.counters.get(counter)?;
        self.after.counters.get(counter)?.checked_sub(*before)
    }

    /// Whether the kernel lacks this counter: the snapshot has counters, and this is not among them.
    pub fn lacks_counter(&self, counter: &str) -> bool {
        !self.after.counters.is_empty() && !self.after.counters.contains_key(counter)
    }

    /// A setting that all snapshots agree on. `None` is unknown, or changed.
    pub fn setting(&self, name: &str) -> Option<&str> {
        let after = self.after.sysctls.get(name)?;
        let same = self.before.as_ref().is_none_or(|before| before.sysctls.get(name) == Some(after));
        same.then_some(after.as_str())
    }

    /// The earlier snapshot's value of a setting that has changed.
    pub fn former_setting(&self, name: &str) -> Option<&str> {
        let before = self.before.as_ref()?.sysctls.get(name)?;
        (self.after.sysctls.get(name) != Some(before)).then_some(before.as_str())
    }

    /// Whether the kernel lacks this setting.
    pub fn lacks_setting(&self, name: &str) -> bool {
        !self.after.sysctls.is_empty() && !self.after.sysctls.contains_key(name)
    }

    /// Whether `server` is an address of this host. If the snapshot lists no addresses, a listener on that port is
    /// enough; if it lists no listeners either, the answer is no.
    pub fn is_here(&self, server: SocketAddr) -> bool {
        self.after.has(server) || self.before.as_ref().is_some_and(|before| before.has(server))
    }

    /// Whether a socket of this network namespace listens for `server`. `None` is unknown: the snapshots do not list
    /// sockets, or one of them lists one and the other does not.
    pub fn is_listening(&self, server: SocketAddr) -> Option<bool> {
        let listens = |s: &Snapshot| Some(!serving(s.listeners.as_ref()?, server).is_empty());
        let after = listens(&self.after)?;
        match &self.before {
            None => Some(after),
            Some(before) => Some(after).filter(|after| listens(before) == Some(*after)),
        }
    }

    /// Whether one of the sockets that serve `server` held more connections than its backlog in either snapshot.
    /// `None` is unknown.
    pub fn accept_queue_was_full(&self, server: SocketAddr) -> Option<bool> {
        let (before, after) = self.sockets(server)?;
        let full = |socket: &&ListenSocket| Some(socket.accept_queue > socket.backlog?);
        let all: Vec<bool> = before.iter().chain(&after).map(full).collect::<Option<_>>()?;
        (!all.is_empty()).then(|| all.contains(&true))
    }

    /// Sockets in TIME_WAIT in the later snapshot.
    pub fn time_wait(&self) -> Option<u64> {
        self.after.time_wait
    }

    /// The listening sockets that served `server` before, and after. `None` if one of the snapshots does not say.
    fn sockets(&self, server: SocketAddr) -> Option<(Vec<&ListenSocket>, Vec<&ListenSocket>)> {
        let before = self.before.as_ref()?.listeners.as_ref()?;
        let after = self.after.listeners.as_ref()?;
        Some((serving(before, server), serving(after, server)))
    }

    /// Whether the same sockets served `server` before and after. `None` is unknown, or none did.
    pub fn same_listener(&self, server: SocketAddr) -> Option<bool> {
        let (before, after) = self.sockets(server)?;
        let inodes = |some: &[&ListenSocket]| {
            let mut inodes: Vec<u64> = some.iter().map(|l| l.inode).collect();
            inodes.sort_unstable();
            inodes
        };
        (!before.is_empty()).then(|| inodes(&before) == inodes(&after))
    }

    /// How many segments the sockets that serve `server` dropped between the snapshots. `None` is unknown: not the same
    /// sockets, or a kernel that does not count there.
    pub fn listener_drops(&self, server: SocketAddr) -> Option<u64> {
        if self.kernel()? < DROPS_TELL || self.same_listener(server) != Some(true) {
            return None;
        }
        let (before, after) = self.sockets(server)?;
        let sum = |inode: u64| {
            let drops = |some: &[&ListenSocket]| some.iter().find(|l| l.inode == inode)?.drops;
            // A 32-bit counter in the kernel.
            Some(u64::from(drops(&after)?.wrapping_sub(drops(&before)?)))
        };
        before.iter().map(|l| sum(l.inode)).sum()
    }

    /// The kernel's version, if its release states one.
    pub fn kernel(&self) -> Option<Version> {
        version(self.after.kernel.as_deref()?)
    }

    /// The host's name, or else its first own address.
    pub fn name(&self) -> String {
        let address = self.after.addresses.iter().find(|ip| !ip.is_loopback()).map(ToString::to_string);
        self.after.hostname.clone().or(address).unwrap_or_else(|| "the host of the snapshots".to_owned())
    }
}

/// `3.10.0-327.el7.x86_64` is 3.10.
fn version(release: &str) -> Option<Version> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(seconds: i64, change: impl FnOnce(&mut Snapshot)) -> Snapshot {
        let time = Timestamp(seconds * 1_000_000_000);
        let mut s = Snapshot {
            schema: super::super::snapshot::SCHEMA.to_owned(),
            time,
            finished: Timestamp(time.0 + 1_000_000),
            kernel: Some("6.1.0-18-amd64".to_owned()),
            hostname: Some("web1".to_owned()),
            boot_id: Some("a".to_owned()),
            netns: None,
            addresses: ["192.0.2.7".parse().unwrap()].into(),
            counters: [("TcpExtListenOverflows".to_owned(), 10)].into(),
            sysctls: [("net.ipv4.tcp_abort_on_overflow".to_owned(), "0".to_owned())].into(),
            listeners: Some(Vec::new()),
            time_wait: None,
            states: None,
            holders: Default::default(),
        };
        change(&mut s);
        s
    }

    fn count(s: &mut Snapshot, overflows: u64) {
        s.counters.insert("TcpExtListenOverflows".to_owned(), overflows);
    }

    fn listener(inode: u64, drops: u32) -> ListenSocket {
        ListenSocket {
            address: "0.0.0.0:80".parse().unwrap(),
            inode,
            accept_queue: 0,
            backlog: Some(8),
            drops: Some(drops),
        }
    }

    #[test]
    fn the_first_and_the_last_in_time_count_whatever_their_order() {
        let overflows = |n| move |s: &mut Snapshot| count(s, n);
        let facts = HostFacts::new(vec![
            snapshot(30, overflows(47)),
            snapshot(10, overflows(10)),
            snapshot(20, overflows(11)),
        ])
        .unwrap();
        assert_eq!(facts.rise("TcpExtListenOverflows"), Some(37));
        assert_eq!(facts.between(), Some((Timestamp(10_001_000_000), Timestamp(30_000_000_000))));
    }

    #[test]
    fn unknown_is_not_zero() {
        let facts = HostFacts::new(vec![snapshot(1, |_| ()), snapshot(2, |_| ())]).unwrap();
        assert_eq!(facts.rise("TcpExtListenOverflows"), Some(0));
        assert_eq!(facts.rise("TcpExtPAWSPassive"), None);
        assert!(facts.lacks_counter("TcpExtPAWSPassive"));
        assert_eq!(facts.setting("net.ipv4.tcp_tw_recycle"), None);
        assert!(facts.lacks_setting("net.ipv4.tcp_tw_recycle"));
        let back = snapshot(2, |s| count(s, 9));
        let back = HostFacts::new(vec![snapshot(1, |_| ()), back]).unwrap();
        assert_eq!(back.rise("TcpExtListenOverflows"), None, "counters do not go back");
        let one = HostFacts::new(vec![snapshot(1, |_| ())]).unwrap();
        assert_eq!(one.rise("TcpExtListenOverflows"), None);
        assert_eq!(one.setting("net.ipv4.tcp_abort_on_overflow"), Some("0"));
        let nothing = HostFacts::new(vec![snapshot(1, |s| s.counters.clear())]).unwrap();
        assert!(!nothing.lacks_counter("TcpExtPAWSPassive"), "no counters could be read at all");
    }

    #[test]
    fn snapshots_of_two_hosts_or_boots_have_no_difference() {
        let other =
            |change: fn(&mut Snapshot)| HostFacts::new(vec![snapshot(1, |_| ()), snapshot(2, change)]);
        let host = other(|s| s.hostname = Some("web2".to_owned())).unwrap_err().to_string();
        assert!(host.contains("same host: web1 and web2"), "{host}");
        let boot = other(|s| s.boot_id = Some("b".to_owned())).unwrap_err();
        assert!(matches!(boot, SnapshotMismatch::Rebooted { .. }), "{boot}");
        other(|s| s.boot_id = None).unwrap();
        assert_eq!(HostFacts::new(Vec::new()), Err(SnapshotMismatch::None));
    }

    #[test]
    fn a_setting_that_changed_is_not_known() {
        let raised = |s: &mut Snapshot| {
            s.sysctls.insert("net.ipv4.tcp_abort_on_overflow".to_owned(), "1".to_owned());
        };
        let facts = HostFacts::new(vec![snapshot(1, |_| ()), snapshot(2, raised)]).unwrap();
        assert_eq!(facts.setting("net.ipv4.tcp_abort_on_overflow"), None);
        assert_eq!(facts.former_setting("net.ipv4.tcp_abort_on_overflow"), Some("0"));
    }

    #[test]
    fn a_listener_has_drops_of_its_own() {
        let server = "192.0.2.7:80".parse().unwrap();
        let with = |sockets: Vec<ListenSocket>| move |s: &mut Snapshot| s.listeners = Some(sockets);
        let facts = |before, after| {
            HostFacts::new(vec![snapshot(1, with(before)), snapshot(2, with(after))]).unwrap()
        };
        let same = facts(vec![listener(1, 5), listener(2, u32::MAX)], vec![listener(2, 2), listener(1, 6)]);
        assert_eq!(same.listener_drops(server), Some(4));
        assert_eq!(same.same_listener(server), Some(true));
        let replaced = facts(vec![listener(1, 5)], vec![listener(3, 0)]);
        assert_eq!(replaced.listener_drops(server), None);
        assert_eq!(replaced.same_listener(server), Some(false));
        let old = |mut s: Snapshot| {
            s.kernel = Some("3.10.0-327.el7.x86_64".to_owned());
            s
        };
        let el7 = HostFacts::new(vec![
            old(snapshot(1, with(vec![listener(1, 5)]))),
            old(snapshot(2, with(vec![listener(1, 5)]))),
        ])
        .unwrap();
        assert_eq!(el7.listener_drops(server), None, "that kernel does not count there");
    }

    #[test]
    fn whose_address_it_is() {
        let facts = HostFacts::new(vec![snapshot(1, |_| ())]).unwrap();
        assert!(facts.is_here("192.0.2.7:80".parse().unwrap()));
        assert!(!facts.is_here("192.0.2.8:80".parse().unwrap()));
        let by_port = |s: &mut Snapshot| {
            s.addresses.clear();
            s.listeners = Some(vec![listener(1, 0)]);
        };
        let unnamed = HostFacts::new(vec![snapshot(1, by_port)]).unwrap();
        assert!(unnamed.is_here("198.51.100.1:80".parse().unwrap()));
        assert!(!unnamed.is_here("198.51.100.1:81".parse().unwrap()));
    }

    #[test]
    fn kernels_by_their_release() {
        assert_eq!(version("3.10.0-327.el7.x86_64"), Some((3, 10)));
        assert_eq!(version("6.18-rc1"), Some((6, 18)));
        assert_eq!(version("linux"), None);
    }
}
