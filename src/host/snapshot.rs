//! A host at one moment, as a document: `synscope.snapshot/1`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::addresses;
use super::counters::{self, Counters};
use super::listeners::{self, ListenSocket, SocketStates};
use super::process::SocketOwner;
#[cfg(target_os = "linux")]
use super::sock_diag::{self, TimeWait};
use super::sysctl::{self, Sysctls};
use crate::time::Timestamp;

/// Name and version of the document, the value of [`Snapshot::schema`].
pub const SCHEMA: &str = "synscope.snapshot/1";

/// The counters, settings and sockets of a host at one moment. A value that the host does not have, or may not be read,
/// is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Always `synscope.snapshot/1`.
    pub schema: String,
    /// When the reading began, RFC 3339 in the document. Events before that are counted.
    #[serde(serialize_with = "write_time", deserialize_with = "read_time")]
    pub time: Timestamp,
    /// When it was done. Events from then on are not counted.
    #[serde(serialize_with = "write_time", deserialize_with = "read_time")]
    pub finished: Timestamp,
    /// Kernel release, as `uname -r` prints it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kernel: Option<String>,
    /// The host's name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hostname: Option<String>,
    /// Different after each boot: counters begin at 0 again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub boot_id: Option<String>,
    /// The network namespace, `net:[4026531840]`. Each has counters of its own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub netns: Option<String>,
    /// The host's own addresses; none if they could not be read.
    #[serde(default)]
    pub addresses: BTreeSet<IpAddr>,
    /// Counters since boot, as `nstat -az` names them.
    pub counters: Counters,
    /// Settings, as `sysctl` names them.
    pub sysctls: Sysctls,
    /// Listening TCP sockets.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub listeners: Option<Vec<ListenSocket>>,
    /// Sockets in TIME_WAIT, as `/proc/net/sockstat` counts them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub time_wait: Option<u64>,
    /// Sockets that are not listening, by local address, at the ports of listeners; not part of the document.
    #[serde(skip)]
    pub states: Option<Arc<BTreeMap<SocketAddr, SocketStates>>>,
    /// The holders of the listening sockets, by inode, as far as they may be read; not part of the document.
    #[serde(skip)]
    pub holders: Arc<BTreeMap<u64, SocketOwner>>,
}

impl Snapshot {
    /// Reads this host, as its network namespace sees it.
    ///
    /// # Errors
    /// Where `/proc/net/netstat` cannot be read: no Linux, or no `/proc`.
    pub fn of_this_host() -> io::Result<Snapshot> {
        Snapshot::read(Path::new("/proc"))
    }

    fn read(proc: &Path) -> io::Result<Snapshot> {
        let own = of_this_thread(proc);
        let text = |path: &str| {
            let place = if path.starts_with("net/") { own.join(path) } else { proc.join(path) };
            fs::read_to_string(place).ok()
        };
        let line = |path: &str| text(path).map(|text| text.trim().to_owned());
        let time = now();
        let mut counters = counters::from_pairs(&fs::read_to_string(own.join("net/netstat"))?);
        counters.extend(counters::from_pairs(&text("net/snmp").unwrap_or_default()));
        counters.extend(counters::from_lines(&text("net/snmp6").unwrap_or_default()));
        let listeners = listening_sockets(&own);
        let finished = now();
        let mut addresses = addresses::from_fib_trie(&text("net/fib_trie").unwrap_or_default());
        addresses.extend(addresses::from_if_inet6(&text("net/if_inet6").unwrap_or_default()));
        Ok(Snapshot {
            schema: SCHEMA.to_owned(),
            time,
            finished,
            kernel: line("sys/kernel/osrelease"),
            hostname: line("sys/kernel/hostname"),
            boot_id: line("sys/kernel/random/boot_id"),
            netns: fs::read_link(own.join("ns/net")).ok().map(|ns| ns.to_string_lossy().into_owned()),
            addresses,
            counters,
            sysctls: sysctl::read(proc),
            listeners,
            time_wait: text("net/sockstat").and_then(|text| time_wait(&text)),
            states: None,
            holders: Arc::default(),
        })
    }

    /// Whether `server` is an address of this host. If addresses are not listed, a listener on that port is enough.
    pub fn has(&self, server: SocketAddr) -> bool {
        if self.addresses.is_empty() {
            return self.listeners.iter().flatten().any(|l| l.address.port() == server.port());
        }
        self.addresses.contains(&server.ip())
    }

    /// The same host a little later: counters and listeners are read again, rarely changing values are taken over. Of
    /// the counters only TCP's are kept.
    ///
    /// # Errors
    /// As for [`Snapshot::of_this_host`].
    pub fn renew(&self) -> io::Result<Snapshot> {
        let own = of_this_thread(Path::new("/proc"));
        let time = now();
        let mut counters = counters::from_pairs(&fs::read_to_string(own.join("net/netstat"))?);
        counters.extend(counters::from_pairs(&fs::read_to_string(own.join("net/snmp")).unwrap_or_default()));
        counters.retain(|name, _| name.starts_with("Tcp"));
        let listeners = listening_sockets(&own);
        let time_wait = fs::read_to_string(own.join("net/sockstat")).ok().and_then(|text| time_wait(&text));
        Ok(Snapshot { time, finished: now(), counters, listeners, time_wait, ..self.clone() })
    }

    /// The kernel's counts for this network namespace, as text: it differs once a packet has come.
    pub fn counted() -> io::Result<[String; 2]> {
        let own = of_this_thread(Path::new("/proc"));
        Ok([fs::read_to_string(own.join("net/netstat"))?, fs::read_to_string(own.join("net/snmp"))?])
    }

    /// Counts the sockets at the ports of listeners, if the system can tell.
    #[cfg(target_os = "linux")]
    pub fn count_states(&self) -> Option<BTreeMap<SocketAddr, SocketStates>> {
        /// With more sockets in TIME_WAIT, listing them takes too long.
        const MOST: u64 = 20_000;
        let ports = self.listeners.iter().flatten().map(|socket| socket.address.port()).collect();
        let time_wait = match self.time_wait {
            Some(0..=MOST) => TimeWait::Counted,
            _ => TimeWait::CountedOnly,
        };
        sock_diag::states(&ports, time_wait).ok()
    }

    /// Reads a document.
    ///
    /// # Errors
    /// A file that is not JSON, or not a snapshot of this version.
    pub fn parse(text: &str) -> Result<Snapshot, String> {
        let value: serde_json::Value = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
        match value.get("schema").and_then(serde_json::Value::as_str) {
            Some(SCHEMA) => {}
            Some(other) => return Err(format!("it holds {other}, not {SCHEMA}")),
            None => return Err(format!("its \"schema\" is not {SCHEMA}")),
        }
        serde_json::from_value(value).map_err(|e| e.to_string())
    }
}

/// The path of the calling thread's network namespace, which may be another one than the process's.
fn of_this_thread(proc: &Path) -> PathBuf {
    let own = proc.join("thread-self");
    if own.join("net").is_dir() {
        return own;
    }
    // Before Linux 3.17 there is no such link; and a process has only one namespace unless its threads enter others.
    if proc.join("self/net").is_dir() { proc.join("self") } else { proc.to_owned() }
}

/// `tw` in the line of TCP in `/proc/net/sockstat`.
fn time_wait(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP: "))?;
    let mut words = line.split_whitespace().skip_while(|word| *word != "tw");
    words.nth(1)?.parse().ok()
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

fn write_time<S: Serializer>(time: &Timestamp, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(time)
}

fn read_time<'de, D: Deserializer<'de>>(input: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(input)?;
    let time: jiff::Timestamp = text.parse().map_err(de::Error::custom)?;
    i64::try_from(time.as_nanosecond()).map(Timestamp).map_err(de::Error::custom)
}

/// All listening TCP sockets of the network namespace, in order of their addresses; `None` if they cannot be read.
///
/// Asks sock_diag. Without permission, or before Linux 3.3, `/proc/net/tcp` and `tcp6` below `proc` are read: they have
/// the accept queues, but neither backlogs nor drops.
fn listening_sockets(proc: &Path) -> Option<Vec<ListenSocket>> {
    let mut all = from_sock_diag().or_else(|| {
        let mut all = listeners::from_proc(&fs::read_to_string(proc.join("net/tcp")).ok()?);
        // A host without IPv6 has no such file.
        all.extend(listeners::from_proc(&fs::read_to_string(proc.join("net/tcp6")).unwrap_or_default()));
        Some(all)
    })?;
    all.sort();
    Some(all)
}

#[cfg(target_os = "linux")]
fn from_sock_diag() -> Option<Vec<ListenSocket>> {
    sock_diag::listening().ok()
}

#[cfg(not(target_os = "linux"))]
fn from_sock_diag() -> Option<Vec<ListenSocket>> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_survives_being_written_and_read() {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("net/netstat", "TcpExt: ListenOverflows ListenDrops\nTcpExt: 37 40\n"),
            ("net/snmp", "Tcp: OutRsts\nTcp: 5\n"),
            ("net/sockstat", "sockets: used 9\nTCP: inuse 5 orphan 0 tw 14106 alloc 8 mem 3\nUDP: inuse 2\n"),
            ("sys/kernel/osrelease", "6.18.44\n"),
            ("sys/net/core/somaxconn", "4096\n"),
            ("net/fib_trie", "Main:\n     |-- 192.0.2.7\n        /32 host LOCAL\n"),
        ] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let snapshot = Snapshot::read(dir.path()).unwrap();
        assert_eq!(snapshot.counters["TcpExtListenOverflows"], 37);
        assert_eq!(snapshot.counters["TcpOutRsts"], 5);
        assert_eq!(snapshot.time_wait, Some(14_106));
        assert_eq!(snapshot.kernel.as_deref(), Some("6.18.44"));
        assert_eq!(snapshot.boot_id, None, "not there, so unknown");
        assert!(snapshot.finished >= snapshot.time);
        let text = serde_json::to_string_pretty(&snapshot).unwrap();
        assert_eq!(Snapshot::parse(&text).unwrap(), snapshot);
        assert!(!text.contains("boot_id"), "{text}");
    }

    #[test]
    fn what_is_no_snapshot_says_so() {
        assert!(Snapshot::parse("tcpdump").unwrap_err().contains("not JSON"));
        assert!(Snapshot::parse("{}").unwrap_err().contains("synscope.snapshot/1"));
        let report = Snapshot::parse(r#"{"schema": "synscope.report/1"}"#).unwrap_err();
        assert!(report.contains("synscope.report/1"), "{report}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_host_can_be_read() {
        let here = Snapshot::of_this_host().unwrap();
        assert!(here.counters.contains_key("TcpExtListenOverflows"));
        assert!(here.sysctls.contains_key("net.ipv4.tcp_syncookies"));
        assert!(here.kernel.is_some());
    }
}
