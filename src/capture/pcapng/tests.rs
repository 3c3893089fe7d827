use super::*;
use crate::capture::test_captures::{ByteOrder, Ng, TestPacket, packets, pcapng, read, some_packets};

const BOTH: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];

fn packet() -> TestPacket {
    some_packets(1, 0).remove(0)
}

#[test]
fn both_byte_orders_give_the_same_packets() {
    let made = some_packets(20, 1_700_000_000_123_456_789);
    for order in BOTH {
        let (seen, status) = read(&pcapng(order, &made)).unwrap();
        assert_eq!(packets(&seen), made, "{order:?}");
        assert!(seen.iter().map(|p| p.number).eq(1..=20));
        assert_eq!((status.format.as_str(), status.snaplen, status.dropped), ("pcapng", 65_535, None));
        assert_eq!((status.damage, status.warnings), (None, vec![]));
    }
}

#[test]
fn each_section_has_its_own_byte_order_and_interfaces() {
    let ng = Ng::new(ByteOrder::Little).interface(1, 100, &[]).enhanced(0, 1, &packet(), &[]);
    let ng = ng.section(ByteOrder::Big).interface(113, 0, &[(9, &[3])]).enhanced(0, 1, &packet(), &[]);
    let ng = ng.section(ByteOrder::Little).interface(276, 96, &[]).enhanced(0, 1, &packet(), &[]);
    let (seen, status) = read(&ng.file).unwrap();
    assert_eq!(
        seen.iter().map(|p| (p.link, p.packet.time)).collect::<Vec<_>>(),
        [(1, 1_000), (113, 1_000_000), (276, 1_000)]
    );
    assert_eq!((status.damage, status.snaplen), (None, 96));
}

#[test]
fn each_interface_has_its_own_resolution_and_offset() {
    for order in BOTH {
        let ng = Ng::new(order)
            .interface(1, 0, &[])
            .interface(1, 0, &[(9, &[0])])
            .interface(1, 0, &[(2, b"eth0"), (9, &[12]), (14, &order.u64(10))])
            .interface(1, 0, &[(9, &[0x80 | 8])])
            .interface(1, 0, &[(9, &[6]), (14, &order.u64(-3_i64 as u64))]);
        let ng = (0..5).fold(ng, |ng, i| ng.enhanced(i, 5_000, &packet(), &[]));
        let (seen, _) = read(&ng.file).unwrap();
        let times: Vec<i64> = seen.iter().map(|p| p.packet.time).collect();
        // 5,000 us; 5,000 s; 5,000 ps after 10 s; 5,000/256 s; 5 ms after -3 s.
        assert_eq!(times, [5_000_000, 5_000_000_000_000, 10_000_000_005, 19_531_250_000, -2_995_000_000]);
    }
}

#[test]
fn times_beyond_the_range_are_held_at_its_end() {
    for tsresol in 0..=255 {
        for offset in [0, 1, i64::MIN, i64::MAX] {
            let offset = offset.to_le_bytes();
            let ng = Ng::new(ByteOrder::Little).interface(1, 0, &[(9, &[tsresol]), (14, &offset)]);
            let ng = ng.enhanced(0, u64::MAX, &packet(), &[]).enhanced(0, 0, &packet(), &[]);
            assert_eq!(read(&ng.file).unwrap().0.len(), 2);
        }
    }
}

#[test]
fn a_simple_packet_is_cut_by_the_snapshot_length_and_has_the_time_of_the_one_before() {
    for order in BOTH {
        let ng = Ng::new(order).interface(101, 10, &[]).interface(1, 0, &[]);
        let ng = ng.enhanced(1, 77, &packet(), &[]).simple(60, &[5; 12]).simple(3, &[6; 4]);
        let (seen, status) = read(&ng.file).unwrap();
        let simple: Vec<_> = seen[1..]
            .iter()
            .map(|p| (p.link, p.timed, p.packet.time, p.packet.original, p.packet.data.len()))
            .collect();
        assert_eq!(simple, [(101, false, 77_000, 60, 10), (101, false, 77_000, 3, 3)]);
        assert_eq!(status.times, Some((Timestamp(77_000), Timestamp(77_000))));
    }
}

#[test]
fn obsolete_packet_blocks_are_packets_with_drop_counts() {
    for order in BOTH {
        let ng = Ng::new(order).interface(1, 0, &[]).interface(113, 0, &[]);
        let ng =
            ng.obsolete(1, 3, 5, &packet()).obsolete(1, 4, 6, &packet()).obsolete(0, 0xffff, 7, &packet());
        let (seen, status) = read(&ng.file).unwrap();
        let all: Vec<_> = seen.iter().map(|p| (p.link, p.packet.time, p.packet.data.len())).collect();
        assert_eq!(all, [(113, 5_000, 54), (113, 6_000, 54), (1, 7_000, 54)]);
        assert_eq!(status.dropped, Some(7));
    }
}

#[test]
fn drops_are_the_last_statistics_of_each_interface_or_its_packets_counts() {
    for order in BOTH {
        let n = |n| order.u64(n);
        let ng = Ng::new(order).interface(1, 0, &[]).interface(1, 0, &[]).interface(1, 0, &[]);
        let ng = ng
            .statistics(0, &[(5, &n(10)), (7, &n(2))])
            .statistics(0, &[(4, &n(999)), (5, &n(20)), (7, &n(2))]);
        let ng = ng.enhanced(0, 1, &packet(), &[(4, &n(5))]);
        let ng = ng.enhanced(1, 1, &packet(), &[(2, &[0; 4]), (4, &n(30))]).enhanced(
            1,
            1,
            &packet(),
            &[(4, &n(1))],
        );
        let ng = ng
            .section(order)
            .interface(1, 0, &[])
            .statistics(0, &[(5, &n(100))])
            .statistics(9, &[(5, &n(7))]);
        assert_eq!(read(&ng.file).unwrap().1.dropped, Some(22 + 31 + 100));
    }
}

#[test]
fn a_statistics_block_without_counts_tells_nothing() {
    let ng = Ng::new(ByteOrder::Big).interface(1, 0, &[]).statistics(0, &[]);
    assert_eq!(read(&ng.file).unwrap().1.dropped, None);
}

#[test]
fn custom_blocks_take_a_frame_number_as_in_wireshark_and_unknown_ones_do_not() {
    let ng =
        Ng::new(ByteOrder::Little).interface(1, 0, &[]).block(0xbad, &[0; 8]).enhanced(0, 1, &packet(), &[]);
    let ng = ng.block(0x4000_0bad, &[0; 8]).block(4, &[0; 4]).block(10, &[0; 8]).block(0x1234, &[0; 4]);
    let ng = ng.block(0x1234, &[]).enhanced(0, 1, &packet(), &[]);
    let (seen, status) = read(&ng.file).unwrap();
    assert_eq!(seen.iter().map(|p| p.number).collect::<Vec<_>>(), [2, 4]);
    assert_eq!(status.packets, 2);
    assert_eq!(status.warnings, ["skipped 2 block(s) of the unknown type 0x00001234, the first at byte 212"]);
    assert_eq!(status.damage, None);
}

#[test]
fn a_packet_of_an_undescribed_interface_is_left_out_and_said() {
    let ng = Ng::new(ByteOrder::Little).interface(1, 0, &[]).enhanced(0, 1, &packet(), &[]);
    let ng = ng.enhanced(7, 1, &packet(), &[]).enhanced(0, 2, &packet(), &[]);
    let (seen, status) = read(&ng.file).unwrap();
    assert_eq!(seen.iter().map(|p| (p.number, p.packet.time)).collect::<Vec<_>>(), [(1, 1_000), (2, 2_000)]);
    assert_eq!(
        status.damage.as_deref(),
        Some(
            "test: block at byte 136 has a packet of interface 7; its section describes 1 so far.\n  \
             Only this was left out."
        )
    );
}

#[test]
fn a_packet_that_claims_more_than_its_block_is_left_out() {
    let mut ng = Ng::new(ByteOrder::Little).interface(1, 0, &[]);
    let place = ng.file.len();
    ng = ng.enhanced(0, 1, &packet(), &[]).enhanced(0, 2, &packet(), &[]);
    ng.file[place + 20..place + 24].copy_from_slice(&57u32.to_le_bytes());
    let (seen, status) = read(&ng.file).unwrap();
    assert_eq!(seen.len(), 1);
    let damage = status.damage.unwrap();
    assert!(
        damage
            .starts_with("test: block at byte 48 says it holds 57 bytes of a packet, but has room for 56.\n")
    );
}

#[test]
fn two_lengths_that_differ_stop_the_reading() {
    let mut ng = Ng::new(ByteOrder::Little).interface(1, 0, &[]).enhanced(0, 1, &packet(), &[]);
    let place = ng.file.len();
    ng = ng.enhanced(0, 1, &packet(), &[]).enhanced(0, 2, &packet(), &[]);
    ng.file[place + 84] = 89;
    let (seen, status) = read(&ng.file).unwrap();
    assert_eq!(seen.len(), 1);
    let damage = status.damage.unwrap();
    let start = "test: block at byte 136 says it is 88 bytes long at its start and 89 at its end.\n";
    assert!(damage.starts_with(start), "{damage}");
}

#[test]
fn a_length_that_no_block_has_stops_the_reading() {
    let ng = Ng::new(ByteOrder::Little).interface(1, 0, &[]).enhanced(0, 1, &packet(), &[]);
    let mut file = ng.file;
    file.extend([6, 0, 0, 0, 0, 0, 0xff, 0xff]);
    file.extend([0; 18_212]);
    let (seen, status) = read(&file).unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(
        status.damage.as_deref(),
        Some(
            "test: block at byte 136 says it is 4,294,901,760 bytes long; the file ends after 18,220.\n  \
             The capture was cut off or overwritten there; the rest of it cannot be read. \
             The 1 packet before it was analyzed."
        )
    );
}

#[test]
fn a_section_with_a_wrong_byte_order_mark_stops_the_reading() {
    let mut ng = Ng::new(ByteOrder::Little).interface(1, 0, &[]).enhanced(0, 1, &packet(), &[]);
    ng = ng.section(ByteOrder::Big);
    ng.file[136 + 8] = 0x77;
    let (seen, status) = read(&ng.file).unwrap();
    assert_eq!(seen.len(), 1);
    let damage = status.damage.unwrap();
    let start = "test: block at byte 136 begins a section with the byte order mark 77 2B 3C 4D; expected";
    assert!(damage.starts_with(start), "{damage}");
}

#[test]
fn a_section_of_an_unknown_version_is_left_out() {
    let mut ng = Ng::new(ByteOrder::Little).interface(1, 0, &[]).enhanced(0, 1, &packet(), &[]);
    ng = ng.section(ByteOrder::Big).interface(1, 0, &[]).enhanced(0, 2, &packet(), &[]);
    ng = ng.section(ByteOrder::Little).interface(1, 0, &[]).enhanced(0, 3, &packet(), &[]);
    ng.file[136 + 13] = 2;
    let (seen, status) = read(&ng.file).unwrap();
    assert_eq!(seen.iter().map(|p| p.packet.time).collect::<Vec<_>>(), [1_000, 3_000]);
    let start = "test: block at byte 136 begins a section of pcapng version 2.0; expected version 1.\n";
    assert!(status.damage.unwrap().starts_with(start));
}

#[test]
fn blocks_longer_than_a_window_are_read_over_and_their_packets_cut() {
    for order in BOTH {
        let mut long = packet();
        long.data = (0..3_000_001u32).map(|i| i as u8).collect();
        let ng = Ng::new(order).interface(1, 0, &[]).block(10, &vec![1; 5_000_000]);
        let ng =
            ng.enhanced(0, 1, &packet(), &[]).enhanced(0, 2, &long, &[]).block(0xbad, &vec![1; 2_000_000]);
        let ng = ng.enhanced(0, 3, &packet(), &[]);
        let (seen, status) = read(&ng.file).unwrap();
        assert_eq!(status.damage, None);
        assert_eq!(
            seen.iter().map(|p| (p.number, p.packet.time)).collect::<Vec<_>>(),
            [(1, 1_000), (2, 2_000), (4, 3_000)]
        );
        assert_eq!(seen[1].packet.data[..], long.data[..64 << 10]);

        let mut broken = ng.file.clone();
        let end = 48 + 5_000_012 + 88 + 3_000_004 + 32;
        broken[end - 1] ^= 0x55;
        let (seen, status) = read(&broken).unwrap();
        assert_eq!(seen.len(), 1);
        assert!(status.damage.unwrap().contains("block at byte 5,000,148 says at its end"));
    }
}

#[test]
fn interfaces_without_end_stop_the_reading() {
    let mut ng = Ng::new(ByteOrder::Little);
    for _ in 0..=MOST_INTERFACES {
        ng = ng.interface(1, 0, &[]);
    }
    let damage = read(&ng.file).unwrap().1.damage.unwrap();
    assert!(damage.contains("describes an interface beyond the first 65,536"), "{damage}");
}
