//! Sees to it that the crate `pcap` links, and tells the tests what this machine lacks.
//!
//! libpcap, only with the `live` feature: without it nothing of libpcap is used. On Linux the program brings the functions that
//! the crate calls and loads the library when a capture begins (`src/capture/libpcap.rs`). The crate asks the linker for
//! `-lpcap` all the same, so it gets an archive without members. Elsewhere, and where the C library is linked in and
//! cannot load another one, the real libpcap is linked. Then its development files are needed.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

/// An archive without members: what `ar` writes at the beginning of every archive.
const EMPTY_ARCHIVE: &[u8] = b"!<arch>\n";

/// The message where libpcap is to be linked and is not installed.
const MISSING: &str = "libpcap's development files are missing (feature `live`, on by default). \
     Debian, Ubuntu: sudo apt-get install libpcap-dev. Fedora, RHEL: sudo dnf install libpcap-devel. \
     Alpine: apk add libpcap-dev. macOS has them. \
     Without live capture: cargo build --release --no-default-features";

fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    println!("cargo::rerun-if-env-changed=LIBPCAP_LIBDIR");
    tell_tests();
    println!("cargo::rustc-check-cfg=cfg(libpcap_at_run_time)");
    if env::var_os("CARGO_FEATURE_LIVE").is_none() {
        return;
    }
    if loads_at_run_time() {
        println!("cargo::rustc-cfg=libpcap_at_run_time");
        match stand_in() {
            Ok(folder) => println!("cargo::rustc-link-search=native={folder}"),
            Err(error) => println!("cargo::error=cannot write an empty libpcap.a: {error}"),
        }
    } else if env::var_os("LIBPCAP_LIBDIR").is_none() && !libpcap_can_be_linked() {
        println!("cargo::error={MISSING}");
    }
}

/// Whether the target is a Linux whose C library can load another library.
fn loads_at_run_time() -> bool {
    let is = |name: &str, wanted: &str| {
        env::var(name).is_ok_and(|value| value.split(',').any(|one| one == wanted))
    };
    is("CARGO_CFG_TARGET_OS", "linux") && !is("CARGO_CFG_TARGET_FEATURE", "crt-static")
}

/// Writes a `libpcap.a` without members, and says where.
fn stand_in() -> Result<String, String> {
    let folder = env::var("OUT_DIR").map_err(|error| error.to_string())?;
    fs::write(Path::new(&folder).join("libpcap.a"), EMPTY_ARCHIVE).map_err(|error| error.to_string())?;
    Ok(folder)
}

/// Whether the linker will find `-lpcap`: asked of pkg-config, pcap-config and the compiler's own search path.
fn libpcap_can_be_linked() -> bool {
    let says_yes = |program: &str, args: &[&str]| {
        Command::new(program).args(args).output().is_ok_and(|out| out.status.success())
    };
    if says_yes("pkg-config", &["--exists", "libpcap"]) || says_yes("pcap-config", &["--libs"]) {
        return true;
    }
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    ["libpcap.so", "libpcap.a", "libpcap.dylib", "libpcap.tbd"].iter().any(|library| {
        // `-print-file-name` echoes a bare name when the library is in none of the directories.
        Command::new(&compiler).arg(format!("-print-file-name={library}")).output().is_ok_and(|out| {
            let found = String::from_utf8_lossy(&out.stdout).trim().to_owned();
            out.status.success() && Path::new(&found).is_absolute() && Path::new(&found).is_file()
        })
    })
}

/// What tests need, and a command that succeeds where it is there. Where it is not, they are ignored, with the reason.
///
/// Asked when the tests are built: the harness of stable Rust knows no test that is skipped while it runs
/// (`docs/decisions/0002-skipped-tests.md`).
const NEEDED_BY_TESTS: [(&str, &[&str]); 5] = [
    (
        "no_namespaces",
        &[
            "unshare", "--mount", "--net", "ip", "link", "add", "name", "probe0", "type", "veth", "peer",
            "name", "probe1",
        ],
    ),
    ("no_nft", &["unshare", "--net", "nft", "add", "table", "inet", "probe"]),
    ("no_btf", &["test", "-r", "/sys/kernel/btf/vmlinux"]),
    ("no_tcpdump", &["tcpdump", "--version"]),
    ("no_setpriv", &["setpriv", "--reuid=65534", "--clear-groups", "true"]),
];

fn tell_tests() {
    for (name, probe) in NEEDED_BY_TESTS {
        println!("cargo::rustc-check-cfg=cfg({name})");
        if !Command::new(probe[0]).args(&probe[1..]).output().is_ok_and(|out| out.status.success()) {
            println!("cargo::rustc-cfg={name}");
        }
    }
}
