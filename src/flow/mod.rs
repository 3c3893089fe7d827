//! Segments to connections: the only state machine. It writes down facts and decides nothing about causes.
//!
//! * [`key`]: which connection, and which way.
//! * [`facts`]: the record of what was seen.
//! * [`connection`]: one incarnation of a four-tuple: segment in, changed facts out.
//! * [`table`]: finds the connection of a segment, lets go of those that are over.
//! * [`peer`]: small events by which causes show that span connections.

pub mod connection;
pub mod facts;
pub mod key;
pub mod peer;
pub mod table;
#[cfg(test)]
pub(crate) mod wire;
