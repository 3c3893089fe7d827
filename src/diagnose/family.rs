//! Names of the kernel by the address family of a finding: IPv6 has functions and settings of its own.

use crate::model::{Cause, Phrase};

/// Functions that IPv4 and IPv6 have one each of.
const FUNCTIONS: &[(&str, &str)] = &[
    ("cookie_v4_init_sequence", "cookie_v6_init_sequence"),
    ("nf_send_reset", "nf_send_reset6"),
    ("nf_send_unreach", "nf_send_unreach6"),
    ("tcp_v4_rcv", "tcp_v6_rcv"),
    ("tcp_v4_send_reset", "tcp_v6_send_reset"),
    ("tcp_v4_syn_recv_sock", "tcp_v6_syn_recv_sock"),
    ("tcp_v4_timewait_ack", "tcp_v6_timewait_ack"),
];

/// Functions, counters and settings that only IPv4 has.
const IPV4_ONLY: &[&str] =
    &["fib_validate_source", "TcpExtIPReversePathFilter", "net.ipv4.conf.all.rp_filter"];

/// Replaces the names of IPv4 by those of IPv6. Names that stay under `net.ipv4.tcp_` hold for both.
pub fn name_as_ipv6(cause: &mut Cause) {
    for names in [&mut cause.kernel_functions, &mut cause.counters, &mut cause.sysctls] {
        names.retain(|name| !IPV4_ONLY.contains(&name.as_ref()));
        for name in names.iter_mut() {
            if let Some((_, v6)) = FUNCTIONS.iter().find(|(v4, _)| *v4 == name.as_ref()) {
                *name = Phrase::from(*v6);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_in_ipv6_names_no_function_of_ipv4() {
        let names = |names: &[&'static str]| names.iter().map(|&name| Phrase::from(name)).collect();
        let mut cause = Cause {
            kernel_functions: names(&["tcp_check_req", "tcp_v4_syn_recv_sock"]),
            counters: names(&["TcpExtListenDrops", "TcpExtIPReversePathFilter"]),
            sysctls: names(&["net.core.somaxconn", "net.ipv4.conf.all.rp_filter"]),
            ..Cause::default()
        };
        name_as_ipv6(&mut cause);
        assert_eq!(cause.kernel_functions, names(&["tcp_check_req", "tcp_v6_syn_recv_sock"]));
        assert_eq!(cause.counters, names(&["TcpExtListenDrops"]));
        assert_eq!(cause.sysctls, names(&["net.core.somaxconn"]));
    }
}
