//! Which connection a segment belongs to ([`FlowKey`]) and which way it goes ([`Direction`]): two types, never mixed.

use std::net::SocketAddr;

use crate::decode::segment::{Address, Segment};

/// A four-tuple without direction: the same for both ways of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct FlowKey {
    low: Host,
    high: Host,
}

/// An address and a port.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Host {
    /// The address.
    pub address: Address,
    /// The port.
    pub port: u16,
}

impl Host {
    /// As the standard library's type.
    pub fn socket(self) -> SocketAddr {
        SocketAddr::new(self.address.ip(), self.port)
    }
}

/// Which of the two ends of a [`FlowKey`] sent a segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// The end that sorts first.
    FromLow,
    /// The end that sorts last.
    FromHigh,
}

impl FlowKey {
    /// The key of a segment and the way it goes.
    #[inline]
    pub fn of(s: &Segment) -> (FlowKey, Direction) {
        let src = Host { address: s.src, port: s.src_port };
        let dst = Host { address: s.dst, port: s.dst_port };
        if src <= dst {
            (FlowKey { low: src, high: dst }, Direction::FromLow)
        } else {
            (FlowKey { low: dst, high: src }, Direction::FromHigh)
        }
    }

    /// The end that sends in `direction`.
    pub fn sender(&self, direction: Direction) -> Host {
        match direction {
            Direction::FromLow => self.low,
            Direction::FromHigh => self.high,
        }
    }
}

impl Direction {
    /// The other way.
    pub fn reverse(self) -> Direction {
        match self {
            Direction::FromLow => Direction::FromHigh,
            Direction::FromHigh => Direction::FromLow,
        }
    }
}
