//! Why nothing can be captured.

use std::io;

/// Why nothing can be captured. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The library that captures is not there.
    #[error(
        "cannot capture: libpcap is missing on this host ({reason}).\n  \
         Debian, Ubuntu: sudo apt-get install libpcap0.8\n  \
         Fedora, RHEL:   sudo dnf install libpcap\n  \
         Alpine:         apk add libpcap\n  \
         Captures can be analyzed without it: synscope analyze FILE"
    )]
    NoLibrary {
        /// What the system says.
        reason: String,
    },
    /// No interface of that name.
    #[error("no interface '{name}'. There are: {known}{guess}")]
    NoInterface {
        /// As typed.
        name: String,
        /// Those there are, with commas.
        known: String,
        /// ` (did you mean 'eth0'?)`, or nothing.
        guess: String,
    },
    /// The system does not permit it.
    #[error(
        "cannot capture on {name}: this process lacks CAP_NET_RAW.\n  \
         Once:   sudo synscope live -i {name}\n  \
         Always: sudo setcap cap_net_raw=ep \"$(command -v synscope)\""
    )]
    Denied {
        /// The interface.
        name: String,
    },
    /// The filter does not compile.
    #[error(
        "--filter '{filter}': {reason}. pcap-filter(7) has the syntax: tcp port 443 and net 192.0.2.0/24"
    )]
    Filter {
        /// As typed.
        filter: String,
        /// What libpcap says.
        reason: String,
    },
    /// Anything else that libpcap says.
    #[error("cannot capture on {name}: {reason}")]
    Failed {
        /// The interface.
        name: String,
        /// What libpcap says.
        reason: String,
    },
    /// A thread could not be prepared.
    #[error("{0}")]
    Prepare(io::Error),
}
