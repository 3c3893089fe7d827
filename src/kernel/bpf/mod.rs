//! The kernel's own statements about packets, from small programs that run in it (BPF).
//!
//! * [`btf`] and `layout`: where fields lie in the running kernel, and what its reasons are called.
//! * `assembler` and `programs`: the programs, assembled when they are loaded. No compiler is needed.
//! * `system` and `ring`: system calls, and the memory shared with the kernel.
//! * [`record`]: the records that they write.
//! * [`Probes`]: all of it together; [`reader`] is the thread that reads their records.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

mod assembler;
pub mod btf;
mod layout;
mod programs;
pub mod reader;
pub mod record;
mod ring;
mod symbols;
mod system;

use btf::Btf;
use layout::{Function, Layout};
use programs::{ArgumentLayout, Target, shared};
use record::{RECORD, VerdictRecord};
use ring::{BpfRing, Drained};
use symbols::Symbols;
use system::{Access, MapKind, ProgramKind, SharedMap};

/// Room for 60,000 records: a fifth of a second of 300,000 drops a second.
const RING: u32 = 8 << 20;

/// What the programs of this process see and can report.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProbeSupport {
    /// Drops come with a reason (Linux 5.17 and later).
    pub drop_reasons: bool,
    /// Resets come with a reason (Linux 6.10 and later).
    pub reset_reasons: bool,
    /// Functions at whose entry the queues of listeners are read.
    pub functions: Vec<&'static str>,
    /// Why there are no such functions, if so.
    pub without_functions: Option<String>,
    /// The place of a drop can be named.
    pub names: bool,
}

impl fmt::Display for ProbeSupport {
    /// One line: the statements that the kernel gives, and the reason why it gives no others.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = |has: bool, since: &str| match has {
            true => "with their reasons".to_owned(),
            false => format!("without reasons (Linux {since} and later give them)"),
        };
        write!(
            f,
            "the kernel is asked about single packets: drops {}, RSTs {}",
            with(self.drop_reasons, "5.17"),
            with(self.reset_reasons, "6.10")
        )?;
        match (&self.functions[..], &self.without_functions) {
            ([], why) => write!(
                f,
                "; not the queues at each SYN, so dropped SYNs show in counters only: {}",
                why.as_deref().unwrap_or("no function can be watched")
            )?,
            (functions, None) => write!(f, ", queues at {}", functions.join(", "))?,
            (functions, Some(why)) => write!(f, ", queues at {}; {why}", functions.join(", "))?,
        }
        match self.names {
            true => Ok(()),
            false => f.write_str("; names of functions are hidden (kernel.kptr_restrict)"),
        }
    }
}

/// Why the kernel cannot be asked, and what would help.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {remedy}")]
pub struct Refused {
    /// The missing right or feature.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// The number of the network namespace of the calling thread.
///
/// # Errors
/// The error of the system.
pub fn own_namespace() -> io::Result<u32> {
    let file = fs::metadata("/proc/thread-self/ns/net")?;
    u32::try_from(std::os::unix::fs::MetadataExt::ino(&file))
        .map_err(|_| io::Error::other("no namespace has such a number"))
}

/// Programs that run in the kernel until this is dropped.
pub struct Probes {
    ring: BpfRing,
    counters: SharedMap,
    names: KernelNames,
    offer: ProbeSupport,
    programs: Vec<OwnedFd>,
    /// The programs end when these are closed.
    links: Vec<OwnedFd>,
}

/// Names for the numbers in records.
#[derive(Default)]
pub struct KernelNames {
    drop_reasons: BTreeMap<u32, String>,
    reset_reasons: BTreeMap<u32, String>,
    symbols: Symbols,
}

impl KernelNames {
    /// The name of a drop's reason; `None` where this kernel gives none.
    pub fn drop_reason(&self, number: u32) -> Option<&str> {
        self.drop_reasons.get(&number).map(String::as_str)
    }

    /// The name of a reset's reason; `None` where this kernel gives none.
    pub fn reset_reason(&self, number: u32) -> Option<&str> {
        self.reset_reasons.get(&number).map(String::as_str)
    }

    /// The kernel function that contains an address.
    pub fn function(&self, address: u64) -> Option<&str> {
        self.symbols.function(address)
    }
}

/// Counts of records that were not handed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ProbeCounts {
    /// Records for which the ring had no room, and events during which a program was interrupted: not all of those would
    /// have been recorded.
    pub lost: u64,
    /// Packets whose namespace is not known.
    pub unplaced: u64,
}

impl Probes {
    /// Makes the kernel report the packets of one network namespace (the inode number of `/proc/PID/ns/net`).
    ///
    /// Needs `CAP_BPF` and `CAP_PERFMON`, or `CAP_SYS_ADMIN`. All rights may be given up afterwards.
    ///
    /// # Errors
    /// Something is missing: it is named, with the remedy.
    pub fn attach(namespace: u32) -> Result<Probes, Refused> {
        if !cfg!(target_pointer_width = "64") {
            return Err(refused("kernels of 32 bits are not supported", "none on this machine"));
        }
        let btf = Btf::of_this_kernel().map_err(without_types)?;
        let layout = Layout::of(&btf)
            .map_err(|missing| refused(&missing, "the kernel is older or newer than this program knows"))?;
        let ring = BpfRing::new(RING).map_err(without_rights)?;
        let map = system::map(MapKind::Array, shared::SIZE, 1).map_err(without_rights)?;
        let length = (shared::SIZE as usize).next_multiple_of(system::page());
        let counters = SharedMap::new(&map, 0, length, Access::Read).map_err(without_rights)?;
        let target = Target {
            layout: &layout,
            namespace,
            ring: ring.descriptor().as_raw_fd(),
            counters: map.as_raw_fd(),
        };
        let (mut programs, mut links) = (Vec::new(), Vec::new());
        for (tracepoint, code) in [("kfree_skb", target.freed()), ("tcp_send_reset", target.reset())] {
            let program =
                system::load(ProgramKind::RawTracepoint, tracepoint, &code, 0).map_err(without_rights)?;
            links.push(system::attach(tracepoint, &program).map_err(without_rights)?);
            programs.push(program);
        }
        let (functions, without_functions) = attach_functions(&target, &mut links);
        let symbols = Symbols::of_this_kernel();
        let offer = ProbeSupport {
            drop_reasons: layout.freed.reason.is_some() && !layout.drop_reasons.is_empty(),
            reset_reasons: layout.reset.reason.is_some() && !layout.reset_reasons.is_empty(),
            functions,
            without_functions,
            names: !symbols.is_empty(),
        };
        let reasons = |has: bool, names: BTreeMap<u32, String>| if has { names } else { BTreeMap::new() };
        let names = KernelNames {
            drop_reasons: reasons(offer.drop_reasons, layout.drop_reasons),
            reset_reasons: reasons(offer.reset_reasons, layout.reset_reasons),
            symbols,
        };
        Ok(Probes { ring, counters, names, offer, programs, links })
    }

    /// What can be said.
    pub fn offer(&self) -> &ProbeSupport {
        &self.offer
    }

    /// Names for the numbers in records.
    pub fn names(&self) -> &KernelNames {
        &self.names
    }

    /// Records not handed over so far.
    pub fn counts(&self) -> ProbeCounts {
        let count = |at: u32| self.counters.double(at as usize);
        let missed: u64 = self.programs.iter().map(system::misses).sum();
        ProbeCounts { lost: count(shared::LOST) + missed, unplaced: count(shared::UNPLACED) }
    }

    /// Hands over the records since the last time.
    pub fn drain(&mut self, mut see: impl FnMut(VerdictRecord, &KernelNames)) -> Drained {
        let Probes { ring, names, .. } = self;
        ring.drain(|bytes: &[u8; RECORD]| {
            if let Some(record) = VerdictRecord::read(bytes) {
                see(record, names);
            }
        })
    }

    /// How many programs run.
    pub fn programs(&self) -> usize {
        self.links.len()
    }
}

/// Watches as many functions as possible: by fentry, else by kprobes. Returns their names, and why some are missing.
fn attach_functions(target: &Target<'_>, links: &mut Vec<OwnedFd>) -> (Vec<&'static str>, Option<String>) {
    let kprobes = fs::read_to_string("/sys/bus/event_source/devices/kprobe/type");
    let kprobes: Option<u32> = kprobes.ok().and_then(|kind| kind.trim().parse().ok());
    let (mut attached, mut why) = (Vec::new(), None);
    for function in &target.layout.functions {
        match by_entry(target, function).or_else(|error| by_kprobe(target, function, kprobes, error)) {
            Ok(link) => {
                links.push(link);
                attached.push(function.name);
            }
            Err(error) => why = Some(format!("{}: {error}", function.name)),
        }
    }
    if target.layout.functions.is_empty() {
        why = Some("this kernel does not describe its functions".to_owned());
    }
    (attached, why)
}

fn by_entry(target: &Target<'_>, function: &Function) -> io::Result<OwnedFd> {
    let code = target
        .at_listener(function.number, function.arguments, ArgumentLayout::InOrder)
        .ok_or(io::ErrorKind::Unsupported)?;
    let program = system::load(ProgramKind::Tracing, function.name, &code, function.id.0)?;
    system::attach("", &program)
}

fn by_kprobe(
    target: &Target<'_>,
    function: &Function,
    kind: Option<u32>,
    entry: io::Error,
) -> io::Result<OwnedFd> {
    let Some(kind) = kind else {
        return Err(io::Error::new(
            entry.kind(),
            format!("no fentry ({entry}), and the kernel has no kprobes (CONFIG_KPROBES)"),
        ));
    };
    let code = target
        .at_listener(function.number, function.arguments, ArgumentLayout::Registers(&function.registers))
        .ok_or(io::ErrorKind::Unsupported)?;
    let program = system::load(ProgramKind::Kprobe, function.name, &code, 0)?;
    system::attach_kprobe(kind, function.name, &program)
}

fn refused(what: &str, remedy: &str) -> Refused {
    Refused { what: what.to_owned(), remedy: remedy.to_owned() }
}

fn without_types(error: io::Error) -> Refused {
    match error.kind() {
        io::ErrorKind::NotFound => refused(
            &format!("the kernel does not describe its types ({} is not there)", btf::VMLINUX),
            "a kernel built with CONFIG_DEBUG_INFO_BTF, as those of the distributions are",
        ),
        _ => refused(&error.to_string(), "none known"),
    }
}

fn without_rights(error: io::Error) -> Refused {
    let lockdown = fs::read_to_string(Path::new("/sys/kernel/security/lockdown")).unwrap_or_default();
    if lockdown.contains("[confidentiality]") {
        return refused(
            "the kernel is locked down (confidentiality)",
            "boot with lockdown=integrity, or without lockdown",
        );
    }
    match error.kind() {
        io::ErrorKind::PermissionDenied => refused(
            "this process lacks CAP_BPF and CAP_PERFMON",
            "use sudo, or: sudo setcap cap_net_raw,cap_bpf,cap_perfmon=ep \"$(command -v synscope)\"",
        ),
        _ => refused(&format!("the kernel refuses its programs: {error}"), "none known"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::decode::segment::Flags;
    use crate::kernel::verdict::KernelEvent;

    #[test]
    #[ignore = "loads programs into the kernel: CAP_BPF and CAP_PERFMON, and a kernel with BTF"]
    fn this_kernel_tells_of_a_refused_connection() {
        let namespace = fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
        let mut probes = Probes::attach(namespace as u32).unwrap();
        println!("{:?}", probes.offer());
        for (host, function) in [("127.0.0.1", "tcp_v4_rcv"), ("::1", "tcp_v6_rcv")] {
            let port = TcpListener::bind((host, 0)).unwrap().local_addr().unwrap().port();
            let _ = TcpStream::connect((host, port));
            let mut records = Vec::new();
            probes.drain(|record, _| records.push(record));
            let to_port = |event: KernelEvent| {
                records.iter().find(|r| r.event == event && r.segment.destination.port() == port).copied()
            };
            let dropped = to_port(KernelEvent::Dropped).expect("the SYN was dropped");
            assert_eq!(dropped.segment.flags, Flags::SYN);
            assert_eq!(dropped.segment.destination.ip().to_string(), host);
            if probes.offer().drop_reasons {
                assert_eq!(probes.names().drop_reason(dropped.reason), Some("NO_SOCKET"));
            }
            if probes.offer().names {
                assert_eq!(probes.names().function(dropped.location), Some(function));
            }
        }
        assert_eq!(probes.counts().lost, 0);
    }
}
