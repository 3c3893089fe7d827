//! Capabilities, given up once they are not needed any more.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

/// Removes every right from the calling thread, and from threads that it starts later.
///
/// # Errors
/// The kernel's error.
pub fn drop_rights() -> io::Result<()> {
    keep(CapabilitySet::empty())
}

/// Leaves the calling thread only the capability to open an interface again.
///
/// # Errors
/// The kernel's error.
pub fn keep_capture_right() -> io::Result<()> {
    let has = rustix::thread::capabilities(None)?.permitted;
    keep(has & CapabilitySet::NET_RAW)
}

fn keep(rights: CapabilitySet) -> io::Result<()> {
    set_no_new_privs(true)?;
    let sets = CapabilitySets { effective: rights, permitted: rights, inheritable: CapabilitySet::empty() };
    Ok(set_capabilities(None, sets)?)
}
