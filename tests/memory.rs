//! `--memory-limit` holds for the whole process, whatever is sent.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufWriter, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Spoofed SYNs: a full record of each would take ten times what is allowed.
const SYNS: u32 = 600_000;
const LIMIT_KIB: u64 = 64 << 10;

/// A raw IPv4 packet with a SYN from an address of its own.
fn syn(n: u32) -> [u8; 40] {
    let mut packet = [0; 40];
    packet[0] = 0x45;
    packet[3] = 40;
    packet[4..6].copy_from_slice(&(n as u16).to_be_bytes());
    (packet[8], packet[9]) = (60, 6);
    packet[12..16].copy_from_slice(&(0x0a00_0000 + n).to_be_bytes());
    packet[16..20].copy_from_slice(&[192, 0, 2, 1]);
    packet[20..22].copy_from_slice(&(1_024 + n as u16 % 50_000).to_be_bytes());
    packet[22..24].copy_from_slice(&80_u16.to_be_bytes());
    packet[24..28].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes());
    (packet[32], packet[33]) = (0x50, 0x02);
    packet
}

/// A pcap of the flood: nanoseconds, raw IP, 100,000 SYNs a second.
fn flood(out: &mut dyn Write) -> std::io::Result<()> {
    let header: [u32; 6] = [0xa1b2_3c4d, 0x0004_0002, 0, 0, 65_535, 101];
    header.iter().try_for_each(|word| out.write_all(&word.to_le_bytes()))?;
    for n in 0..SYNS {
        let record = [1_700_000_000 + n / 100_000, n % 100_000 * 10_000, 40, 40];
        record.iter().try_for_each(|word| out.write_all(&word.to_le_bytes()))?;
        out.write_all(&syn(n))?;
    }
    out.flush()
}

/// The most memory that a running process has had so far, KiB.
fn peak(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn a_flood_stays_within_the_memory_limit_and_the_report_says_what_was_given_up() {
    let report = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut child = Command::new(env!("CARGO_BIN_EXE_synscope"))
        .args(["analyze", "--threads", "2", "--memory-limit", "64MiB", "--format", "json", "-o"])
        .arg(report.path())
        .arg("-")
        .stdin(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let stdin = child.stdin.take().expect("it has a standard input");
    flood(&mut BufWriter::with_capacity(1 << 16, stdin)).expect("it reads all of it");
    // It is at its largest when it puts together what it knows.
    let mut most = 0;
    let status = loop {
        most = peak(child.id()).unwrap_or(0).max(most);
        match child.try_wait().expect("it can be waited for") {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    assert!(status.success(), "{status}");
    assert!((1..=LIMIT_KIB).contains(&most), "{most} KiB");
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(report.path()).expect("a report")).expect("a JSON report");
    assert_eq!(report["summary"]["connections"], SYNS);
    let warnings = report["warnings"].as_array().expect("a list");
    let said = |text: &str| warnings.iter().any(|w| w.as_str().is_some_and(|w| w.contains(text)));
    assert!(said("memory limit of 64 MiB was reached") && said("were only counted"), "{warnings:?}");
}
