//! Checks for libpcap before the linker does, so that a missing package is one readable sentence.
//!
//! Only with the `live` feature: without it nothing of libpcap is used.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=src/build.rs");
    println!("cargo:rerun-if-env-changed=LIBPCAP_LIBDIR");
    if env::var_os("CARGO_FEATURE_LIVE").is_none() || env::var_os("LIBPCAP_LIBDIR").is_some() {
        return;
    }
    if !libpcap_can_be_linked() {
        println!(
            "cargo:error=libpcap's development files are missing (feature `live`, on by default). \
             Debian, Ubuntu: sudo apt-get install libpcap-dev. Fedora, RHEL: sudo dnf install libpcap-devel. \
             Alpine: apk add libpcap-dev. macOS has them. \
             Without live capture: cargo build --release --no-default-features"
        );
    }
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
            out.status.success() && Path::new(&found).is_absolute() && Path::new(&found).exists()
        })
    })
}
