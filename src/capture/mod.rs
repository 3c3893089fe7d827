//! Where packets come from. A [`Source`] fills [`Block`]s; it knows nothing of TCP.
//!
//! ```text
//!  bytes (stream, compress)  ->  records (pcap, pcapng)  ->  one input (reader)  ->  inputs in time order (order)
//! ```
//!
//! [`open()`] is the way in. Memory is bounded by the number of inputs that overlap in time, never by their size:
//! an input is read into the block that is handed out, and nothing of it is kept.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod block;
mod byte_order;
mod clock;
mod compress;
pub mod feed;
mod input;
#[cfg(libpcap_at_run_time)]
mod libpcap;
pub(crate) mod link_types;
#[cfg(feature = "live")]
pub mod live;
mod memory;
mod message;
mod open;
mod order;
mod part;
mod pcap;
mod pcapng;
#[cfg(feature = "fleet")]
pub mod range;
mod read_at;
mod reader;
mod reclock;
mod record;
mod silence;
mod source;
mod status;
pub mod steady;
mod stop;
mod stream;
#[cfg(test)]
mod test_captures;
#[cfg(test)]
mod tests;

pub use block::{Block, Correction, LinkType, MERGED_BYTES, NOTE, Packet};
pub use input::OpenError;
pub use memory::MemorySource;
pub use open::{OpenedInputs, open, open_some, open_until};
pub use part::{InputPart, PartState};
pub use reclock::ReclockedSource;
pub use silence::{QUIET, Silence, Silences};
pub use source::Source;
pub use status::{InputStatus, InterfaceText, OTHER_INTERFACES};
pub use stop::StopRequest;
