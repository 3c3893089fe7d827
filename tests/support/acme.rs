//! A capture with everything that must not leave the house, and the program run as a user does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const PAYLOAD: &[u8] = b"TOPSECRET-PAYLOAD";
const CLIENT: [u8; 4] = [203, 0, 113, 77];
const SERVER: [u8; 4] = [198, 51, 100, 99];
const CLIENT6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0xca, 0xfe, 0, 1, 0, 0, 0, 0, 0, 0, 0xbe, 0xef];
const SERVER6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0xca, 0xfe, 0, 2, 0, 0, 0, 0, 0, 0, 0xd0, 0x0d];
const MACS: [[u8; 6]; 2] = [[0x52, 0x54, 0, 0xaa, 0xbb, 0x01], [0x52, 0x54, 0, 0xaa, 0xbb, 0x02]];
/// Words that stand in the names, comments, blocks and path of the capture.
const NAMES: [&str; 6] =
    ["acme-customer", "of-acme", "acme", "CLIENT_RANDOM", "52:54:00:aa:bb", "525400aabb"];

/// The link types besides Ethernet, cooked captures and netfilter's log, each with the bytes before IP. They are in
/// hexadecimal, with a `NAME`, the MAC addresses as `M0` and `M1`, and the length of the rest in two bytes as `LEN+2`.
pub const LINKS: &[(u16, &str)] = &[
    (0, "02000000"),
    (9, "ff030021"),
    (12, ""),
    (14, ""),
    (50, "ff030021"),
    (51, "11000001 LEN+2 0021"),
    (100, "aaaa03 000000 0800"),
    (101, ""),
    (104, "0f00 0800"),
    (105, "8801 0000 M1 M0 M1 1000 0000 aaaa03 000000 0800"),
    (107, "1841 0300 cc"),
    (108, "00000002"),
    (109, "02000000 00000000 00000000"),
    (117, "30 02 0000 NAME 000000000000000000000000000000000000000000000000000000000000000000000000000000"),
    (119, "44000000 10000000 NAME 000000 8801 0000 M1 M0 M1 1000 0000 aaaa03 000000 0800"),
    (123, "00000001 aaaa03 000000 0800"),
    (127, "0000 0d00 00000080 00000000 00 8801 0000 M1 M0 M1 1000 0000 aaaa03 000000 0800"),
    (138, "M0 0102 M1 0102 0800"),
    (163, "80211001 00000010 NAME 000000 8801 0000 M1 M0 M1 1000 0000 aaaa03 000000 0800"),
    (166, "01 03 0021"),
    (192, "0000 1000 01000000 NAME 000000 M1 M0 0800"),
    (204, "00 ff03 0021"),
    (205, "01 0f00 0800"),
    (206, "01 1841 0300 cc"),
    (219, "00001140"),
    (228, ""),
    (229, ""),
    (240, "00000000 M1 M0 0800"),
    (258, "14000000 01000000 01000000 NAME 000000 M1 M0 0800"),
    (274, "555555555555 55d5 M1 M0 0800"),
];

/// The bytes of a header of [`LINKS`] before `inside` bytes.
fn header(text: &str, inside: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in text.split_whitespace() {
        match word {
            "NAME" => bytes.extend(b"acme!"),
            "M0" => bytes.extend(MACS[0]),
            "M1" => bytes.extend(MACS[1]),
            "LEN+2" => bytes.extend((inside as u16 + 2).to_be_bytes()),
            digits => bytes.extend(
                (0..digits.len())
                    .step_by(2)
                    .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits")),
            ),
        }
    }
    bytes
}

pub fn synscope(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_synscope"));
    command.args(args).stdin(Stdio::null()).env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
    command.output().expect("the program starts")
}

pub fn done(args: &[&str]) -> Output {
    let output = synscope(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

/// A pcapng with everything that must not leave it: names, comments, secrets, payload, MAC addresses.
pub struct Pcapng(pub Vec<u8>);

impl Pcapng {
    fn block(&mut self, kind: u32, mut body: Vec<u8>) {
        body.resize(body.len().next_multiple_of(4), 0);
        let length = (body.len() as u32 + 12).to_le_bytes();
        self.0.extend(kind.to_le_bytes());
        self.0.extend(length);
        self.0.extend(body);
        self.0.extend(length);
    }

    pub fn option(body: &mut Vec<u8>, code: u16, value: &str) {
        body.extend(code.to_le_bytes());
        body.extend((value.len() as u16).to_le_bytes());
        body.extend(value.as_bytes());
        body.resize(body.len().next_multiple_of(4), 0);
    }

    pub fn new() -> Pcapng {
        Pcapng::on("uplink-of-acme<script>")
    }

    /// With this name of the interface that most packets are of.
    pub fn on(uplink: &str) -> Pcapng {
        let mut file = Pcapng(Vec::new());
        let mut section = Vec::new();
        section.extend(0x1a2b_3c4d_u32.to_le_bytes());
        section.extend([1, 0, 0, 0]);
        section.extend([0xff; 8]);
        Self::option(&mut section, 1, "comment-by-acme");
        Self::option(&mut section, 2, "acme-host");
        section.extend([0; 4]);
        file.block(0x0a0d_0d0a, section);
        for (link, name) in [(1, uplink), (113, "any-of-acme"), (276, "any2-of-acme"), (239, "nflog-of-acme")]
        {
            file.interface(link, name);
        }
        // Name resolution: 203.0.113.77 is db7.acme.example.
        let mut names = vec![1, 0, 21, 0];
        names.extend(CLIENT);
        names.extend(b"db7.acme.example\0");
        names.resize(names.len().next_multiple_of(4), 0);
        names.extend([0; 4]);
        file.block(4, names);
        // Decryption secrets: a TLS key log.
        let secret = b"CLIENT_RANDOM 00 11";
        let mut secrets = b"KSLT".to_vec();
        secrets.extend((secret.len() as u32).to_le_bytes());
        secrets.extend(secret);
        file.block(10, secrets);
        file
    }

    pub fn interface(&mut self, link: u16, name: &str) {
        let mut body = link.to_le_bytes().to_vec();
        body.extend([0; 6]);
        Self::option(&mut body, 2, name);
        Self::option(&mut body, 3, "port 7 of acme-customer");
        body.extend([0; 4]);
        self.block(1, body);
    }

    /// With a host, a comment on the section's statistics and one on a packet of this name.
    pub fn named(mut self, name: &str) -> Pcapng {
        let mut hosts = vec![1, 0, (CLIENT.len() + name.len() + 1) as u8, 0];
        hosts.extend(CLIENT);
        hosts.extend(name.as_bytes());
        hosts.push(0);
        hosts.resize(hosts.len().next_multiple_of(4), 0);
        hosts.extend([0; 4]);
        self.block(4, hosts);
        // Statistics of the first interface.
        let mut statistics = vec![0; 12];
        Self::option(&mut statistics, 1, name);
        statistics.extend([0; 4]);
        self.block(5, statistics);
        let time: u64 = 1_795_356_187_100_000;
        let [high, low] = [(time >> 32) as u32, time as u32];
        let mut packet: Vec<u8> = [0, high, low, 4, 4].iter().flat_map(|n| n.to_le_bytes()).collect();
        packet.extend([0; 4]);
        Self::option(&mut packet, 1, name);
        packet.extend([0; 4]);
        self.block(6, packet);
        self
    }

    pub fn packet(self, ms: u64, data: &[u8]) -> Pcapng {
        self.packet_on(0, ms, data)
    }

    /// A packet of the `interface` of that number.
    pub fn packet_on(mut self, interface: u32, ms: u64, data: &[u8]) -> Pcapng {
        let time = 1_795_356_187_000_000 + ms * 1000;
        let mut body = interface.to_le_bytes().to_vec();
        body.extend(((time >> 32) as u32).to_le_bytes());
        body.extend((time as u32).to_le_bytes());
        body.extend((data.len() as u32).to_le_bytes());
        body.extend((data.len() as u32).to_le_bytes());
        body.extend(data);
        body.resize(body.len().next_multiple_of(4), 0);
        Self::option(&mut body, 1, "comment-by-acme");
        body.extend([0; 4]);
        self.block(6, body);
        self
    }

    /// Two refused connections with data in the SYN, an ICMP error that quotes one, ARP and UDP around them.
    pub fn acme() -> Pcapng {
        Pcapng::new().then_acme()
    }

    pub fn then_acme(self) -> Pcapng {
        let syn = |port: u16, seq| {
            etherparse::PacketBuilder::ethernet2(MACS[0], MACS[1])
                .ipv4(CLIENT, SERVER, 64)
                .tcp(port, 80, seq, 65_000)
                .syn()
        };
        let reset = |port: u16, seq| {
            etherparse::PacketBuilder::ethernet2(MACS[1], MACS[0])
                .ipv4(SERVER, CLIENT, 64)
                .tcp(80, port, 0, 0)
                .rst()
                .ack(seq)
        };
        let syn6 = etherparse::PacketBuilder::ethernet2(MACS[0], MACS[1])
            .ipv6(CLIENT6, SERVER6, 64)
            .tcp(41_000, 81, 500, 65_000)
            .syn();
        let reset6 = etherparse::PacketBuilder::ethernet2(MACS[1], MACS[0])
            .ipv6(SERVER6, CLIENT6, 64)
            .tcp(81, 41_000, 0, 0)
            .rst()
            .ack(518);
        let udp = etherparse::PacketBuilder::ethernet2(MACS[0], MACS[1]).ipv4(CLIENT, SERVER, 64).udp(53, 53);
        let mut arp = [MACS[1], MACS[0]].concat();
        arp.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        arp.extend(MACS[0]);
        arp.extend(CLIENT);
        arp.extend([0; 6]);
        arp.extend(SERVER);
        let built =
            |builder: etherparse::PacketBuilderStep<etherparse::TcpHeader>, payload: &[u8]| -> Vec<u8> {
                let mut out = Vec::new();
                builder.write(&mut out, payload).expect("a packet in memory");
                out
            };
        let datagram = |payload: &[u8]| {
            let mut out = Vec::new();
            udp.write(&mut out, payload).expect("a packet in memory");
            out
        };
        let first = built(syn(40_001, 100), PAYLOAD);
        let quoting = {
            let mut quote = first[14..].to_vec();
            quote.truncate(20 + 20 + PAYLOAD.len());
            let mut out = Vec::new();
            etherparse::PacketBuilder::ethernet2(MACS[1], MACS[0])
                .ipv4(SERVER, CLIENT, 64)
                .icmpv4_raw(3, 3, [0; 4])
                .write(&mut out, &quote)
                .expect("a packet in memory");
            out
        };
        self.packet(0, &first)
            .packet(1, &built(reset(40_001, 118), b""))
            .packet(2, &arp)
            .packet(3, &datagram(PAYLOAD))
            .packet(10, &built(syn(40_002, 900), PAYLOAD))
            .packet(11, &quoting)
            .packet(12, &built(reset(40_002, 918), b""))
            .packet(20, &built(syn6, PAYLOAD))
            .packet(21, &built(reset6, b""))
    }

    /// The same, and refused connections in every wrapping, with names and addresses wherever there is room for them.
    pub fn everywhere() -> Pcapng {
        let tcp = |port: u16, server: bool, options: &[u8], payload: &[u8]| {
            let (from, to) = if server { (SERVER, CLIENT) } else { (CLIENT, SERVER) };
            let ip = etherparse::PacketBuilder::ipv4(from, to, 64);
            let mut out = Vec::new();
            match server {
                true => ip.tcp(80, port, 0, 0).rst().ack(118).write(&mut out, payload),
                false => ip
                    .tcp(port, 80, 100, 65_000)
                    .syn()
                    .options_raw(options)
                    .expect("options fit")
                    .write(&mut out, payload),
            }
            .expect("a packet in memory");
            out
        };
        let v4 = |protocol: u8, body: &[u8]| {
            let mut out = Vec::new();
            etherparse::PacketBuilder::ipv4(CLIENT, SERVER, 64)
                .write(&mut out, etherparse::IpNumber(protocol), body)
                .expect("a packet in memory");
            out
        };
        let udp = |port: u16, body: &[u8]| {
            let mut out = Vec::new();
            let builder = etherparse::PacketBuilder::ipv4(CLIENT, SERVER, 64).udp(53_000, port);
            builder.write(&mut out, body).expect("a packet in memory");
            out
        };
        let ethernet = |kind: u16, body: &[u8]| [&MACS[1][..], &MACS[0], &kind.to_be_bytes(), body].concat();
        // Link type (0: Ethernet, 1: cooked, 2: cooked version 2, 3: netfilter's log) and what stands before IP.
        type Wrap<'w> = (u32, Box<dyn Fn(&[u8]) -> Vec<u8> + 'w>);
        let cooked = [&[0, 0, 0, 1, 0, 6][..], &MACS[0], &[0, 0, 8, 0]].concat();
        let cooked_2 = [&[8, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 6][..], &MACS[0], &[0, 0]].concat();
        let wraps: Vec<Wrap<'_>> = vec![
            (0, Box::new(|ip| ethernet(0x8100, &[&[0, 7, 8, 0][..], ip].concat()))),
            (0, Box::new(|ip| ethernet(0x88a8, &[&[0, 7, 0x81, 0, 0, 9, 8, 0][..], ip].concat()))),
            (0, Box::new(|ip| ethernet(0x8847, &[&[0, 1, 0x11, 64][..], ip].concat()))),
            (0, Box::new(|ip| ethernet(0x0800, &v4(47, &[&[0, 0, 8, 0][..], ip].concat())))),
            (0, Box::new(|ip| ethernet(0x0800, &v4(4, ip)))),
            (
                0,
                Box::new(|ip| {
                    let inner = ethernet(0x0800, ip);
                    ethernet(0x0800, &udp(4789, &[&[8, 0, 0, 0, 0, 1, 0, 0][..], &inner].concat()))
                }),
            ),
            (
                0,
                Box::new(|ip| {
                    let inner = ethernet(0x0800, ip);
                    let header = [&[3, 0, 0x65, 0x58, 0, 0, 1, 0, 1, 2, 3, 2][..], b"acme-db7"].concat();
                    ethernet(0x0800, &udp(6081, &[&header[..], &inner].concat()))
                }),
            ),
            (1, Box::new(|ip| [&cooked[..], ip].concat())),
            (2, Box::new(|ip| [&cooked_2[..], ip].concat())),
            (
                3,
                Box::new(|ip| {
                    let length = (ip.len() as u16 + 4).to_le_bytes();
                    let prefix = b"acme-host\0\0\0";
                    let mac = [&[0, 6, 0, 0][..], &MACS[0], &[0, 0]].concat();
                    let attributes: [&[u8]; 5] =
                        [&[16, 0, 10, 0], prefix, &[16, 0, 8, 0], &mac, &[length[0], length[1], 9, 0]];
                    let mut out = [&[2, 0, 0, 0][..], &attributes.concat(), ip].concat();
                    out.resize(out.len().next_multiple_of(4), 0);
                    out
                }),
            ),
        ];
        let mut file = Pcapng::acme();
        let mut ms = 30;
        // A load balancer's option with the client's address, and MPTCP's announcement of one.
        let toa = [&[254, 8, 0x9c, 0x40][..], &CLIENT, &[30, 8, 0x30, 1], &SERVER].concat();
        for (n, (interface, wrap)) in wraps.iter().enumerate() {
            let port = 42_000 + n as u16;
            file = file.packet_on(*interface, ms, &wrap(&tcp(port, false, &toa, PAYLOAD)));
            file = file.packet_on(*interface, ms + 1, &wrap(&tcp(port, true, &[], b"")));
            ms += 10;
        }
        // Names in a query, a lease and an announcement of the neighbour.
        let query = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x03db7\x04acme\x07example\0\0\x01\0\x01";
        let lease = [&[0; 28][..], &MACS[0], b"acme-host", &CLIENT].concat();
        let neighbour = [&[2, 7, 4][..], &MACS[0], &[10, 9], b"acme-host"].concat();
        file = file.packet(ms, &ethernet(0x0800, &udp(53, query)));
        file = file.packet(ms + 1, &ethernet(0x0800, &udp(67, &lease)));
        file = file.packet(ms + 2, &ethernet(0x88cc, &neighbour));
        // An ICMPv6 error that quotes, and a redirect that names a router.
        let mut quoted = Vec::new();
        etherparse::PacketBuilder::ipv6(CLIENT6, SERVER6, 64)
            .tcp(41_000, 81, 500, 65_000)
            .syn()
            .write(&mut quoted, PAYLOAD)
            .expect("a packet in memory");
        let mut error = Vec::new();
        etherparse::PacketBuilder::ipv6(SERVER6, CLIENT6, 64)
            .icmpv6_raw(1, 4, [0; 4])
            .write(&mut error, &quoted)
            .expect("a packet in memory");
        file = file.packet(ms + 3, &ethernet(0x86dd, &error));
        let redirect = [&[5, 1, 0, 0][..], &SERVER, &tcp(42_000, false, &[], PAYLOAD)].concat();
        file.packet(ms + 4, &ethernet(0x0800, &v4(1, &redirect)))
    }

    /// The same, and a refused connection on each link type that is decoded, each on an interface of its own.
    pub fn every_link_type() -> Pcapng {
        let packet = |six: bool, port: u16, server: bool| {
            let tcp = |ip: etherparse::PacketBuilderStep<etherparse::IpHeaders>| match server {
                true => ip.tcp(80, port, 0, 0).rst().ack(118),
                false => ip.tcp(port, 80, 100, 65_000).syn(),
            };
            let ip = match (six, server) {
                (false, false) => etherparse::PacketBuilder::ipv4(CLIENT, SERVER, 64),
                (false, true) => etherparse::PacketBuilder::ipv4(SERVER, CLIENT, 64),
                (true, false) => etherparse::PacketBuilder::ipv6(CLIENT6, SERVER6, 64),
                (true, true) => etherparse::PacketBuilder::ipv6(SERVER6, CLIENT6, 64),
            };
            let mut out = Vec::new();
            tcp(ip).write(&mut out, if server { b"" } else { PAYLOAD }).expect("a packet in memory");
            out
        };
        let mut file = Pcapng::everywhere();
        for (n, (link, before)) in (0..).zip(LINKS) {
            file.interface(*link, &format!("link-{link}-of-acme"));
            for server in [false, true] {
                let ip = packet(*link == 229, 43_000 + n, server);
                let ms = 1_000 + u64::from(n) * 10 + u64::from(server);
                file = file.packet_on(4 + u32::from(n), ms, &[header(before, ip.len()), ip].concat());
            }
        }
        file.named("host-of-acme")
    }

    pub fn written(&self, folder: &Path) -> PathBuf {
        let path = folder.join("acme-customer.pcapng");
        fs::write(&path, &self.0).expect("the temporary folder can be written");
        path
    }
}

/// What of the original is left in `bytes`.
pub fn left_of_it(bytes: &[u8]) -> Vec<String> {
    let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    let shown = String::from_utf8_lossy(bytes);
    let mut left: Vec<String> =
        NAMES.iter().filter(|name| shown.contains(**name)).map(|n| (*n).to_owned()).collect();
    // Not even a few bytes of it.
    if PAYLOAD.windows(5).any(holds) {
        left.push("payload".to_owned());
    }
    for (what, needle) in [
        ("client", &CLIENT[..]),
        ("server", &SERVER[..]),
        ("client, IPv6", &CLIENT6[..]),
        ("server, IPv6", &SERVER6[..]),
        ("client, backward", &[77, 113, 0, 203]),
        ("network of the servers, IPv6", &SERVER6[..6]),
        ("MAC address", &MACS[0][..]),
        ("MAC address", &MACS[1][..]),
    ] {
        if holds(needle) {
            left.push(what.to_owned());
        }
    }
    // Forward, backward, as numbers and as names of hosts are made of them.
    for address in [
        "203.0.113.77",
        "198.51.100.99",
        "77.113.0.203",
        "203-0-113-77",
        "cb00714d",
        "3405803853",
        "c6336463",
        "3325256803",
        "2001:db8:cafe:1::beef",
        "2001:db8:cafe:2::d00d",
        "2001:0db8:cafe",
        "20010db8cafe",
    ] {
        if shown.to_lowercase().contains(address) {
            left.push(address.to_owned());
        }
    }
    left
}
