//! Segments to connections: the only state machine. It writes down facts and decides nothing about causes.
//!
//! * [`key`]: which connection, and which way.
//! * [`facts`]: the record of what was seen.
//! * [`connection`]: one incarnation of a four-tuple: segment in, changed facts out.
//! * [`compact`]: a connection before its handshake is complete, one that goes as it should, and one that is over, in short
//!   form.
//! * [`tracker`]: finds the connection of a segment, lets go of those that are over; `store`: where their records lie.
//! * [`outcome`]: how a connection ended, in a word.
//! * [`ended`]: a connection that has ended or was evicted, in the form in which it was stored.
//! * [`peer`]: small events by which causes show that span connections.

// Whatever a packet says must not be able to end the program.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

pub mod compact;
pub mod connection;
pub mod ended;
pub mod facts;
pub mod key;
pub mod outcome;
pub mod peer;
mod store;
pub mod tracker;
#[cfg(test)]
pub(crate) mod wire;
