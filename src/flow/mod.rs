//! Segments to connections: the only state machine. It writes down facts and decides nothing about causes.
//!
//! * [`key`]: which connection, and in which direction.
//! * [`facts`]: the record of a connection's observed segments.
//! * [`connection`]: one incarnation of a four-tuple: segment in, changed facts out.
//! * [`compact`]: short forms of a connection: half-open, clean so far, and in TIME_WAIT.
//! * [`tracker`]: finds the connection of a segment, and removes ended connections; `store`: where their records lie.
//! * [`outcome`]: how a connection ended, in a word.
//! * [`ended`]: a connection that has ended or was evicted, in the form in which it was stored.
//! * [`peer`]: events between two hosts, for causes that span several connections.

// No packet content may be able to end the program.
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
