//! The kernel's network counters, named as `nstat` names them: `TcpExtListenOverflows`, `TcpOutRsts`.

use std::collections::BTreeMap;

/// Counters by name. A counter that the kernel does not have is absent.
pub type Counters = BTreeMap<String, u64>;

/// Reads `/proc/net/netstat` or `/proc/net/snmp`: pairs of lines, names and values, each behind the same prefix.
///
/// Names without a value (or the other way round) and negative values (`Tcp: MaxConn -1`) are left out.
pub fn from_pairs(text: &str) -> Counters {
    let mut counters = Counters::new();
    let mut lines = text.lines().filter_map(|line| line.split_once(':')).peekable();
    while let Some((prefix, names)) = lines.next() {
        let Some((_, values)) = lines.next_if(|(next, _)| *next == prefix) else { continue };
        for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
            if let Ok(value) = value.parse() {
                counters.insert(format!("{}{name}", prefix.trim()), value);
            }
        }
    }
    counters
}

/// Reads `/proc/net/snmp6`: a name and its value on each line.
pub fn from_lines(text: &str) -> Counters {
    let pair = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linux 3.10 (el7), cut.
    const EL7: &str = "\
TcpExt: SyncookiesSent SyncookiesRecv SyncookiesFailed EmbryonicRsts PruneCalled RcvPruned OfoPruned OutOfWindowIcmps \
LockDroppedIcmps ArpFilter TW TWRecycled TWKilled PAWSPassive PAWSActive PAWSEstab ListenOverflows ListenDrops
TcpExt: 30 6 1 0 0 0 0 0 0 0 12 0 41 91 0 0 104 195
IpExt: InNoRoutes InTruncatedPkts InMcastPkts OutMcastPkts InBcastPkts OutBcastPkts InOctets
IpExt: 2 0 0 0 0 0 18446744073709551615
";

    /// Linux 6.18, cut: PAWSPassive is gone, MPTcpExt has come.
    const V618: &str = "\
TcpExt: SyncookiesSent SyncookiesRecv SyncookiesFailed EmbryonicRsts TW TWRecycled TWKilled PAWSActive PAWSEstab \
BeyondWindow TSEcrRejected PAWSOldAck PAWSTimewait ListenOverflows ListenDrops
TcpExt: 0 0 0 0 0 0 0 0 0 0 0 0 4 37 37
IpExt: InNoRoutes InTruncatedPkts
IpExt: 0 0
MPTcpExt: MPCapableSYNRX MPCapableSYNTX
MPTcpExt: 0 0
";

    const SNMP: &str = "\
Ip: Forwarding DefaultTTL InReceives
Ip: 1 64 66
IcmpMsg: OutType3
IcmpMsg: 5
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs \
RetransSegs InErrs OutRsts InCsumErrors
Tcp: 1 200 120000 -1 0 7 0 0 7 66 30 10 0 4 0
";

    #[test]
    fn counters_have_the_names_that_nstat_gives_them() {
        let el7 = from_pairs(EL7);
        assert_eq!(el7["TcpExtListenOverflows"], 104);
        assert_eq!(el7["TcpExtPAWSPassive"], 91);
        assert_eq!(el7["IpExtInNoRoutes"], 2);
        assert_eq!(el7["IpExtInOctets"], u64::MAX);
        let snmp = from_pairs(SNMP);
        assert_eq!((snmp["TcpOutRsts"], snmp["TcpInCsumErrors"], snmp["IcmpMsgOutType3"]), (4, 0, 5));
        assert!(!snmp.contains_key("TcpMaxConn"), "-1 means none");
    }

    #[test]
    fn a_counter_that_the_kernel_does_not_have_is_absent_not_zero() {
        let new = from_pairs(V618);
        assert_eq!(new["TcpExtListenOverflows"], 37);
        assert_eq!(new["TcpExtSyncookiesSent"], 0);
        assert_eq!(new.get("TcpExtPAWSPassive"), None);
        assert_eq!(from_pairs(EL7).get("TcpExtPAWSTimewait"), None);
    }

    #[test]
    fn damaged_text_gives_what_can_be_read() {
        assert!(from_pairs("").is_empty());
        assert!(from_pairs("TcpExt: A B C\n").is_empty());
        assert_eq!(from_pairs("TcpExt: A B C\nTcpExt: 1 x\n"), Counters::from([("TcpExtA".to_owned(), 1)]));
        assert_eq!(from_pairs("Old: A\nTcp: B\nTcp: 2\n"), Counters::from([("TcpB".to_owned(), 2)]));
    }

    #[test]
    fn version_6_has_a_name_on_each_line() {
        let text = "Ip6InReceives                   \t42\nIp6InNoRoutes\t1\nnonsense\n";
        let expected = [("Ip6InReceives".to_owned(), 42), ("Ip6InNoRoutes".to_owned(), 1)];
        assert_eq!(from_lines(text), Counters::from(expected));
    }
}
