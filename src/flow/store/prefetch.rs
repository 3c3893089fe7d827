//! Asks the processor to fetch what will be needed soon.

/// Bytes of a cache line.
const LINE: usize = 64;

/// Has all cache lines of `what` fetched: one instruction for each, whether or not it is there.
#[inline(always)]
pub(in crate::flow) fn prefetch<T>(what: &T) {
    let begin = std::ptr::from_ref(what).cast::<u8>();
    for byte in (0..size_of::<T>()).step_by(LINE) {
        line(begin.wrapping_add(byte));
    }
    // One that does not begin with a line may reach into one more.
    if align_of::<T>() < LINE {
        line(begin.wrapping_add(size_of::<T>().saturating_sub(1)));
    }
}

/// Has the cache line fetched that holds `address`.
#[inline(always)]
#[allow(unsafe_code)]
fn line(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint: whatever the address, nothing is read that can be observed, and nothing changed. Every x86-64
        // processor has SSE.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
