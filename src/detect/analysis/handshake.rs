//! The packets of a completed handshake, as evidence.

use crate::detect::draft::Draft;
use crate::flow::facts::ConnectionFacts;
use crate::model::Phrase;

/// Shows SYN, SYN-ACK and final ACK; `meaning` is the text for the final ACK.
pub fn show_handshake(d: &mut Draft, f: &ConnectionFacts, meaning: impl Into<Phrase>) {
    if let Some(syn) = f.syn.first() {
        d.shows(syn.at, "SYN");
    }
    if let Some(syn_ack) = f.syn_ack.first() {
        d.shows(syn_ack.at, "SYN-ACK");
    }
    if let Some(ack) = f.final_ack {
        d.shows(ack.at, meaning);
    }
}
