//! The settings that decide what TCP does with handshakes, closes and full queues.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Settings by name, as `sysctl` prints them. One that the kernel does not have is absent.
pub type Sysctls = BTreeMap<String, String>;

/// The settings in a snapshot. Not every kernel has all of them; `tcp_tw_recycle` is gone since 4.12.
pub const NAMES: &[&str] = &[
    "net.core.netdev_max_backlog",
    "net.core.somaxconn",
    "net.ipv4.conf.all.rp_filter",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_abort_on_overflow",
    "net.ipv4.tcp_challenge_ack_limit",
    "net.ipv4.tcp_fastopen",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_invalid_ratelimit",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_max_tw_buckets",
    "net.ipv4.tcp_migrate_req",
    "net.ipv4.tcp_orphan_retries",
    "net.ipv4.tcp_retries2",
    "net.ipv4.tcp_rfc1337",
    "net.ipv4.tcp_rto_max_ms",
    "net.ipv4.tcp_syn_linear_timeouts",
    "net.ipv4.tcp_syn_retries",
    "net.ipv4.tcp_synack_retries",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_timestamps",
    "net.ipv4.tcp_tw_recycle",
    "net.ipv4.tcp_tw_reuse",
    "net.netfilter.nf_conntrack_count",
    "net.netfilter.nf_conntrack_max",
    "net.netfilter.nf_conntrack_tcp_be_liberal",
];

/// Reads them below `proc` (`/proc`). Settings that cannot be read are left out.
pub fn read(proc: &Path) -> Sysctls {
    NAMES
        .iter()
        .filter_map(|&name| {
            let text = fs::read_to_string(proc.join("sys").join(name.replace('.', "/"))).ok()?;
            Some((name.to_owned(), value(&text)))
        })
        .collect()
}

/// A setting's value in one line: tabs in `/proc/sys` become the spaces that `sysctl` prints.
fn value(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_by_name_and_absent_ones_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let ipv4 = dir.path().join("sys/net/ipv4");
        fs::create_dir_all(&ipv4).unwrap();
        fs::write(ipv4.join("tcp_abort_on_overflow"), "0\n").unwrap();
        fs::write(ipv4.join("ip_local_port_range"), "32768\t60999\n").unwrap();
        let read = read(dir.path());
        assert_eq!(read["net.ipv4.tcp_abort_on_overflow"], "0");
        assert_eq!(read["net.ipv4.ip_local_port_range"], "32768 60999");
        assert_eq!(read.get("net.ipv4.tcp_tw_recycle"), None);
        assert_eq!(read.len(), 2);
    }
}
