//! Clients that a full accept queue refuses.

use crate::time::Timestamp;

/// For how long a full accept queue kept a client out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RefusedClient {
    /// When it was refused for the first time.
    pub from: Timestamp,
    /// When it was refused for the last time.
    pub last: Timestamp,
    /// When it got in, if it did.
    pub admitted: Option<Timestamp>,
    /// When the server's application first sent data to it.
    pub served: Option<Timestamp>,
}
