//! The TTL that a host starts from.

use std::net::IpAddr;

use serde_json::json;

use crate::diagnose::settings::clock::HostClock;
use crate::diagnose::settings::inference::{AGREE, inferred};
use crate::diagnose::vantage::INITIAL_TTL;
use crate::history::handshakes::HandshakeSample;
use crate::model::Inferred;

/// No path has more routers than this: a TTL further below an initial value began at the next higher one.
const FARTHEST: u8 = 32;

/// Of a server, by its SYN-ACKs.
pub fn of_server(server: IpAddr, samples: &[HandshakeSample]) -> Option<Inferred> {
    infer(server, "SYN-ACKs", samples.iter().map(|s| s.server_ttl))
}

/// Of the clients whose clocks were read, by their SYNs; those that are also servers are left out.
pub fn of_clients(clocks: &[HostClock<'_>], servers: &[(IpAddr, Vec<HandshakeSample>)]) -> Vec<Inferred> {
    clocks
        .iter()
        .filter(|clock| servers.iter().all(|(server, _)| *server != clock.host))
        .filter_map(|clock| infer(clock.host, "SYNs", clock.readings.iter().map(|r| r.ttl)))
        .collect()
}

/// Every TTL is the same, and a usual initial value is not far above it.
fn infer(host: IpAddr, of: &str, ttls: impl ExactSizeIterator<Item = u8> + Clone) -> Option<Inferred> {
    let ttl = ttls.clone().next()?;
    let initial = *INITIAL_TTL.iter().find(|&&initial| initial >= ttl)?;
    let n = ttls.len();
    (ttls.clone().all(|other| other == ttl) && n >= AGREE && initial - ttl < FARTHEST).then(|| {
        let name = if host.is_ipv4() { "TTL" } else { "hop limit" };
        let from = format!("{name} {ttl} in the {of} of {n} handshakes, {} hops away", initial - ttl);
        let setting = if host.is_ipv4() { "net.ipv4.ip_default_ttl" } else { "net.ipv6.conf.all.hop_limit" };
        inferred(host, setting, json!(initial), from)
    })
}
