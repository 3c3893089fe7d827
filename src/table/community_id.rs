//! Community ID, by which tools name a flow alike: <https://github.com/corelight/community-id-spec>, version 1 with seed 0.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use crate::flow::key::Host;

/// The protocol number of TCP.
const TCP: u8 = 6;

/// The Community ID of a TCP connection between two hosts.
pub fn of(a: Host, b: Host) -> String {
    let (a, b) = (a.socket(), b.socket());
    let (low, high) = if (a.ip(), a.port()) <= (b.ip(), b.port()) { (a, b) } else { (b, a) };
    let mut hash = Sha1::new();
    hash.update([0, 0]);
    for end in [low, high] {
        match end.ip() {
            IpAddr::V4(v4) => hash.update(v4.octets()),
            IpAddr::V6(v6) => hash.update(v6.octets()),
        }
    }
    hash.update([TCP, 0]);
    hash.update(low.port().to_be_bytes());
    hash.update(high.port().to_be_bytes());
    format!("1:{}", STANDARD.encode(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        let socket: std::net::SocketAddr = text.parse().unwrap();
        Host { address: socket.ip().into(), port: socket.port() }
    }

    /// From the baseline of the specification (baseline_deflt.json).
    #[test]
    fn ids_are_those_of_the_specification() {
        let (a, b) = (host("128.232.110.120:34855"), host("66.35.250.204:80"));
        assert_eq!(of(a, b), "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
        assert_eq!(of(b, a), of(a, b));
    }
}
