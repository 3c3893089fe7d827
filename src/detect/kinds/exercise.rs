//! `exercise`: a kind that is registered in tests only. It shows what a new kind needs.

use crate::detect::context::DetectContext;
use crate::detect::draft::{Draft, cause};
use crate::detect::spec::{Examine, finding};
use crate::flow::facts::ConnectionFacts;
use crate::history::wants::Wants;
use crate::model::{Kind, Severity};

finding! {
    /// A client sends exactly 4,242 bytes and is not answered.
    ///
    /// ## On the wire
    /// Data of that size.
    /// ## Looks alike
    /// * Any other size, which is not found
    ///   here.
    /// * A copy of the packet.
    pub struct Exercise {
        kind: Kind::Exercise,
        plain_words: "A client sent something and got no answer.",
        at_fault: "nobody",
        wants: Wants::full(|f, _| says_it(f)),
        examine: Examine::Connection(examine),
        look_alikes: &["nothing-wrong/slow-server"],
        counters: &["TcpExtTCPTimeouts"],
        settings: &["net.ipv4.tcp_retries2"],
    }
}

fn says_it(f: &ConnectionFacts) -> bool {
    f.c.bytes == 4_242
}

/// See [`Exercise`].
fn examine(f: &ConnectionFacts, _: &DetectContext<'_>) -> Option<Draft> {
    let data = f.c.first_data.filter(|_| says_it(f))?;
    let mut d = Draft::about(f, &SPEC, (data, "4,242 bytes"));
    d.severity = Severity::Info;
    d.summary = format!("{} said 4,242 bytes in vain.", f.client.socket());
    d.cause = cause("An exercise.", &[], SPEC.counters, SPEC.settings);
    d.probable("nothing else has that size");
    Some(d)
}
