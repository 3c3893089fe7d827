//! The table against a simple model, and segments that make no sense.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::decode::segment::{Address, TcpOptions, Traits, flow_hash};
use crate::flow::key::FlowKey;

/// A segment of one of few connections; `crowd` makes their hashes collide.
fn segment(n: usize, host: u8, port: u16, flags: Flags, seq: u32, time: i64, crowd: bool) -> Segment {
    let (src, dst) = (Address::v4([10, 0, 0, host]), Address::v4([192, 0, 2, 80]));
    let hash = flow_hash(src, port, dst, 80);
    Segment {
        time: at(0.0) + Span::millis(time),
        packet: packet(n as u64 + 1),
        hash: if crowd { hash & 0x7f | 0xdead_0000_0000_0000 } else { hash },
        src,
        dst,
        src_port: port,
        dst_port: 80,
        seq: Seq(seq),
        flags,
        ip_id: n as u16,
        ..Segment::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// SYNs with few initial sequence numbers, RSTs, pauses: the model is a map from four-tuple to the connection.
    #[test]
    fn the_table_behaves_as_a_map(
        operations in prop::collection::vec((1_u8..40, 0_u16..3, 0_u32..2, 0_i64..20_000), 1..600),
        crowd in any::<bool>(),
    ) {
        let mut tracker = Tracker::new(1 << 12);
        // By four-tuple: the initial sequence number, the time of the last SYN, how many SYNs.
        let mut open: HashMap<FlowKey, (u32, i64, u32)> = HashMap::new();
        let mut over: Vec<u32> = Vec::new();
        let mut now = 0;
        for (n, (host, port, isn, pause)) in operations.into_iter().enumerate() {
            now += pause;
            let s = segment(n, host, 40_000 + port, Flags::SYN, isn, now, crowd);
            tracker.segment(&s);
            let entry = open.entry(FlowKey::of(&s).0);
            let expired = |last: i64| now - last > 180_000;
            match entry {
                std::collections::hash_map::Entry::Occupied(mut old) => {
                    let (old_isn, last, count) = *old.get();
                    if old_isn != isn || expired(last) {
                        over.push(count);
                        old.insert((isn, now, 1));
                    } else {
                        old.insert((isn, now, count + 1));
                    }
                }
                std::collections::hash_map::Entry::Vacant(free) => {
                    free.insert((isn, now, 1));
                }
            }
            // A connection that is due is freed at its next check. There is one per wait, so within twice the time.
            let within = |most: i64| open.values().filter(|(_, last, _)| now - last <= most).count();
            prop_assert!((within(180_000)..=within(360_000)).contains(&tracker.live()), "operation {}", n);
        }
        tracker.finish();
        over.extend(open.values().map(|(_, _, count)| *count));
        let mut counts: Vec<u32> = tracker.drain_finished().map(|f| f.syn.count).collect();
        counts.sort_unstable();
        over.sort_unstable();
        prop_assert_eq!(counts, over);
    }

    /// Handshakes, connections that go on and ones that are over, in changing parts, with little room: connections that
    /// are still held are found again, and all are handed out once.
    #[test]
    fn little_room_is_kept_and_nobody_lost(
        phases in prop::collection::vec((0_u8..4, 200_usize..900), 1..8),
        room in 320_usize..600,
    ) {
        let room = room << 10;
        let mut tracker = Tracker::within(room);
        let (mut n, mut begun) = (0, 0);
        for (what, connections) in phases {
            for connection in 0..connections {
                begun += 1;
                let isn = begun as u32 * 7_919;
                let (host, port) = ((connection % 200) as u8, 1_024 + (begun % 60_000) as u16);
                let mut send = |flags: Flags, back: bool, seq: u32, ack: u32| {
                    n += 1;
                    let mut s = segment(n, host, port, flags, seq, n as i64, false);
                    s.ack = Seq(ack);
                    if back {
                        (s.src, s.dst, s.src_port, s.dst_port) = (s.dst, s.src, s.dst_port, s.src_port);
                    }
                    tracker.segment(&s);
                };
                send(Flags::SYN, false, isn, 0);
                if what == 1 {
                    send(Flags::RST | Flags::ACK, true, 0, isn + 1);
                }
                if what >= 2 {
                    send(Flags::SYN | Flags::ACK, true, 0, isn + 1);
                    send(Flags::ACK, false, isn + 1, 1);
                }
                if what == 3 {
                    // Sent twice: no short form for this one.
                    send(Flags::SYN | Flags::ACK, true, 0, isn + 1);
                }
                // The index or a queue may just have doubled.
                prop_assert!(tracker.bytes() <= room + room / 4, "{} bytes", tracker.bytes());
            }
        }
        let held = tracker.live();
        let finished = tracker.finished.len();
        tracker.finish();
        let handed_out = tracker.drain_finished().count();
        // A connection that was evicted in trouble may be followed again. Fingerprints have 29 bits, so a new connection
        // may look like one that was evicted: one is missing then.
        let wanted = begun + tracker.readmitted() as usize;
        prop_assert!((wanted - 1..=wanted).contains(&handed_out), "{} of {}", handed_out, wanted);
        prop_assert!(held + finished + 1 >= begun && held > 0);
    }

    /// Whatever comes, nothing panics and nothing is forgotten.
    #[test]
    fn any_segments_add_up(
        shots in prop::collection::vec(
            (any::<u8>(), any::<bool>(), 0_u16..4, any::<[u32; 4]>(), 0_u32..70_000, -5_000_i64..200_000, any::<u16>()),
            1..300,
        ),
        limit in 1_usize..20,
        near in any::<bool>(),
    ) {
        let mut segments = Vec::new();
        for (n, (flags, back, port, [seq, ack, tsval, tsecr], payload, time, bits)) in shots.into_iter().enumerate() {
            // Numbers that are near each other reach further into the state machine than any numbers do.
            let bound = |x: u32| if near { x % 5 } else { x };
            let mut s = segment(n, 1, 40_000 + port, Flags(flags), bound(seq), time, false);
            (s.ack, s.tsval, s.tsecr) = (Seq(bound(ack)), bound(tsval), bound(tsecr));
            s.payload = if near { payload % 3 } else { payload };
            s.options = TcpOptions((bits & 0x7f) as u8);
            s.window = bits;
            s.traits = Traits(bits).without(Traits::ICMP_ERROR);
            if back {
                (s.src, s.dst, s.src_port, s.dst_port) = (s.dst, s.src, s.dst_port, s.src_port);
            }
            segments.push(s);
        }
        let (facts, mut tracker) = tracked(&segments, limit);
        let went_on = tracker.drain_evicted_news();
        adds_up(&facts, segments.len() - (tracker.late() + went_on.segments + went_on.strays) as usize);
        prop_assert_eq!(tracker.live(), 0);
        for f in &facts {
            prop_assert!(f.first.packet <= f.last.packet || f.first.time >= f.last.time);
            prop_assert_eq!(f.mid_stream, f.roles == Roles::Guessed);
            prop_assert!(f.syn.count <= f.c.segments && f.syn_ack.count <= f.s.segments);
            prop_assert!(f.progress.is_none() || f.final_ack.is_some());
            prop_assert!(f.final_ack.is_none() || f.syn_ack.count > 0);
        }
    }
}
