//! Builds and starts the program where libpcap is missing.
//!
//! The library's files are hidden in a mount namespace, which needs root.

#![cfg(all(target_os = "linux", feature = "live"))]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const CAPTURE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/accept-queue-overflow/silent-clients/server.pcap");

/// Hides every file of libpcap, then becomes the command that follows.
const HIDE: &str = r#"
for file in $(find /lib /lib64 /usr/lib /usr/lib64 /usr/local/lib -name 'libpcap.*' 2>/dev/null) \
    $(command -v pcap-config); do
    mount --bind /dev/null "$file" || exit 99
done
exec "$@"
"#;

fn hidden(program: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", HIDE, "sh"]).arg(program).args(args);
    command
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
#[cfg_attr(no_namespaces, ignore = "needs root, ip and unshare")]
fn a_capture_is_analyzed_without_the_shared_library() {
    let synscope = Path::new(env!("CARGO_BIN_EXE_synscope"));
    let output = hidden(synscope, &["analyze", CAPTURE]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("accept-queue-overflow"), "{}", text(&output));
}

#[test]
#[cfg_attr(no_namespaces, ignore = "needs root, ip and unshare")]
fn live_says_which_package_is_missing() {
    let synscope = Path::new(env!("CARGO_BIN_EXE_synscope"));
    for args in [&["live", "-i", "lo"][..], &["live", "-D"]] {
        let output = hidden(synscope, args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.starts_with("synscope: cannot capture: libpcap is missing"), "{said}");
        assert!(said.contains("apt-get install libpcap0.8") && said.contains("synscope analyze"), "{said}");
    }
}

#[test]
fn no_program_of_ours_is_linked_with_libpcap() {
    // The name would stand in the list of needed libraries, and in none of ours: those are tried one by one.
    let binary = fs::read(env!("CARGO_BIN_EXE_synscope")).unwrap();
    let needed = b"\0libpcap.so.0.8\0";
    assert!(!binary.windows(needed.len()).any(|window| window == needed), "libpcap is needed to start");
}

/// The build script, compiled for itself.
fn build_script(folder: &Path) -> std::path::PathBuf {
    let program = folder.join("build-script");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/build.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let built =
        Command::new(rustc).args(["--edition", "2024", "-o"]).arg(&program).arg(script).output().unwrap();
    assert!(built.status.success(), "{}", text(&built));
    program
}

fn said_by(script: &mut Command, folder: &Path, target_feature: &str) -> String {
    let output = script
        .env("OUT_DIR", folder)
        .env("CARGO_FEATURE_LIVE", "1")
        .env("CARGO_CFG_TARGET_OS", "linux")
        .env("CARGO_CFG_TARGET_FEATURE", target_feature)
        .env_remove("LIBPCAP_LIBDIR")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[cfg_attr(no_namespaces, ignore = "needs root, ip and unshare")]
fn the_build_asks_for_libpcap_only_where_it_is_linked() {
    let folder = tempfile::tempdir().unwrap();
    let script = build_script(folder.path());
    let said = said_by(&mut hidden(&script, &[]), folder.path(), "fxsr,sse2");
    assert!(!said.contains("error"), "{said}");

    // Linked into a program that cannot load libraries it must be there: two colons stop cargo, one does not.
    let said = said_by(&mut hidden(&script, &[]), folder.path(), "crt-static,fxsr");
    let error = said.lines().find_map(|line| line.strip_prefix("cargo::error=")).unwrap_or_default();
    assert!(error.contains("apt-get install libpcap-dev"), "{said}");
    assert!(error.contains("--no-default-features"), "{said}");
    assert!(said.lines().all(|line| line.starts_with("cargo::")), "{said}");
}

#[test]
#[cfg_attr(no_namespaces, ignore = "needs root, ip and unshare")]
fn what_asks_for_libpcap_links_without_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let script = build_script(folder.path());
    let said = said_by(&mut hidden(&script, &[]), folder.path(), "");
    let search = said.lines().find_map(|line| line.strip_prefix("cargo::rustc-link-search=")).unwrap();
    // As the crate `pcap` and we: one asks for the library, the other has the function.
    let source = folder.path().join("main.rs");
    let code = r#"
        #[link(name = "pcap")]
        unsafe extern "C" { fn pcap_major_version(handle: *mut u8) -> i32; }
        mod ours { #[unsafe(no_mangle)] extern "C" fn pcap_major_version(_: *mut u8) -> i32 { 2 } }
        fn main() { assert_eq!(unsafe { pcap_major_version(std::ptr::null_mut()) }, 2); }
    "#;
    fs::write(&source, code).unwrap();
    let program = folder.path().join("main");
    let rustc = which_rustc();
    let mut link = hidden(&rustc, &["--edition", "2024", "-Awarnings", "-L", search, "-o"]);
    let linked = link.arg(&program).arg(&source).output().unwrap();
    assert!(linked.status.success(), "{}", text(&linked));
    assert!(hidden(&program, &[]).status().unwrap().success());
}

fn which_rustc() -> std::path::PathBuf {
    std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()).into()
}
