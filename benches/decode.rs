//! Cost of decoding one packet whose bytes are in the cache.
//!
//! Best of many runs on a shared 2-core virtual machine (AMD EPYC, Rust 1.95): data 15 ns over IPv4 and 14 ns over
//! IPv6; a bare ACK, whose checksum is verified, 18 and 16 ns; a SYN with five options 26 ns.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use etherparse::{PacketBuilder, TcpOptionElement as Opt};
use synscope::capture::{LinkType, Packet};
use synscope::decode::segment::PacketId;
use synscope::decode::{Segment, decode};
use synscope::time::Timestamp;

/// Ethernet, IPv4 or IPv6, and TCP with these options.
fn frame(v6: bool, tagged: bool, syn: bool, options: &[Opt], payload: usize) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let v4 = ([192, 0, 2, 1], [198, 51, 100, 2]);
    let id = etherparse::VlanId::try_new(100).unwrap();
    let ip = match (tagged, v6) {
        (false, false) => ethernet.ipv4(v4.0, v4.1, 64),
        (false, true) => ethernet.ipv6([1; 16], [2; 16], 64),
        (true, false) => ethernet.single_vlan(id).ipv4(v4.0, v4.1, 64),
        (true, true) => ethernet.single_vlan(id).ipv6([1; 16], [2; 16], 64),
    };
    let tcp = ip.tcp(40000, 443, 1, 65535);
    let tcp = if syn { tcp.syn() } else { tcp.ack(1) }.options(options).unwrap();
    let mut bytes = Vec::new();
    tcp.write(&mut bytes, &vec![7; payload]).unwrap();
    bytes
}

fn decoding(c: &mut Criterion) {
    let times = [Opt::Noop, Opt::Noop, Opt::Timestamp(1, 2)];
    let syn = [
        Opt::MaximumSegmentSize(1460),
        Opt::SelectiveAcknowledgementPermitted,
        Opt::Timestamp(1, 0),
        Opt::Noop,
        Opt::WindowScale(7),
    ];
    let cases = [
        ("data, IPv4", frame(false, false, false, &times, 1448)),
        ("data, IPv6", frame(true, false, false, &times, 1428)),
        ("data, IPv4, VLAN", frame(false, true, false, &times, 1448)),
        ("ACK, IPv4", frame(false, false, false, &times, 0)),
        ("ACK, IPv6", frame(true, false, false, &times, 0)),
        ("SYN, IPv4", frame(false, false, true, &syn, 0)),
    ];
    let mut group = c.benchmark_group("decode");
    // A run of copies, as in a block: one packet alone would show latency, not what a stream costs. Few enough that
    // the segments written stay in the first-level cache.
    const COPIES: usize = 64;
    group.throughput(Throughput::Elements(COPIES as u64));
    for (name, data) in &cases {
        let packet = Packet {
            id: PacketId::new(0, 1),
            time: Timestamp(1),
            timed: true,
            interface: 0,
            link: LinkType(1),
            original_length: data.len() as u32,
            data,
        };
        let packets = vec![packet; COPIES];
        let mut segments = vec![Segment::default(); COPIES];
        group.bench_function(*name, |b| {
            b.iter(|| {
                for (packet, out) in black_box(&packets).iter().zip(&mut segments) {
                    black_box(decode(packet, out));
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decoding);
criterion_main!(benches);
