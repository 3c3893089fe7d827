//! The size from which on incomplete handshakes are reported together, as a flood.

/// With at least this many incomplete handshakes of one listener it is a flood.
pub const LEAST: usize = 20;
/// Fewer sources than this are a test or a scan, unless they send very many SYNs.
pub const SOURCES: usize = 4;
