//! Properties of every packet, however damaged.

use proptest::prelude::*;

use super::*;
use crate::decode::segment::{Address, TcpOptions, Traits, flow_hash};

/// Cuts a packet that holds a segment after every byte. The fields that are left read as in the whole packet.
#[track_caller]
pub(super) fn survives_cutting(link: u16, data: &[u8]) {
    let (result, whole) = decoded(link, data);
    assert_eq!(result, Decoded::Tcp);
    let mut seen = false;
    for length in 0..data.len() {
        let mut out = Segment::default();
        match decode(&Packet { data: &data[..length], ..packet(link, data) }, &mut out) {
            // A header that is guessed from the bytes after it is not recognised without them.
            Decoded::Cut | Decoded::Other => assert!(!seen, "{length} bytes hold less than {}", length - 1),
            Decoded::Tcp => {
                seen = true;
                agrees_as_far_as_captured(&out, &whole);
            }
            other => panic!("{other:?} from {length} bytes"),
        }
    }
}

#[track_caller]
fn agrees_as_far_as_captured(cut: &Segment, whole: &Segment) {
    let unsure =
        Traits::OPTIONS_CUT | Traits::CHECKSUM_GOOD | Traits::CHECKSUM_BAD | Traits::CHECKSUM_PARTIAL;
    let mut completed = *cut;
    assert!(whole.options.has(cut.options));
    if cut.traits.has(Traits::OPTIONS_CUT) {
        assert!(cut.window == whole.window || cut.window == 0);
        (completed.window, completed.options) = (whole.window, whole.options);
        (completed.mss, completed.window_scale) = (whole.mss, whole.window_scale);
        (completed.tsval, completed.tsecr) = (whole.tsval, whole.tsecr);
    }
    completed.traits = cut.traits.without(unsure) | whole.traits & unsure;
    assert_eq!(completed, *whole);
}

/// Puts hostile values into every byte of a packet, one after the other.
pub(super) fn survives_damage(link: u16, data: &[u8]) {
    let mut damaged = data.to_vec();
    for place in 0..data.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff, data[place] ^ 1, data[place].wrapping_add(4)] {
            damaged[place] = value;
            for length in [place + 1, data.len()] {
                let mut out = Segment::default();
                decode(&Packet { data: &damaged[..length], ..packet(link, data) }, &mut out);
            }
        }
        damaged[place] = data[place];
    }
}

/// Link types that are read, and one that is not.
fn link() -> impl Strategy<Value = u16> {
    let known: Vec<u16> =
        (0..300).filter(|n| crate::decode::is_supported(LinkType(*n))).chain([1240]).collect();
    prop::sample::select(known)
}

fn address() -> impl Strategy<Value = Address> {
    prop_oneof![any::<[u8; 4]>().prop_map(Address::v4), any::<[u8; 16]>().prop_map(Address)]
}

proptest! {
    #[test]
    fn any_bytes_are_survived(
        link in link(),
        data in prop::collection::vec(any::<u8>(), 0..200),
        original_length in prop_oneof![0_u32..300, any::<u32>()],
    ) {
        let mut out = Segment::default();
        let result = decode(&Packet { original_length, ..packet(link, &data) }, &mut out);
        if matches!(result, Decoded::Tcp | Decoded::Icmp) {
            prop_assert!(out.payload <= original_length.max(data.len() as u32).max(0x1_0000));
            prop_assert_eq!(result == Decoded::Icmp, out.icmp().is_some());
        }
    }

    #[test]
    fn any_bytes_behind_an_ip_header_are_survived(
        protocol in prop::sample::select(vec![1_u8, 4, 6, 17, 41, 47, 51, 97, 137, 143]),
        kind in prop::sample::select(vec![0_u32, 0x0800, 0x6558, 0x88be, 0x22eb, 0x880b, 0x883e, 0x8847, 0x12b5_12b5,
            0x1000_17c1, 0x0868_0868, 0x0dd8_0dd8, 0x0300_0000, 0x0b00_0000]),
        mut data in prop::collection::vec(any::<u8>(), 24..200),
    ) {
        data[..20].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        data[20..24].copy_from_slice(&kind.to_be_bytes());
        decoded(101, &data);
    }

    #[test]
    fn what_was_in_the_output_before_does_not_matter(
        link in link(),
        data in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (result, fresh) = decoded(link, &data);
        let mut used = Segment {
            options: TcpOptions(0xff), mss: 1, window_scale: 1, tsval: 1, tsecr: 1, window: 1, ip_id: 1, payload: 1,
            traits: Traits(0xffff), ..Segment::default()
        };
        prop_assert_eq!(decode(&packet(link, &data), &mut used), result);
        if matches!(result, Decoded::Tcp | Decoded::Icmp) {
            prop_assert_eq!(used, fresh);
        }
    }

    #[test]
    fn both_directions_have_one_hash(a in address(), b in address(), port in any::<u16>(), other in any::<u16>()) {
        prop_assert_eq!(flow_hash(a, port, b, other), flow_hash(b, other, a, port));
    }
}
