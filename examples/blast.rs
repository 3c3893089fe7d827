//! Sends SYNs into an interface as fast as it goes, for measuring what a capture at the other end of a veth pair holds.
//!
//! Only for interfaces of your own, in network namespaces of your own: `benches/live-load` makes them.
//!
//! `blast INTERFACE SECONDS [CONNECTIONS]`: sends SYNs (frames of 74 bytes) from CONNECTIONS clients (default 50,000) to
//! 16 listeners. Each round has one SYN of each client, with other sequence numbers than the last. Prints how many were
//! sent.

// The library passes calls of libpcap on: src/capture/libpcap.rs.
use synscope as _;

use std::env;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Frames between two looks at the clock.
const BURST: u32 = 256;

/// Ethernet, IPv4 and TCP with the options of Linux.
const FRAME: [u8; 74] = {
    let mut f = [0; 74];
    f[0] = 2;
    f[5] = 1;
    f[6] = 2;
    f[11] = 2;
    f[12] = 8;
    // IPv4, 60 bytes, TTL 64, TCP, from 10.0.0.0/8 to 192.0.2.1.
    (f[14], f[17], f[22], f[23], f[26]) = (0x45, 60, 64, 6, 10);
    (f[30], f[31], f[32], f[33]) = (192, 0, 2, 1);
    // SYN, header of 40 bytes, window 64,240.
    (f[46], f[47], f[48], f[49]) = (0xa0, 2, 0xfa, 0xf0);
    let options = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
    let mut i = 0;
    while i < options.len() {
        f[54 + i] = options[i];
        i += 1;
    }
    f
};

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let (Some(interface), Some(seconds)) = (args.first(), args.get(1).and_then(|s| s.parse().ok())) else {
        eprintln!("usage: blast INTERFACE SECONDS [CONNECTIONS]");
        return ExitCode::from(2);
    };
    let connections: u32 = args.get(2).and_then(|n| n.parse().ok()).unwrap_or(50_000);
    match blast(interface, Duration::from_secs_f64(seconds), connections.max(1)) {
        Ok((sent, took)) => {
            println!("{sent} sent, {:.0} a second", sent as f64 / took.as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("blast: {interface}: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(feature = "live")]
fn blast(interface: &str, time: Duration, connections: u32) -> Result<(u64, Duration), String> {
    let said = |error: pcap::Error| error.to_string();
    let mut handle = pcap::Capture::from_device(interface).and_then(pcap::Capture::open).map_err(said)?;
    let begun = Instant::now();
    let mut sent = 0_u64;
    while begun.elapsed() < time {
        for _ in 0..BURST {
            let frame = frame(sent, connections);
            // A full queue is no reason to stop.
            if handle.sendpacket(&frame[..]).is_ok() {
                sent += 1;
            }
        }
    }
    Ok((sent, begun.elapsed()))
}

#[cfg(not(feature = "live"))]
fn blast(_: &str, _: Duration, _: u32) -> Result<(u64, Duration), String> {
    let _ = (BURST, Instant::now(), frame(0, 1));
    Err("built without the feature `live`".to_owned())
}

/// The `n`th frame.
fn frame(n: u64, connections: u32) -> [u8; 74] {
    let mut f = FRAME;
    let client = (n % u64::from(connections)) as u32;
    let round = (n / u64::from(connections)) as u32;
    f[27..30].copy_from_slice(&client.to_be_bytes()[1..]);
    f[34..36].copy_from_slice(&(1_024 + (client % 60_000) as u16).to_be_bytes());
    f[36..38].copy_from_slice(&(8_080 + (client % 16) as u16).to_be_bytes());
    f[38..42].copy_from_slice(&(round.wrapping_mul(0x9e37_79b9) ^ client).to_be_bytes());
    let sum = f[14..34].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum::<u32>();
    let sum = (sum & 0xffff) + (sum >> 16);
    let check = !(((sum & 0xffff) + (sum >> 16)) as u16);
    f[24..26].copy_from_slice(&check.to_be_bytes());
    f
}
