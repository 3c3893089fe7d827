//! `syn-drop-accept-queue`: the SYN was dropped because the accept queue was full.

use crate::detect::analysis::ignored_syn::{self, IgnoredSynCause, is_unanswered};
use crate::detect::context::DetectContext;
use crate::detect::draft::{Draft, cause};
use crate::detect::next;
use crate::detect::spec::{Examine, IgnoredPackets, LeadsTo, Property, RelationCondition, finding};
use crate::flow::facts::ConnectionFacts;
use crate::history::wants::Wants;
use crate::model::{Kind, Suspect};

finding! {
    /// SYNs go unanswered at a listener whose accept queue is full at that moment.
    ///
    /// ## On the wire
    /// SYN, and the same SYN again, with no answer; at the same listener other connections are stuck after their
    /// final ACK, or have completed the handshake and wait for the application. When the queue drains, the next SYN
    /// is answered at once, and its SYN-ACK echoes that SYN's timestamp.
    /// ## In the kernel
    /// `tcp_conn_request` drops a SYN while `sk_acceptq_is_full`: always since Linux 4.10, before only while at least
    /// two requests are young. `ListenOverflows` and `ListenDrops` move together.
    /// ## Looks alike
    /// * The SYN queue is full: many half-open handshakes, `ListenOverflows` stays (`syn-drop-syn-queue`).
    /// * A firewall or loss: no counter of the listener moves (`syn-unanswered`). Away from the server a path that
    ///   breaks looks the same, so there only handshakes that are repeated after their final ACK count.
    /// * `tcp_tw_recycle`: only SYNs with older timestamps suffer (`syn-drop-timestamp`).
    /// On the loopback interface nothing is lost, so there SYNs of some clients that go unanswered are enough.
    /// ## Check next
    /// `ss -ltn`: Recv-Q above Send-Q means full now. `nstat -az TcpExtListenOverflows TcpExtListenDrops`: equal growth.
    /// ## References
    /// listen(2); `net/ipv4/tcp_input.c` `tcp_conn_request`
    pub struct SynDropAcceptQueue {
        kind: Kind::SynDropAcceptQueue,
        plain_words: "Clients get no answer, because the application accepts connections too slowly and its queue is full.",
        at_fault: "the server's application, which accepts connections too slowly",
        wants: Wants::full(|f, _| is_unanswered(f)),
        examine: Examine::Connection(examine),
        look_alikes: &["syn-unanswered/firewall-drops-syn", "handshake-loss/syn-lost"],
        counters: &["TcpExtListenOverflows", "TcpExtListenDrops", "TcpExtTCPReqQFullDrop"],
        settings: &["net.core.somaxconn"],
        ignored: IgnoredPackets::Syns,
        properties: &[Property::PreventsSetUp, Property::QueueWasFull, Property::ExplainsHandshake, Property::HasOneCause],
        leads_to: &[
            LeadsTo {
                effect: Kind::HalfClose,
                said_of_effect: "clients closed connections that the application never accepted",
                said_of_cause: "connections waited in a full accept queue",
                when: RelationCondition::UnservedInterval,
            },
        ],
    }
}

/// A single connection whose SYN was ignored may have any cause.
const SEVERAL: usize = 3;

/// See [`SynDropAcceptQueue`].
fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let begin = |found| Some((found, ignored_syn::begin(f, &SPEC, found, around)?));
    let (found, (syns, mut d)) =
        begin(IgnoredSynCause::AcceptQueue).or_else(|| begin(IgnoredSynCause::Loopback))?;
    d.cause = cause(
        "The listener's accept queue was full, so the kernel silently dropped the SYN.",
        &["tcp_conn_request"],
        &["TcpExtListenOverflows", "TcpExtListenDrops"],
        &["net.core.somaxconn"],
    );
    let waiting = around.activity.waiting_at(syns[0].at.time);
    d.measure("waiting_for_accept", waiting);
    let reason = match found {
        IgnoredSynCause::Loopback => {
            "nothing is lost on the loopback interface, and the listener answered other SYNs"
        }
        _ => "other connections of this listener waited or hung at that moment",
    };
    ignored_syn::judge(&mut d, f, around, &syns, reason);
    if found == IgnoredSynCause::Loopback && around.activity.ignored.len() < SEVERAL {
        d.possible(reason);
    }
    d.or(
        "The SYN queue was full and syncookies are off.",
        "Few handshakes were half open. Then ListenOverflows does not grow.",
    );
    match found {
        IgnoredSynCause::Loopback => d.or(
            Suspect::SynFilteredAtServer,
            "It would have to drop some SYNs and pass others: a limit of connections or their rate.",
        ),
        _ => d.or(Suspect::SynFilteredOrLost, "Other connections of the same listener hung at that moment."),
    };
    d.next_steps = next::full_accept_queue(f.server);
    Some(d)
}
