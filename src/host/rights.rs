//! Capabilities, given up once they are not needed any more.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

/// Takes every right from the calling thread, and from those that it starts.
///
/// # Errors
/// What the kernel says.
pub fn drop_rights() -> io::Result<()> {
    keep(CapabilitySet::empty())
}

/// Leaves the calling thread what it takes to open an interface again.
///
/// # Errors
/// What the kernel says.
pub fn keep_capture_right() -> io::Result<()> {
    let has = rustix::thread::capabilities(None)?.permitted;
    keep(has & CapabilitySet::NET_RAW)
}

fn keep(rights: CapabilitySet) -> io::Result<()> {
    set_no_new_privs(true)?;
    let sets = CapabilitySets { effective: rights, permitted: rights, inheritable: CapabilitySet::empty() };
    Ok(set_capabilities(None, sets)?)
}
