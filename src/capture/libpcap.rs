//! libpcap, loaded when a capture begins and not when the program starts.
//!
//! A binary that is linked with libpcap does not start where the library is missing, not even to read a file. So this
//! module defines the functions that the crate `pcap` calls. Each passes the call on to the library that [`load`]
//! opened. `docs/decisions/0001-libpcap-at-run-time.md` has the alternatives.
//!
//! Unsafe code: a library's functions have no types of their own. The signatures below repeat
//! those of `<pcap/pcap.h>`; pointers to structures are passed on untouched.

#![expect(unsafe_code, reason = "functions of a shared library are called by name")]

use std::ffi::{c_char, c_int, c_uchar, c_uint, c_void};
use std::sync::OnceLock;

use libloading::Library;

/// Names of the library: upstream and most distributions, Debian and its relatives, and where development files are
/// installed.
const NAMES: [&str; 3] = ["libpcap.so.1", "libpcap.so.0.8", "libpcap.so"];

/// The result of `load`, kept for all later calls.
static LOADED: OnceLock<Result<Functions, String>> = OnceLock::new();

/// Opens the library, unless that was done before.
///
/// # Errors
/// It is not there, or it is older than 1.5.0: the system's message for each name.
pub(super) fn load() -> Result<(), &'static str> {
    LOADED.get_or_init(open).as_ref().map(|_| ()).map_err(String::as_str)
}

fn open() -> Result<Functions, String> {
    let mut reasons: Vec<String> = Vec::new();
    for name in NAMES {
        // SAFETY: libpcap has no initialisation that could do harm.
        match unsafe { Library::new(name) } {
            Ok(library) => {
                // Never closed: the functions are called until the program ends.
                let library = Box::leak(Box::new(library));
                return Functions::of(library).map_err(|missing| format!("{name} is too old: {missing}"));
            }
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Err(reasons.join("; "))
}

/// Defines the functions, each with the signature that the library has for it.
macro_rules! pass_on {
    ($(fn $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        /// The library's functions.
        struct Functions {
            $($name: unsafe extern "C" fn($($type),*) $(-> $result)?,)*
        }

        impl Functions {
            fn of(library: &Library) -> Result<Functions, libloading::Error> {
                Ok(Functions {
                    // SAFETY: the signatures are those of the library's header.
                    $($name: *unsafe { library.get(concat!(stringify!($name), "\0").as_bytes()) }?,)*
                })
            }
        }

        $(
            // SAFETY: no other function of this name is linked into the program.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($arg: $type),*) $(-> $result)? {
                // SAFETY: the caller keeps the contract of the library's function, which is called as it is.
                unsafe { (functions().$name)($($arg),*) }
            }
        )*
    };
}

/// The library's functions, to call one of them.
///
/// # Panics
/// Where there is no library. A capture calls [`load`] first.
fn functions() -> &'static Functions {
    match LOADED.get_or_init(open) {
        Ok(functions) => functions,
        Err(reason) => panic!("libpcap is called without being there: {reason}"),
    }
}

type Handle = *mut c_void;

// All functions of libpcap that the pcap crate may call: for a live capture, a filter, a list of interfaces.
pass_on! {
    fn pcap_activate(handle: Handle) -> c_int;
    fn pcap_breakloop(handle: Handle);
    fn pcap_close(handle: Handle);
    fn pcap_compile(handle: Handle, program: *mut c_void, text: *const c_char, optimize: c_int, mask: c_uint) -> c_int;
    fn pcap_create(name: *const c_char, error: *mut c_char) -> Handle;
    fn pcap_datalink(handle: Handle) -> c_int;
    fn pcap_datalink_name_to_val(name: *const c_char) -> c_int;
    fn pcap_datalink_val_to_description(link: c_int) -> *const c_char;
    fn pcap_datalink_val_to_name(link: c_int) -> *const c_char;
    fn pcap_dispatch(handle: Handle, count: c_int, callback: *const c_void, user: *mut c_uchar) -> c_int;
    fn pcap_dump(user: *mut c_uchar, header: *const c_void, data: *const c_uchar);
    fn pcap_dump_close(dumper: Handle);
    fn pcap_dump_flush(dumper: Handle) -> c_int;
    fn pcap_dump_fopen(handle: Handle, file: *mut c_void) -> Handle;
    fn pcap_dump_open(handle: Handle, path: *const c_char) -> Handle;
    fn pcap_fileno(handle: Handle) -> c_int;
    fn pcap_findalldevs(list: *mut *mut c_void, error: *mut c_char) -> c_int;
    fn pcap_fopen_offline(file: *mut c_void, error: *mut c_char) -> Handle;
    fn pcap_fopen_offline_with_tstamp_precision(file: *mut c_void, precision: c_uint, error: *mut c_char) -> Handle;
    fn pcap_free_datalinks(list: *mut c_int);
    fn pcap_freealldevs(list: *mut c_void);
    fn pcap_freecode(program: *mut c_void);
    fn pcap_get_selectable_fd(handle: Handle) -> c_int;
    fn pcap_geterr(handle: Handle) -> *mut c_char;
    fn pcap_list_datalinks(handle: Handle, list: *mut *mut c_int) -> c_int;
    fn pcap_loop(handle: Handle, count: c_int, callback: *const c_void, user: *mut c_uchar) -> c_int;
    fn pcap_major_version(handle: Handle) -> c_int;
    fn pcap_minor_version(handle: Handle) -> c_int;
    fn pcap_next_ex(handle: Handle, header: *mut *mut c_void, data: *mut *const c_uchar) -> c_int;
    fn pcap_offline_filter(program: *const c_void, header: *const c_void, data: *const c_uchar) -> c_int;
    fn pcap_open_dead(link: c_int, length: c_int) -> Handle;
    fn pcap_open_dead_with_tstamp_precision(link: c_int, length: c_int, precision: c_uint) -> Handle;
    fn pcap_open_offline(path: *const c_char, error: *mut c_char) -> Handle;
    fn pcap_open_offline_with_tstamp_precision(path: *const c_char, precision: c_uint, error: *mut c_char) -> Handle;
    fn pcap_sendpacket(handle: Handle, data: *const c_uchar, length: c_int) -> c_int;
    fn pcap_set_buffer_size(handle: Handle, size: c_int) -> c_int;
    fn pcap_set_datalink(handle: Handle, link: c_int) -> c_int;
    fn pcap_set_immediate_mode(handle: Handle, on: c_int) -> c_int;
    fn pcap_set_promisc(handle: Handle, on: c_int) -> c_int;
    fn pcap_set_rfmon(handle: Handle, on: c_int) -> c_int;
    fn pcap_set_snaplen(handle: Handle, length: c_int) -> c_int;
    fn pcap_set_timeout(handle: Handle, milliseconds: c_int) -> c_int;
    fn pcap_set_tstamp_precision(handle: Handle, precision: c_int) -> c_int;
    fn pcap_set_tstamp_type(handle: Handle, kind: c_int) -> c_int;
    fn pcap_setdirection(handle: Handle, direction: c_uint) -> c_int;
    fn pcap_setfilter(handle: Handle, program: *mut c_void) -> c_int;
    fn pcap_setnonblock(handle: Handle, on: c_int, error: *mut c_char) -> c_int;
    fn pcap_stats(handle: Handle, counts: *mut c_void) -> c_int;
}
