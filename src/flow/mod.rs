//! Segments to connections: the only state machine. It writes down facts and decides nothing about causes.
//!
//! * [`key`]: which connection, and which way.
//! * [`facts`]: the record of what was seen.
//! * [`connection`]: one incarnation of a four-tuple: segment in, changed facts out.
//! * `half_open`, `over`: a connection before and after, in short form.
//! * [`table`]: finds the connection of a segment, lets go of those that are over.
//! * [`peer`]: small events by which causes show that span connections.

pub mod connection;
pub mod facts;
mod half_open;
pub mod key;
mod over;
pub mod peer;
pub mod table;
#[cfg(test)]
pub(crate) mod wire;
