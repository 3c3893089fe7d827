//! Where the records of connections lie: found by an index, held in slots, under keys of 12 bytes where both addresses are
//! IPv4.

pub(in crate::flow) mod evicted;
pub(in crate::flow) mod index;
pub(in crate::flow) mod key;
pub(in crate::flow) mod prefetch;
pub(in crate::flow) mod slots;
