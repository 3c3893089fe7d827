//! Removes private data from captures and reports: payload, addresses, MAC addresses, names.
//!
//! Captures are redacted before anything reads them: [`RedactedSource`] stands between a source and the engine. So a
//! report on redacted packets cannot reveal more than they do, and extracted packets carry the same pseudonyms.
//!
//! * [`pseudonym`]: addresses to addresses, keeping prefixes.
//! * [`packet`]: one packet's bytes, kept as far as its layers are understood.
//! * [`source`]: a whole source.

// No packet content may be able to end the program.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

pub mod packet;
pub mod pseudonym;
pub mod source;

pub use packet::{Payload, Rewriter};
pub use pseudonym::{PseudonymKey, Pseudonyms};
pub use source::RedactedSource;
