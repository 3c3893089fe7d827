//! The system calls for BPF, and the memory that is shared with the kernel. The only unsafe code of the module.
//!
//! Everything handed to the kernel is owned by the caller until the call returns. What comes back is a descriptor, which
//! is owned from then on, or an error.

#![expect(unsafe_code, reason = "bpf(2), perf_event_open(2), ioctl(2) and mmap(2) have no safe interface")]

use std::ffi::{CString, c_void};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Commands of bpf(2).
const MAP_CREATE: libc::c_int = 0;
const PROG_LOAD: libc::c_int = 5;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const RAW_TRACEPOINT_OPEN: libc::c_int = 17;

/// Both clocks are read within this many nanoseconds, or read again; so often at most.
const CLOCK_AT_ONCE: i64 = 200_000;
const CLOCK_TRIES: usize = 5;

/// A map that may be mapped into memory.
const MAPPABLE: u32 = 1 << 10;

/// Requests of ioctl(2) for an event: `PERF_EVENT_IOC_ENABLE`, `PERF_EVENT_IOC_SET_BPF`.
const EVENT_ENABLE: libc::Ioctl = 0x2400;
const EVENT_SET_PROGRAM: libc::Ioctl = 0x4004_2408;
/// `PERF_FLAG_FD_CLOEXEC`
const CLOSE_ON_EXEC: libc::c_ulong = 8;

/// Room for the verifier's message about a program that it refuses, bytes.
const LONGEST_LOG: usize = 1 << 18;

/// Kinds of maps, as the kernel numbers them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum MapKind {
    /// An array of values.
    Array = 2,
    /// A ring of records.
    Ring = 27,
}

/// Kinds of programs, as the kernel numbers them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum ProgramKind {
    /// At a kprobe.
    Kprobe = 2,
    /// At a tracepoint, with its arguments as they are.
    RawTracepoint = 17,
    /// At a function of the kernel (fentry).
    Tracing = 26,
}

/// `union bpf_attr` as far as it is used: words in places that the kernel's interface fixes.
struct Attributes([u8; 128]);

impl Attributes {
    fn new() -> Attributes {
        Attributes([0; 128])
    }

    fn word(mut self, at: usize, value: u32) -> Attributes {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn address<T>(mut self, at: usize, value: *const T) -> Attributes {
        self.0[at..at + 8].copy_from_slice(&(value as u64).to_ne_bytes());
        self
    }

    fn name(mut self, at: usize, name: &str) -> Attributes {
        // Sixteen bytes, of which the last one stays 0.
        for (to, from) in self.0[at..at + 15].iter_mut().zip(name.bytes()) {
            *to = if from.is_ascii_alphanumeric() { from } else { b'_' };
        }
        self
    }

    /// Calls bpf(2). Addresses inside must point to what the command reads or writes, and outlive the call.
    fn call(&self, command: libc::c_int) -> io::Result<OwnedFd> {
        // SAFETY: the attributes are 128 initialised bytes; the callers below keep the memory they point to until this
        // returns.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_ptr(), self.0.len()) };
        owned(result)
    }
}

/// Turns the result of a system call into a descriptor or an error.
fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(result as RawFd) })
}

/// Makes a map of `entries` values of `size` bytes; of a ring `entries` are its bytes, a power of two.
///
/// # Errors
/// What the kernel says: no right to, or no memory.
pub fn map(kind: MapKind, size: u32, entries: u32) -> io::Result<OwnedFd> {
    let (key, value, flags) = match kind {
        MapKind::Array => (4, size, MAPPABLE),
        MapKind::Ring => (0, 0, 0),
    };
    Attributes::new()
        .word(0, kind as u32)
        .word(4, key)
        .word(8, value)
        .word(12, entries)
        .word(16, flags)
        .name(28, "synscope")
        .call(MAP_CREATE)
}

/// Gives a program to the kernel. `function` is what a tracing program is for, and 0 otherwise.
///
/// # Errors
/// The kernel refuses it; what the verifier says, if it came so far, is in the message.
pub fn load(kind: ProgramKind, name: &str, code: &[u64], function: u32) -> io::Result<OwnedFd> {
    /// At the entry of a function.
    const ENTRY: u32 = 24;
    // Helpers that read the kernel's memory require a licence compatible with the kernel's; ours is.
    let licence = c"Dual MIT/GPL";
    let attributes = || {
        let attach = if kind == ProgramKind::Tracing { ENTRY } else { 0 };
        Attributes::new()
            .word(0, kind as u32)
            .word(4, code.len() as u32)
            .address(8, code.as_ptr())
            .address(16, licence.as_ptr())
            .name(48, name)
            .word(68, attach)
            .word(108, function)
    };
    let error = match attributes().call(PROG_LOAD) {
        Err(error)
            if error.kind() != io::ErrorKind::PermissionDenied || kind == ProgramKind::RawTracepoint =>
        {
            error
        }
        other => return other,
    };
    let mut log = vec![0_u8; LONGEST_LOG];
    let with_log = attributes().word(24, 1).word(28, log.len() as u32).address(32, log.as_mut_ptr());
    if let Ok(program) = with_log.call(PROG_LOAD) {
        return Ok(program);
    }
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    let said = String::from_utf8_lossy(&log[..end]);
    let lines: Vec<&str> = said.lines().collect();
    let last = lines[lines.len().saturating_sub(4)..].join("; ");
    if last.is_empty() { Err(error) } else { Err(io::Error::new(error.kind(), format!("{error}: {last}"))) }
}

/// Runs a program at a tracepoint; a tracing program, with an empty name, at its function. It ends with the descriptor.
///
/// # Errors
/// The kernel's error.
pub fn attach(tracepoint: &str, program: &OwnedFd) -> io::Result<OwnedFd> {
    let name = CString::new(tracepoint)?;
    let at = if tracepoint.is_empty() { ptr::null() } else { name.as_ptr() };
    Attributes::new().address(0, at).word(8, program.as_raw_fd() as u32).call(RAW_TRACEPOINT_OPEN)
}

/// How often a program did not run because it was running already on that processor, and was interrupted. 0 where the
/// kernel does not say: before Linux 5.12.
pub fn misses(program: &OwnedFd) -> u64 {
    // Bytes of `struct bpf_prog_info` that are asked for, and where its `recursion_misses` lies.
    const LENGTH: usize = 216;
    const MISSES: usize = 208;
    let mut info = [0_u8; LENGTH];
    let mut attributes = Attributes::new()
        .word(0, program.as_raw_fd() as u32)
        .word(4, LENGTH as u32)
        .address(8, info.as_mut_ptr());
    // SAFETY: the attributes point to as many bytes as they say; the kernel writes to both until the call returns.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, OBJ_GET_INFO_BY_FD, attributes.0.as_mut_ptr(), attributes.0.len())
    };
    let misses = info[MISSES..].first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
    if result < 0 { 0 } else { misses }
}

/// Runs a program at the entry of a function, by a kprobe of type `kind`. It ends with the descriptor.
///
/// # Errors
/// The kernel's error.
pub fn attach_kprobe(kind: u32, function: &str, program: &OwnedFd) -> io::Result<OwnedFd> {
    let name = CString::new(function)?;
    // struct perf_event_attr: type, size, and the function's name where other events have their first number.
    let attributes = Attributes::new().word(0, kind).word(4, 128).address(56, name.as_ptr());
    let (every_process, first_processor, no_group) = (-1, 0, -1);
    // SAFETY: the attributes and the name that they point to live until the call returns.
    let event = owned(unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            attributes.0.as_ptr(),
            every_process,
            first_processor,
            no_group,
            CLOSE_ON_EXEC,
        )
    })?;
    // SAFETY: both requests take a number and no pointer; the descriptors are open.
    let done = unsafe {
        libc::ioctl(event.as_raw_fd(), EVENT_SET_PROGRAM, program.as_raw_fd()) == 0
            && libc::ioctl(event.as_raw_fd(), EVENT_ENABLE, 0) == 0
    };
    if done { Ok(event) } else { Err(io::Error::last_os_error()) }
}

/// Nanoseconds since 1970 less those since the machine was started: what turns the time of a record into a date.
#[allow(clippy::useless_conversion, reason = "both parts are narrower on some machines")]
pub fn clock_offset() -> i64 {
    let read = |clock| {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: writes one time to where there is room for it.
        let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
        if result == 0 { time.tv_sec * 1_000_000_000 + time.tv_nsec } else { 0 }
    };
    // The other clock is read before and after, and the mean taken. Where this thread had to wait meanwhile it is read again.
    let reading = || {
        let before = read(libc::CLOCK_MONOTONIC);
        let now = read(libc::CLOCK_REALTIME);
        let after = read(libc::CLOCK_MONOTONIC);
        (after - before, now - (before + (after - before) / 2))
    };
    let mut best = reading();
    for _ in 1..CLOCK_TRIES {
        if best.0 < CLOCK_AT_ONCE {
            break;
        }
        best = best.min(reading());
    }
    best.1
}

/// The size of a page of memory.
pub fn page() -> usize {
    // SAFETY: asks for a number.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

/// The permitted access to shared memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing.
    Write,
}

/// Memory of a map, shared with the kernel. It stays when the right to make maps is given up.
pub struct SharedMap {
    start: *mut u8,
    length: usize,
    access: Access,
}

// SAFETY: the memory belongs to the process, not to a thread; words in it are read and written atomically.
unsafe impl Send for SharedMap {}

impl SharedMap {
    /// Maps `length` bytes of a map, from `offset` on (a multiple of a page).
    ///
    /// # Errors
    /// The kernel's error.
    pub fn new(map: &OwnedFd, offset: usize, length: usize, access: Access) -> io::Result<SharedMap> {
        let rights = match access {
            Access::Read => libc::PROT_READ,
            Access::Write => libc::PROT_READ | libc::PROT_WRITE,
        };
        let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping at an address that the kernel chooses disturbs no other.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), length, rights, libc::MAP_SHARED, map.as_raw_fd(), offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(SharedMap { start: start.cast(), length, access })
    }

    /// The address of `size` bytes at `at`, a multiple of `size`.
    fn place(&self, at: usize, size: usize) -> *mut u8 {
        assert!(at.is_multiple_of(size) && at + size <= self.length, "inside the shared memory");
        // SAFETY: inside the mapping, as was just made sure of.
        unsafe { self.start.add(at) }
    }

    /// The eight bytes at `at`, and everything that the kernel wrote before them.
    pub fn double(&self, at: usize) -> u64 {
        // SAFETY: mapped, aligned, and only ever accessed atomically.
        unsafe { AtomicU64::from_ptr(self.place(at, 8).cast()) }.load(Ordering::Acquire)
    }

    /// The four bytes at `at`, and everything that the kernel wrote before them.
    pub fn word(&self, at: usize) -> u32 {
        // SAFETY: mapped, aligned, and only ever accessed atomically.
        unsafe { AtomicU32::from_ptr(self.place(at, 4).cast()) }.load(Ordering::Acquire)
    }

    /// Writes eight bytes, after everything that was read before.
    ///
    /// # Panics
    /// When the memory is mapped for reading only.
    pub fn set_double(&self, at: usize, value: u64) {
        assert_eq!(self.access, Access::Write);
        // SAFETY: mapped for writing, aligned, and only ever accessed atomically.
        unsafe { AtomicU64::from_ptr(self.place(at, 8).cast()) }.store(value, Ordering::Release);
    }

    /// Copies the bytes from `at` on, which the kernel does not write meanwhile.
    ///
    /// # Panics
    /// When they are not all inside.
    pub fn copy(&self, at: usize, to: &mut [u8]) {
        assert!(at <= self.length && to.len() <= self.length - at, "inside the shared memory");
        // SAFETY: inside the mapping. The kernel has committed these bytes, and writes there again only when the reader
        // has moved on; a program that broke that promise could spoil the copy, and nothing else.
        unsafe { ptr::copy_nonoverlapping(self.start.add(at), to.as_mut_ptr(), to.len()) };
    }
}

impl Drop for SharedMap {
    fn drop(&mut self) {
        // SAFETY: this mapping is ours, and no reference into it is left.
        unsafe { libc::munmap(self.start.cast::<c_void>(), self.length) };
    }
}
