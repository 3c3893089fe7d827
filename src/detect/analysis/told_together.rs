//! Words for SYNs that are reported together.

use crate::detect::analysis::lone_syns::LoneSyns;
use crate::detect::draft::{count, counted};
use crate::flow::key::Host;

/// Their senders and receivers, as the subject of a sentence.
pub fn subject(lone: &LoneSyns, listener: Host) -> String {
    let least = if lone.or_more { "At least " } else { "" };
    let syns = count(lone.syns as u64, "SYN");
    let (client, server) = (lone.client.ip(), listener.socket());
    match (lone.listeners, lone.clients) {
        (1, 1) => format!("{least}{syns} of {client} to {server}"),
        (1, clients) => {
            format!("{least}{syns} of {} to {server}", counted(clients as u64, "address", "addresses"))
        }
        (listeners, _) => format!(
            "{syns} of {client} to {}, the first to {server},",
            counted(listeners as u64, "port or address", "ports and addresses")
        ),
    }
}
