//! What `synscope` says where it may not ask the kernel about single packets, and that it goes on without.
//!
//! Needs root, `unshare`, `setpriv`, `mount` and a kernel that describes itself (BTF); ignored without them.

#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

const UNPRIVILEGED: &[&str] =
    &["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all"];
const WITH_BOTH: &[&str] = &[
    "setpriv",
    "--reuid",
    "65534",
    "--regid",
    "65534",
    "--clear-groups",
    "--inh-caps=+bpf,+perfmon",
    "--ambient-caps=+bpf,+perfmon",
];

/// Runs `synscope snapshot --follow` behind `prefix`.
fn follow(prefix: &[&str], kernel: &str) -> Output {
    let program = env!("CARGO_BIN_EXE_synscope");
    let own = [program, "snapshot", "--follow", "--duration", "300ms", "--kernel", kernel];
    let words = [prefix, &own].concat();
    Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output().expect("the program before it")
}

/// The same in a mount namespace of its own, after `commands`.
fn follow_after(commands: &str, prefix: &[&str], kernel: &str) -> Output {
    let script = format!("{commands}; exec \"$@\"");
    let inside = ["unshare", "--mount", "sh", "-ec", &script, "sh"];
    follow(&[&inside, prefix].concat(), kernel)
}

/// Asserts that one line names the missing right and the remedy, that `on` ends with it, and that `auto` goes on.
fn is_told(run: impl Fn(&str) -> Output, missing: &str, remedy: &str) {
    let on = run("on");
    let said = String::from_utf8_lossy(&on.stderr).into_owned();
    assert_eq!(on.status.code(), Some(2), "{said}");
    assert!(said.contains(missing) && said.contains(remedy), "{said}");
    assert!(on.stdout.is_empty(), "nothing is recorded");
    let auto = run("auto");
    let said = String::from_utf8_lossy(&auto.stderr).into_owned();
    assert!(auto.status.success(), "{said}");
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("is not asked")).collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(lines[0].contains(missing) && lines[0].contains(remedy), "{said}");
    let recorded = String::from_utf8_lossy(&auto.stdout).into_owned();
    assert!(recorded.starts_with("{\"schema\":\"synscope.recording/1\""), "{recorded}");
    assert!(recorded.lines().count() >= 2, "counters are recorded all the same: {recorded}");
}

#[test]
#[cfg_attr(any(no_namespaces, no_btf), ignore = "needs root, unshare, setpriv and a kernel with BTF")]
fn without_the_capabilities() {
    is_told(
        |kernel| follow(UNPRIVILEGED, kernel),
        "this process lacks CAP_BPF and CAP_PERFMON",
        "sudo setcap",
    );
    // Root of a user namespace has them, but not over this kernel.
    let inside = ["unshare", "--user", "--map-root-user"];
    is_told(|kernel| follow(&inside, kernel), "lacks CAP_BPF and CAP_PERFMON", "use sudo");
    // One of the two is not enough.
    let one = ["setpriv", "--bounding-set=-perfmon,-sys_admin", "--inh-caps=-perfmon,-sys_admin"];
    is_told(|kernel| follow(&one, kernel), "lacks CAP_BPF and CAP_PERFMON", "use sudo");
}

#[test]
#[cfg_attr(any(no_namespaces, no_btf), ignore = "needs root, unshare, setpriv and a kernel with BTF")]
fn both_capabilities_suffice_and_none_is_kept() {
    let program = env!("CARGO_BIN_EXE_synscope");
    let own = [program, "snapshot", "--follow", "--duration", "20s", "--kernel", "on"];
    let words = [WITH_BOTH, &own].concat();
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("setpriv");
    let mut said = String::new();
    BufReader::new(child.stderr.take().expect("it is piped")).read_line(&mut said).expect("text");
    assert!(said.contains("asked about single packets: drops"), "{said}");
    let threads: Vec<_> =
        fs::read_dir(format!("/proc/{}/task", child.id())).expect("threads").flatten().collect();
    // One reads what the programs in the kernel say.
    assert!(threads.len() >= 2);
    for thread in threads {
        let status = fs::read_to_string(thread.path().join("status")).expect("a thread");
        for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
            let line = status.lines().find(|line| line.starts_with(set)).expect("a set of capabilities");
            assert!(line.ends_with("\t0000000000000000"), "{line}");
        }
    }
    child.kill().expect("it runs");
    child.wait().expect("it ended");
}

#[test]
#[cfg_attr(any(no_namespaces, no_btf), ignore = "needs root, unshare, mount and a kernel with BTF")]
fn without_a_description_of_the_kernel() {
    let hide = "mount -t tmpfs none /sys/kernel/btf";
    is_told(
        |kernel| follow_after(hide, &[], kernel),
        "the kernel does not describe its types (/sys/kernel/btf/vmlinux is not there)",
        "CONFIG_DEBUG_INFO_BTF",
    );
}

/// A kernel that is locked down refuses the programs of root, too. Here the refusal is that of a process without rights,
/// and only the file says why.
#[test]
#[cfg_attr(any(no_namespaces, no_btf), ignore = "needs root, unshare, mount and a kernel with BTF")]
fn in_lockdown() {
    let lock = "mount -t tmpfs none /sys/kernel/security; \
                echo 'none integrity [confidentiality]' >/sys/kernel/security/lockdown";
    is_told(
        |kernel| follow_after(lock, UNPRIVILEGED, kernel),
        "the kernel is locked down (confidentiality)",
        "lockdown=integrity",
    );
}
