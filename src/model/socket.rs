//! An address and port as findings write them.

use std::fmt::Write as _;
use std::net::SocketAddr;

use serde::{Serialize, Serializer};

use crate::flow::key::Host;

/// Serializes an address and port as serde does. That takes three times as long for IPv4, and each finding has two.
pub(super) fn optional<S: Serializer>(socket: &Option<SocketAddr>, serializer: S) -> Result<S::Ok, S::Error> {
    match socket {
        Some(SocketAddr::V4(v4)) if serializer.is_human_readable() => {
            let mut text = String::with_capacity("255.255.255.255:65535".len());
            let host = Host { address: (*v4.ip()).into(), port: v4.port() };
            write!(text, "{host}").map_err(serde::ser::Error::custom)?;
            serializer.serialize_some(&text)
        }
        other => other.serialize(serializer),
    }
}
