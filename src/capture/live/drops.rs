//! The drop counts of a capture handle.

use pcap::{Active, Capture};

/// They are 32 bits wide and begin at 0 with the handle.
#[derive(Default)]
pub(super) struct HandleDrops(u32, u32);

impl HandleDrops {
    /// Packets that the kernel's buffer had no room for since the last look, and those that the interface dropped. `None`
    /// where there were none.
    pub(super) fn since_last_look(&mut self, handle: &mut Capture<Active>) -> Option<(u64, u64)> {
        let counts = handle.stats().ok()?;
        let rise = self.since(counts.dropped, counts.if_dropped);
        (rise != (0, 0)).then_some(rise)
    }

    fn since(&mut self, kernel: u32, interface: u32) -> (u64, u64) {
        let rise = (u64::from(kernel.wrapping_sub(self.0)), u64::from(interface.wrapping_sub(self.1)));
        *self = HandleDrops(kernel, interface);
        rise
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_counts_go_round() {
        let mut drops = HandleDrops::default();
        assert_eq!(drops.since(u32::MAX, 3), (u64::from(u32::MAX), 3));
        assert_eq!(drops.since(4, 3), (5, 0));
    }
}
