//! What the packets show of the kernels' settings: each with its source, and only where there is enough evidence.
//!
//! * [`clock`]: the rate and the offsets of timestamp clocks, and hosts that share an address.
//! * [`cookies`]: when a listener sends syncookies.
//! * [`defer_accept`]: how long a listener waits for data.
//! * `inference`: how much evidence a value needs, and its words.
//! * [`kernel`]: which generations of the kernel agree with all that.
//! * [`queues`]: the lengths of a listener's two queues.
//! * [`retries`]: how often SYNs and SYN-ACKs are repeated.
//! * [`teardown`]: how long orphans live, when keepalive probes begin.
//! * [`ttl`]: the TTL that hosts start from.

pub mod clock;
pub mod cookies;
pub mod defer_accept;
mod inference;
pub mod kernel;
pub mod queues;
pub mod retries;
pub mod teardown;
pub mod ttl;

use crate::detect::Draft;
use crate::detect::context::CaptureContext;
use crate::diagnose::settings::retries::Retries;
use crate::flow::key::{Host, Map};
use crate::history::handshakes::HandshakeSample;
use crate::history::host_clocks::ClockReadings;
use crate::model::Inferred;

/// Infers all settings, in a fixed order.
pub fn infer(
    context: &CaptureContext,
    retries: &Retries,
    samples: &[(std::net::IpAddr, Vec<HandshakeSample>)],
    readings: &ClockReadings,
    drafts: &[&Draft],
) -> Vec<Inferred> {
    let mut all = Vec::new();
    for (server, some) in samples {
        all.extend(ttl::of_server(*server, some));
    }
    let mut listeners: Vec<Host> =
        context.activities.keys().chain(context.listeners.keys()).copied().collect();
    listeners.sort_unstable();
    listeners.dedup();
    let clocks = clock::examine(readings, context);
    let mut of_listeners: Map<Host, Vec<&Draft>> = Map::default();
    for draft in drafts {
        if let Some(listener) = draft.server {
            of_listeners.entry(listener).or_default().push(draft);
        }
    }
    for &listener in &listeners {
        let own = of_listeners.get(&listener).map_or(&[][..], |own| own);
        all.extend(queues::accept_queue(context, listener, own));
        all.extend(queues::syn_queue(context, listener, own));
        if !context.stated.has_setting(listener.address, "net.ipv4.tcp_synack_retries") {
            all.extend(retries::of_syn_ack(context, listener));
        }
        all.extend(defer_accept::infer(listener, own));
        all.extend(cookies::infer(context, listener, &clocks));
    }
    all.extend(retries.inferred());
    all.extend(teardown::fin_timeout(drafts));
    all.extend(teardown::keepalive(readings));
    all.extend(ttl::of_clients(&clocks, samples));
    all.extend(clock::infer(&clocks));
    all.extend(kernel::infer(&clocks, retries.linear(), drafts));
    all
}
