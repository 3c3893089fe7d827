//! From when on handshakes that nobody completes are told together.

/// Handshakes of one listener that were never completed from which on it is a flood.
pub const LEAST: usize = 20;
/// Fewer sources than these are somebody's test or scan, unless they send very many.
pub const SOURCES: usize = 4;
