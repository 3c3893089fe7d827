//! The addresses of the host, as `/proc/net/fib_trie` (IPv4) and `/proc/net/if_inet6` list them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The local addresses in `/proc/net/fib_trie`: leaves with a line `/32 host LOCAL` below them.
pub fn from_fib_trie(text: &str) -> BTreeSet<IpAddr> {
    let mut local = BTreeSet::new();
    let mut leaf: Option<Ipv4Addr> = None;
    for line in text.lines() {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.trim().parse().ok();
        } else if line.starts_with("/32 host LOCAL") {
            local.extend(leaf.map(IpAddr::V4));
        }
    }
    local
}

/// The addresses in `/proc/net/if_inet6`: 32 digits, then index, prefix length, scope, flags and interface.
pub fn from_if_inet6(text: &str) -> BTreeSet<IpAddr> {
    let address = |line: &str| {
        let digits = line.split_whitespace().next().filter(|digits| digits.len() == 32)?;
        Some(IpAddr::V6(Ipv6Addr::from(u128::from_str_radix(digits, 16).ok()?)))
    };
    text.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIB_TRIE: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 192.0.2.0/24 2 0 2
        |-- 192.0.2.0
           /24 link UNICAST
        |-- 192.0.2.7
           /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
Local:
  +-- 127.0.0.0/8 2 0 2
     +-- 127.0.0.0/31 1 0 0
        |-- 127.0.0.0
           /8 host LOCAL
        |-- 127.0.0.1
           /32 host LOCAL
";

    #[test]
    fn local_addresses_are_told_from_networks_and_broadcast() {
        let expected: Vec<IpAddr> = vec!["127.0.0.1".parse().unwrap(), "192.0.2.7".parse().unwrap()];
        assert_eq!(from_fib_trie(FIB_TRIE).into_iter().collect::<Vec<_>>(), expected);
        assert!(from_fib_trie("").is_empty());
    }

    #[test]
    fn version_6_addresses_are_hexadecimal() {
        let text = "\
00000000000000000000000000000001 01 80 10 80       lo
20010db8000000000000000000000007 02 40 00 80     eth0
short 02 40 00 80 eth0
";
        let expected: Vec<IpAddr> = vec!["::1".parse().unwrap(), "2001:db8::7".parse().unwrap()];
        assert_eq!(from_if_inet6(text).into_iter().collect::<Vec<_>>(), expected);
    }
}
