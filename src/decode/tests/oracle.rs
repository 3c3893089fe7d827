//! etherparse as the second opinion: it writes packets, and it reads them again after they were damaged.

use etherparse::{
    IpFragOffset, IpHeaders, IpNumber, Ipv4Header, Ipv6Extensions, Ipv6FlowLabel, Ipv6FragmentHeader,
    Ipv6Header, Ipv6RawExtHeader, LaxNetSlice, LaxSlicedPacket, LinuxSllPacketType, PacketBuilder, TcpHeader,
    TcpOptionElement, TransportSlice, VlanId,
};
use proptest::prelude::*;

use super::*;
use crate::decode::segment::{Address, Flags, TcpOptions, Traits};
use crate::seq::Seq;

/// The link headers that both sides know.
#[derive(Clone, Copy, Debug)]
enum OracleLink {
    Ethernet,
    Vlan,
    DoubleVlan,
    Cooked,
    Raw,
}

impl OracleLink {
    fn number(self) -> u16 {
        match self {
            OracleLink::Ethernet | OracleLink::Vlan | OracleLink::DoubleVlan => 1,
            OracleLink::Cooked => 113,
            OracleLink::Raw => 101,
        }
    }
}

/// What a generated packet consists of.
#[derive(Clone, Debug)]
struct OracleParts {
    link: OracleLink,
    ip: IpHeaders,
    tcp: TcpHeader,
    payload: Vec<u8>,
}

impl OracleParts {
    fn bytes(&self) -> Vec<u8> {
        let (mut bytes, ip, tcp) = (Vec::new(), self.ip.clone(), self.tcp.clone());
        let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let id = |n| VlanId::try_new(n).unwrap();
        match self.link {
            OracleLink::Ethernet => ethernet.ip(ip).tcp_header(tcp).write(&mut bytes, &self.payload),
            OracleLink::Vlan => {
                ethernet.single_vlan(id(100)).ip(ip).tcp_header(tcp).write(&mut bytes, &self.payload)
            }
            OracleLink::DoubleVlan => {
                ethernet.double_vlan(id(5), id(6)).ip(ip).tcp_header(tcp).write(&mut bytes, &self.payload)
            }
            OracleLink::Cooked => PacketBuilder::linux_sll(LinuxSllPacketType::OTHERHOST, 6, [0; 8])
                .ip(ip)
                .tcp_header(tcp)
                .write(&mut bytes, &self.payload),
            OracleLink::Raw => PacketBuilder::ip(ip).tcp_header(tcp).write(&mut bytes, &self.payload),
        }
        .expect("lengths fit");
        bytes
    }
}

fn option() -> impl Strategy<Value = TcpOptionElement> {
    prop_oneof![
        Just(TcpOptionElement::Noop),
        any::<u16>().prop_map(TcpOptionElement::MaximumSegmentSize),
        any::<u8>().prop_map(TcpOptionElement::WindowScale),
        Just(TcpOptionElement::SelectiveAcknowledgementPermitted),
        any::<(u32, u32)>()
            .prop_map(|block| TcpOptionElement::SelectiveAcknowledgement(block, [None, None, None])),
        any::<(u32, u32)>().prop_map(|(sent, echoed)| TcpOptionElement::Timestamp(sent, echoed)),
    ]
}

/// Option lists that fit, among them often the one of nearly every segment.
fn options() -> impl Strategy<Value = Vec<TcpOptionElement>> {
    let usual = any::<(u32, u32)>().prop_map(|(sent, echoed)| {
        vec![TcpOptionElement::Noop, TcpOptionElement::Noop, TcpOptionElement::Timestamp(sent, echoed)]
    });
    prop_oneof![usual, prop::collection::vec(option(), 0..4)]
}

fn tcp() -> impl Strategy<Value = TcpHeader> {
    (any::<(u16, u16, u32, u32, u16, u8)>(), options()).prop_map(
        |((source, destination, sequence, acknowledgment, window, flags), options)| {
            let mut tcp = TcpHeader::new(source, destination, sequence, window);
            tcp.acknowledgment_number = acknowledgment;
            (tcp.fin, tcp.syn, tcp.rst) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
            (tcp.psh, tcp.ack, tcp.urg) = (flags & 8 != 0, flags & 16 != 0, flags & 32 != 0);
            (tcp.ece, tcp.cwr) = (flags & 64 != 0, flags & 128 != 0);
            // A list that does not fit leaves the header without options.
            let _ = tcp.set_options(&options);
            tcp
        },
    )
}

fn ip() -> impl Strategy<Value = IpHeaders> {
    let v4 = (any::<([u8; 4], [u8; 4], u16, u8, u8, bool)>(), prop::collection::vec(Just(1_u8), 0..3))
        .prop_map(|((source, destination, id, ttl, tos, df), words)| {
            let mut v4 = Ipv4Header::new(0, ttl, IpNumber::TCP, source, destination).unwrap();
            (v4.identification, v4.dont_fragment) = (id, df);
            v4.dscp = (tos >> 2).try_into().unwrap();
            v4.ecn = (tos & 3).try_into().unwrap();
            v4.options = words.repeat(4).as_slice().try_into().unwrap();
            IpHeaders::Ipv4(v4, Default::default())
        });
    let v6 = any::<([u8; 16], [u8; 16], u8, u8, bool, bool, bool)>().prop_map(
        |(source, destination, hop_limit, traffic_class, hop_by_hop, routed, atomic)| {
            let mut v6 = Ipv6Header { source, destination, hop_limit, traffic_class, ..Default::default() };
            v6.flow_label = Ipv6FlowLabel::try_new(0x54321).unwrap();
            let padding = |length| Some(Ipv6RawExtHeader::new_raw(IpNumber(0), &vec![0; length]).unwrap());
            let mut extensions = Ipv6Extensions {
                hop_by_hop_options: if hop_by_hop { padding(14) } else { None },
                destination_options: if routed { padding(6) } else { None },
                fragment: atomic.then(|| Ipv6FragmentHeader::new(IpNumber(0), IpFragOffset::ZERO, false, 7)),
                ..Default::default()
            };
            v6.next_header = extensions.set_next_headers(IpNumber::TCP);
            IpHeaders::Ipv6(v6, extensions)
        },
    );
    prop_oneof![v4, v6]
}

fn parts() -> impl Strategy<Value = OracleParts> {
    let link = prop_oneof![
        Just(OracleLink::Ethernet),
        Just(OracleLink::Vlan),
        Just(OracleLink::DoubleVlan),
        Just(OracleLink::Cooked),
        Just(OracleLink::Raw)
    ];
    let payload =
        prop_oneof![Just(0..1), Just(1..100)].prop_flat_map(|size| prop::collection::vec(any::<u8>(), size));
    (link, ip(), tcp(), payload).prop_map(|(link, ip, tcp, payload)| OracleParts { link, ip, tcp, payload })
}

/// etherparse's view of a packet: the segment, and whether its options could be read to the end. Checksum traits and
/// the hash are not in it.
fn view(link: OracleLink, bytes: &[u8]) -> Option<(Segment, bool)> {
    let sliced = match link {
        OracleLink::Raw => LaxSlicedPacket::from_ip(bytes).ok()?,
        OracleLink::Cooked => LaxSlicedPacket::from_ether_type(
            etherparse::EtherType(u16::from_be_bytes([bytes[14], bytes[15]])),
            &bytes[16..],
        ),
        _ => LaxSlicedPacket::from_ethernet(bytes).ok()?,
    };
    let TransportSlice::Tcp(tcp) = sliced.transport? else { return None };
    let mut segment = match &sliced.net? {
        LaxNetSlice::Ipv4(ip) => {
            let header = ip.header();
            Segment {
                src: Address::v4(header.source()),
                dst: Address::v4(header.destination()),
                ttl: header.ttl(),
                tos: header.dcp().value() << 2 | header.ecn().value(),
                ip_id: header.identification(),
                traits: Traits::DF.only_if(header.dont_fragment()),
                ..Segment::default()
            }
        }
        LaxNetSlice::Ipv6(ip) => Segment {
            src: Address(ip.header().source()),
            dst: Address(ip.header().destination()),
            ttl: ip.header().hop_limit(),
            tos: ip.header().traffic_class(),
            traits: Traits::V6,
            ..Segment::default()
        },
        LaxNetSlice::Arp(_) => return None,
    };
    segment.time = Timestamp(1);
    segment.packet = PacketId::new(0, 1);
    (segment.src_port, segment.dst_port) = (tcp.source_port(), tcp.destination_port());
    (segment.seq, segment.ack) = (Seq(tcp.sequence_number()), Seq(tcp.acknowledgment_number()));
    segment.window = tcp.window_size();
    segment.payload = tcp.payload().len() as u32;
    segment.flags = Flags(tcp.slice()[13]);
    let mut complete = true;
    for option in tcp.options_iterator() {
        segment.options |= match option {
            Ok(TcpOptionElement::Noop) => TcpOptions::NONE,
            Ok(TcpOptionElement::MaximumSegmentSize(size)) => {
                segment.mss = size;
                TcpOptions::MSS
            }
            Ok(TcpOptionElement::WindowScale(shift)) => {
                segment.window_scale = shift;
                TcpOptions::WINDOW_SCALE
            }
            Ok(TcpOptionElement::SelectiveAcknowledgementPermitted) => TcpOptions::SACK_PERMITTED,
            Ok(TcpOptionElement::SelectiveAcknowledgement(..)) => TcpOptions::SACK,
            Ok(TcpOptionElement::Timestamp(sent, echoed)) => {
                (segment.tsval, segment.tsecr) = (sent, echoed);
                TcpOptions::TIMESTAMPS
            }
            Err(_) => {
                complete = false;
                TcpOptions::NONE
            }
        };
    }
    Some((segment, complete))
}

const CHECKSUM: Traits = Traits::CHECKSUM_GOOD.with(Traits::CHECKSUM_BAD).with(Traits::CHECKSUM_PARTIAL);

/// The parts of `segment` that etherparse has an opinion on; the direction in a cooked header is not among them here.
fn comparable(segment: Segment, with_options: bool) -> Segment {
    let traits = segment.traits.without(CHECKSUM | Traits::INCOMING | Traits::OUTGOING);
    let segment = Segment { hash: 0, traits, ..segment };
    if with_options {
        return segment;
    }
    Segment { options: TcpOptions::NONE, mss: 0, window_scale: 0, tsval: 0, tsecr: 0, ..segment }
}

proptest! {
    #[test]
    fn what_etherparse_writes_is_read_as_written(parts in parts()) {
        let bytes = parts.bytes();
        let (result, segment) = decoded(parts.link.number(), &bytes);
        prop_assert_eq!(result, Decoded::Tcp);
        let (expected, complete) = view(parts.link, &bytes).expect("etherparse reads its own output");
        prop_assert!(complete);
        let expected = Segment { neighbours: segment.neighbours, ..expected };
        prop_assert_eq!(comparable(segment, true), expected);
        prop_assert_eq!(segment.payload as usize, parts.payload.len());
        let judged = match &parts.ip {
            IpHeaders::Ipv4(v4, _) => v4.options.is_empty(),
            IpHeaders::Ipv6(_, extensions) => extensions.destination_options.is_none(),
        };
        let needed = parts.payload.is_empty() || segment.flags.any(Flags::SYN | Flags::FIN | Flags::RST);
        if judged && needed {
            prop_assert_eq!(segment.traits & CHECKSUM, Traits::CHECKSUM_GOOD);
        } else {
            prop_assert!(!segment.traits.has(Traits::CHECKSUM_BAD));
        }
    }

    #[test]
    fn damaged_packets_are_read_as_etherparse_reads_them(
        parts in parts(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = parts.bytes();
        for (place, value) in damage {
            let place = place.index(bytes.len().min(80));
            bytes[place] = value;
        }
        let (result, segment) = decoded(parts.link.number(), &bytes);
        if let Some((expected, complete)) = view(parts.link, &bytes) {
            // etherparse overlooks a total length below the header's; a host does not.
            if result != Decoded::Malformed {
                prop_assert_eq!(result, Decoded::Tcp);
                let expected = Segment { neighbours: segment.neighbours, ..expected };
                prop_assert_eq!(comparable(segment, complete), comparable(expected, complete));
            } else {
                let ip = match parts.link { OracleLink::Raw => 0, OracleLink::Ethernet => 14, OracleLink::Cooked => 16, OracleLink::Vlan => 18, OracleLink::DoubleVlan => 22 };
                let total = u16::from_be_bytes([bytes[ip + 2], bytes[ip + 3]]);
                prop_assert!(total < 60, "{}", total);
            }
        }
    }

    /// Without its link header a packet is decoded layer by layer.
    #[test]
    fn a_usual_packet_is_read_as_its_layers_one_by_one_are(
        parts in parts(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        captured in any::<prop::sample::Index>(),
        trailer in 0_usize..8,
    ) {
        let mut bytes = OracleParts { link: OracleLink::Ethernet, ..parts }.bytes();
        bytes.resize(bytes.len() + trailer, 0);
        for (place, value) in damage {
            let place = 14 + place.index(bytes.len().min(80) - 14);
            bytes[place] = value;
        }
        let length = bytes.len() as u32;
        for captured in [bytes.len(), 14 + captured.index(bytes.len() - 14)] {
            let bytes = &bytes[..captured];
            let (mut whole, mut inner) = (Segment::default(), Segment::default());
            let framed = Packet { original_length: length, ..packet(1, bytes) };
            let bare = Packet { original_length: length - 14, ..packet(101, &bytes[14..]) };
            let (framed, bare) = (decode(&framed, &mut whole), decode(&bare, &mut inner));
            // Of another version than its Ethernet type says it is nothing that IPv4 or IPv6 decode.
            if bytes.get(12..15).is_some_and(|kind| matches!(kind, [0x08, 0x00, version] if version >> 4 == 4)) {
                prop_assert_eq!(framed, bare);
                if framed == Decoded::Tcp {
                    prop_assert_eq!(Segment { neighbours: 0, ..whole }, inner);
                }
            }
        }
    }

    #[test]
    fn cutting_changes_nothing_that_is_still_there(parts in parts()) {
        super::properties::survives_cutting(parts.link.number(), &parts.bytes());
    }
}
