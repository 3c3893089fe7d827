//! The compact forms in which most connections are stored: before the handshake is complete, while all goes as it
//! should, and once it is over.

pub mod clean;
pub mod half_open;
mod header;
pub(in crate::flow) mod time_wait;
