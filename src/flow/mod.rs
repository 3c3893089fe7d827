//! Segments to connections: the only state machine. It writes down facts and decides nothing about causes.
//!
//! * [`key`]: which connection, and which way.
//! * [`facts`]: the record of what was seen.
//! * [`connection`]: one incarnation of a four-tuple: segment in, changed facts out.
//! * [`half_open`], [`brief`], `over`: a connection before, one that goes as it should, and one that is over, in short
//!   form.
//! * [`table`]: finds the connection of a segment, lets go of those that are over; `index`, `pool`, `short_key`: where their
//!   records lie.
//! * [`gone`]: a connection that is let go, in the form in which it was kept.
//! * [`peer`]: small events by which causes show that span connections.

pub mod brief;
pub mod connection;
pub mod facts;
pub mod gone;
pub mod half_open;
mod index;
pub mod key;
mod over;
pub mod peer;
mod pool;
mod prefetch;
mod short_key;
pub mod table;
#[cfg(test)]
pub(crate) mod wire;
