//! Packets that are almost right: valid stacks of link layers, tags, IP with extension headers, tunnels and TCP, in which
//! one length, offset or type may be broken.
//!
//! Everything follows from a few bytes of choices, so that a fuzzer that varies them varies the structure and not only
//! the bytes. Tests and fuzz targets share this file.

/// Choices that bytes make: each byte one, all of them the first alternative once the bytes are used up.
pub struct Choices<'a> {
    bytes: &'a [u8],
}

impl<'a> Choices<'a> {
    /// Those of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Choices<'a> {
        Choices { bytes }
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        match self.bytes {
            [first, rest @ ..] => {
                self.bytes = rest;
                *first
            }
            [] => 0,
        }
    }

    /// The next two bytes.
    pub fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A number below `n`, which is 256 at most.
    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n.max(1)
    }

    /// One of `alternatives`.
    pub fn of<T: Copy>(&mut self, alternatives: &[T]) -> T {
        alternatives[self.below(alternatives.len())]
    }

    /// Whether something happens that happens once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }
}

/// A field that can be broken: where it begins and how many bytes it has.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub at: usize,
    pub width: usize,
}

/// Bytes of which it is known where lengths, offsets and types are.
#[derive(Clone, Debug, Default)]
pub struct Piece {
    pub bytes: Vec<u8>,
    pub fields: Vec<Field>,
}

impl Piece {
    /// A piece of `bytes` with fields at these places of these widths.
    pub fn new(bytes: Vec<u8>, fields: &[(usize, usize)]) -> Piece {
        Piece { bytes, fields: fields.iter().map(|&(at, width)| Field { at, width }).collect() }
    }

    /// This piece behind a header.
    pub fn behind(mut self, header: Vec<u8>, fields: &[(usize, usize)]) -> Piece {
        let mut whole = Piece::new(header, fields);
        let moved = whole.bytes.len();
        whole.fields.extend(self.fields.iter().map(|field| Field { at: field.at + moved, ..*field }));
        whole.bytes.append(&mut self.bytes);
        whole
    }

    /// Puts a hostile value into one field.
    pub fn break_one(&mut self, choices: &mut Choices<'_>) {
        let Some(place) = self.fields.len().checked_sub(1) else { return };
        let Field { at, width } = self.fields[usize::from(choices.word()) % (place + 1)];
        let Some(field) = self.bytes.get(at..at + width) else { return };
        let value = field.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        let left = (self.bytes.len() - at) as u64;
        let most = u64::MAX >> (64 - 8 * width);
        let broken = match choices.below(20) {
            0 => 0,
            1 => 1,
            2 => most,
            3 => most - 1,
            4 => most / 2 + 1,
            5 => most / 2,
            6 => value.wrapping_add(1),
            7 => value.wrapping_sub(1),
            8 => value ^ 1 << choices.below(8 * width),
            9 => value.wrapping_add(4),
            10 => value.wrapping_sub(4),
            11 => value.wrapping_add(8),
            12 => value.wrapping_sub(8),
            13 => left,
            14 => left.wrapping_sub(1),
            15 => left.wrapping_add(1),
            16 => choices.below(64).try_into().unwrap_or(0),
            17 => u64::from(choices.of(&TYPES)),
            18 => u64::from(choices.word()),
            // The other byte order.
            _ => value.swap_bytes() >> (64 - 8 * width),
        } & most;
        self.bytes[at..at + width].copy_from_slice(&broken.to_be_bytes()[8 - width..]);
    }
}

/// Numbers of protocols and Ethernet types that mean something to a decoder.
const TYPES: [u16; 40] = [
    0, 1, 4, 6, 17, 41, 43, 44, 47, 50, 51, 58, 59, 60, 97, 135, 137, 139, 140, 143, 0x0800, 0x86dd, 0x8100,
    0x88a8, 0x9100, 0x8926, 0x8847, 0x8848, 0x8864, 0x6558, 0x88be, 0x22eb, 0x880b, 0x883e, 0x88e7, 0x0806,
    4789, 6081, 2152, 3544,
];

/// A packet as a capture would hold it.
#[derive(Clone, Debug)]
pub struct Frame {
    pub link: u16,
    /// The captured bytes.
    pub bytes: Vec<u8>,
    /// How long it was on the wire.
    pub original_length: u32,
    /// Whether nothing was broken and nothing cut: then a TCP segment is in it.
    pub intact: bool,
}

/// A packet of any link type.
pub fn frame(choices: &mut Choices<'_>) -> Frame {
    let breaks = match choices.below(16) {
        0 => 0,
        1..=12 => 1,
        13 | 14 => 2,
        _ => 5,
    };
    let cut = choices.once_in(8);
    let (link, mut piece) = link(choices);
    for _ in 0..breaks {
        piece.break_one(choices);
    }
    finish(link, piece, breaks == 0, cut, choices)
}

fn finish(link: u16, piece: Piece, intact: bool, cut: bool, choices: &mut Choices<'_>) -> Frame {
    let mut bytes = piece.bytes;
    let mut original_length = bytes.len() as u32;
    if cut {
        bytes.truncate(usize::from(choices.word()) % (bytes.len() + 1));
        match choices.below(4) {
            0 => original_length = bytes.len() as u32,
            1 => original_length = u32::from(choices.word()) << 16 | u32::from(choices.word()),
            _ => {}
        }
    }
    Frame { link, bytes, original_length, intact: intact && !cut }
}

/// A link header and its payload.
fn link(choices: &mut Choices<'_>) -> (u16, Piece) {
    const LINKS: [u16; 36] = [
        1, 1, 1, 0, 9, 12, 14, 50, 51, 100, 101, 104, 105, 107, 108, 109, 113, 117, 119, 123, 127, 138, 163,
        166, 192, 204, 205, 206, 219, 228, 229, 239, 240, 258, 274, 276,
    ];
    let link = choices.of(&LINKS);
    let v6 = match link {
        228 => false,
        229 => true,
        _ => choices.byte() & 1 != 0,
    };
    (link, on_link(link, v6, choices))
}

/// Behind an Ethernet type: IP, or tags and tunnels of the link layer before it.
fn typed(choices: &mut Choices<'_>, depth: u8) -> (u16, Piece) {
    let v6 = choices.byte() & 1 != 0;
    if depth > 2 {
        return (if v6 { 0x86dd } else { 0x0800 }, ip(v6, choices, depth));
    }
    let tag = |kind: u16, inner: Piece, choices: &mut Choices<'_>| {
        let [a, b] = kind.to_be_bytes();
        inner.behind(vec![choices.byte(), choices.byte(), a, b], &[(2, 2)])
    };
    match choices.below(16) {
        0 | 1 => {
            let (kind, inner) = typed(choices, depth + 1);
            (choices.of(&[0x8100, 0x88a8, 0x9100]), tag(kind, inner, choices))
        }
        2 => {
            let (kind, inner) = typed(choices, depth + 1);
            (0x8926, tag(kind, inner, choices).behind(vec![0, 1], &[]))
        }
        3 => (choices.of(&[0x8847, 0x8848]), mpls(ip(v6, choices, depth + 1), choices)),
        4 => (0x8847, mpls(ethernet(choices, 3).behind(vec![0; 4], &[]), choices)),
        5 => (0x8864, pppoe(ppp(v6, choices, depth + 1))),
        6 => (0x6558, ethernet(choices, depth + 1)),
        7 => (0x88e7, ethernet(choices, depth + 1).behind(vec![0; 4], &[])),
        8 => {
            let inner = llc(choices, depth + 1);
            (inner.bytes.len().min(1500) as u16, inner)
        }
        _ => (if v6 { 0x86dd } else { 0x0800 }, ip(v6, choices, depth)),
    }
}

fn ethernet(choices: &mut Choices<'_>, depth: u8) -> Piece {
    let (kind, inner) = typed(choices, depth);
    inner.behind([&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1][..], &kind.to_be_bytes()].concat(), &[(12, 2)])
}

fn llc(choices: &mut Choices<'_>, depth: u8) -> Piece {
    let (kind, inner) = typed(choices, depth);
    if kind < 0x600 {
        return ip(false, choices, depth).behind(vec![6, 6, 3], &[(0, 2)]);
    }
    let header = [&[0xaa, 0xaa, 3, 0, 0, 0][..], &kind.to_be_bytes()].concat();
    inner.behind(header, &[(0, 2), (3, 3), (6, 2)])
}

fn mpls(inner: Piece, choices: &mut Choices<'_>) -> Piece {
    let mut whole = inner.behind(vec![0, 2, 1, 64], &[(2, 1)]);
    for _ in 0..choices.below(3) {
        whole = whole.behind(vec![0, 1, 0, 64], &[(2, 1)]);
    }
    whole
}

fn pppoe(inner: Piece) -> Piece {
    let [a, b] = (inner.bytes.len() as u16).to_be_bytes();
    inner.behind(vec![0x11, 0, 0, 1, a, b], &[(0, 1), (1, 1), (4, 2)])
}

fn ppp(v6: bool, choices: &mut Choices<'_>, depth: u8) -> Piece {
    let inner = ip(v6, choices, depth);
    match choices.below(3) {
        0 => inner.behind(vec![0, if v6 { 0x57 } else { 0x21 }], &[(0, 2)]),
        1 => inner.behind(vec![if v6 { 0x57 } else { 0x21 }], &[(0, 1)]),
        _ => inner.behind(vec![0xff, 3, 0, if v6 { 0x57 } else { 0x21 }], &[(0, 2), (2, 2)]),
    }
}

/// What a link type puts before its packet.
fn on_link(link: u16, v6: bool, choices: &mut Choices<'_>) -> Piece {
    let family = if v6 { choices.of(&[10, 24, 28, 30]) } else { 2 };
    match link {
        1 => ethernet(choices, 0),
        0 => ip(v6, choices, 0).behind(vec![family, 0, 0, 0], &[(0, 4)]),
        108 => ip(v6, choices, 0).behind(vec![0, 0, 0, family], &[(0, 4)]),
        109 => ip(v6, choices, 0).behind(vec![0; 12], &[]),
        117 => {
            let header = [&[61, family][..], &[0; 62]].concat();
            ip(v6, choices, 0).behind(header, &[(0, 1), (1, 1)])
        }
        9 | 50 => ppp(v6, choices, 0),
        51 => pppoe(ppp(v6, choices, 0)),
        166 => ppp(v6, choices, 0).behind(vec![1], &[(0, 1)]),
        204 => ppp(v6, choices, 0).behind(vec![0], &[(0, 1)]),
        100 => llc(choices, 0),
        123 => llc(choices, 0).behind(vec![0; 4], &[]),
        104 | 205 => {
            let inner = type_behind(vec![0x0f, 0], choices);
            if link == 205 { inner.behind(vec![1], &[(0, 1)]) } else { inner }
        }
        107 | 206 => {
            let inner = ip(v6, choices, 0).behind(vec![3, if v6 { 0x8e } else { 0xcc }], &[(0, 1), (1, 1)]);
            let inner = inner.behind(vec![0x18, 0x41], &[(0, 1), (1, 1)]);
            if link == 206 { inner.behind(vec![0], &[(0, 1)]) } else { inner }
        }
        113 => type_behind([&[0, 4, 0, 1, 0, 6][..], &[0; 8]].concat(), choices),
        276 => {
            let (kind, inner) = typed_number(choices);
            inner.behind([&kind.to_be_bytes()[..], &[0; 18]].concat(), &[(0, 2), (10, 1)])
        }
        138 => type_behind(vec![0; 16], choices),
        219 => mpls(ip(v6, choices, 0), choices),
        240 => ethernet(choices, 0).behind(vec![0; 4], &[]),
        274 => ethernet(choices, 0).behind(vec![0x55; 8], &[]),
        239 => nflog(v6, family, choices),
        105 | 119 | 127 | 163 | 192 | 258 => wireless(link, choices),
        _ => ip(v6, choices, 0),
    }
}

/// An Ethernet type that a cooked header can carry: no length.
fn typed_number(choices: &mut Choices<'_>) -> (u16, Piece) {
    match typed(choices, 0) {
        (kind, inner) if kind >= 0x600 => (kind, inner),
        _ => (0x0800, ip(false, choices, 0)),
    }
}

/// A header that ends in an Ethernet type.
fn type_behind(mut header: Vec<u8>, choices: &mut Choices<'_>) -> Piece {
    let (kind, inner) = typed_number(choices);
    let at = header.len();
    header.extend(kind.to_be_bytes());
    inner.behind(header, &[(0, 2), (at, 2)])
}

fn nflog(v6: bool, family: u8, choices: &mut Choices<'_>) -> Piece {
    let inner = ip(v6, choices, 0);
    let [low, high] = ((inner.bytes.len() + 4) as u16).to_le_bytes();
    let family = if family == 2 { 2 } else { 10 };
    let header = vec![family, 0, 0, 0, 8, 0, 1, 0, 8, 0, 1, 0, 5, 0, 10, 0, b'x', 0, 0, 0, low, high, 9, 0];
    inner.behind(header, &[(0, 1), (4, 2), (6, 2), (12, 2), (14, 2), (20, 2), (22, 2)])
}

fn wireless(link: u16, choices: &mut Choices<'_>) -> Piece {
    let quality = choices.byte() & 1 != 0;
    let mut header = vec![if quality { 0x88 } else { 0x08 }, choices.of(&[1, 2, 3])];
    header.extend([0; 22]);
    if header[1] == 3 {
        header.extend([0; 6]);
    }
    if quality {
        header.extend([0; 2]);
    }
    let frame = llc(choices, 0).behind(header, &[(0, 1), (1, 1), (22, 1)]);
    match link {
        127 => {
            frame.behind(vec![0, 0, 13, 0, 2, 0, 0, 0x80, 0, 0, 0, 0, 0], &[(0, 1), (2, 2), (4, 4), (8, 4)])
        }
        119 => {
            let header = [&[0x44, 0, 0, 0, 16, 0, 0, 0][..], &[0; 8]].concat();
            frame.behind(header, &[(0, 4), (4, 4)])
        }
        163 => {
            let header = [&[0x80, 0x21, 0x10, 2, 0, 0, 0, 16][..], &[0; 8]].concat();
            frame.behind(header, &[(0, 4), (4, 4)])
        }
        192 => frame.behind(vec![0, 0, 8, 0, 105, 0, 0, 0], &[(2, 2), (4, 4)]),
        258 => frame.behind(vec![12, 0, 0, 0, 1, 0, 0, 0, 105, 0, 0, 0], &[(0, 4), (4, 4), (8, 4)]),
        _ => frame,
    }
}

/// An IP packet.
fn ip(v6: bool, choices: &mut Choices<'_>, depth: u8) -> Piece {
    if v6 { ip_v6(choices, depth) } else { ip_v4(choices, depth) }
}

/// One of few hosts, so that connections come about.
fn host(choices: &mut Choices<'_>) -> u8 {
    1 + choices.of(&[0, 1, 1, 2])
}

fn ip_v4(choices: &mut Choices<'_>, depth: u8) -> Piece {
    let (mut protocol, mut inner) = upper(false, choices, depth);
    if choices.once_in(8) {
        inner = authentication(protocol, inner);
        protocol = 51;
    }
    let words = if choices.once_in(4) { 1 + choices.below(10) } else { 0 };
    let header = 20 + 4 * words;
    // A total length of 0 is what segmentation offload leaves.
    let total = if choices.once_in(8) { 0 } else { (header + inner.bytes.len()) as u16 };
    let [high, low] = total.to_be_bytes();
    let mut bytes =
        vec![0x45 + words as u8, 0, high, low, 0, choices.byte(), 0x40, 0, 64, protocol, 0, 0, 10, 0, 0];
    bytes.extend([host(choices), 10, 0, 0, 1]);
    bytes.resize(header, 1);
    inner.behind(bytes, &[(0, 1), (2, 2), (6, 2), (9, 1)])
}

fn ip_v6(choices: &mut Choices<'_>, depth: u8) -> Piece {
    let (mut next, mut body) = upper(true, choices, depth);
    let extensions = if choices.once_in(2) { 1 + choices.below(4) } else { 0 };
    for _ in 0..extensions {
        (next, body) = extension(next, body, choices);
    }
    let jumbo = choices.below(16);
    if jumbo >= 14 {
        let total = (body.bytes.len() + 8) as u32;
        if choices.byte() & 1 == 0 {
            let header = [&[next, 0, 0xc2, 4][..], &total.to_be_bytes()].concat();
            body = body.behind(header, &[(0, 1), (1, 1), (2, 1), (3, 1), (4, 4), (6, 2)]);
        } else {
            // Behind padding.
            let header =
                [&[next, 1, 1, 6, 0, 0, 0, 0, 0, 0, 0xc2, 4][..], &(total + 8).to_be_bytes()].concat();
            body = body.behind(header, &[(0, 1), (1, 1), (2, 1), (3, 1), (10, 1), (11, 1), (12, 4), (14, 2)]);
        }
        next = 0;
    }
    let length = if jumbo >= 13 { 0 } else { body.bytes.len() as u16 };
    let [high, low] = length.to_be_bytes();
    let mut bytes =
        vec![0x60, 0, 0, 0, high, low, next, 64, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.push(host(choices));
    bytes.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    body.behind(bytes, &[(0, 1), (4, 2), (6, 1)])
}

/// An extension header of IPv6 before `body`.
fn extension(next: u8, body: Piece, choices: &mut Choices<'_>) -> (u8, Piece) {
    match choices.below(8) {
        // Whole: neither an offset nor more fragments.
        0 => (44, body.behind(vec![next, 0, 0, 0, 0, 0, 0, 1], &[(0, 1), (2, 2)])),
        1 => (51, authentication(next, body)),
        _ => {
            let units = choices.below(3);
            let mut header = vec![next, units as u8, 1, 4];
            header.resize(8 + 8 * units, 0);
            (choices.of(&[0, 43, 60, 135, 139, 140]), body.behind(header, &[(0, 1), (1, 1), (3, 1)]))
        }
    }
}

fn authentication(next: u8, body: Piece) -> Piece {
    let mut header = vec![next, 4];
    header.resize(24, 7);
    body.behind(header, &[(0, 1), (1, 1)])
}

/// What IP carries: its number, and it.
fn upper(v6: bool, choices: &mut Choices<'_>, depth: u8) -> (u8, Piece) {
    if depth > 2 {
        return (6, tcp(choices));
    }
    match choices.below(24) {
        0 => (4, ip(false, choices, depth + 1)),
        1 => (41, ip(true, choices, depth + 1)),
        2..=5 => (17, udp(choices, depth + 1)),
        6..=8 => (47, gre(choices, depth + 1)),
        9 => (97, ethernet(choices, depth + 1).behind(vec![0x30, 0], &[(0, 1)])),
        10 => {
            let inner = choices.byte() & 1 != 0;
            (137, mpls(ip(inner, choices, depth + 1), choices))
        }
        11 => (143, ethernet(choices, depth + 1)),
        12 | 13 => icmp(v6, choices),
        _ => (6, tcp(choices)),
    }
}

fn udp(choices: &mut Choices<'_>, depth: u8) -> Piece {
    let v6 = choices.byte() & 1 != 0;
    let (port, inner) = match choices.below(8) {
        0 => (4789, ethernet(choices, depth).behind(vec![8, 0, 0, 0, 0, 0, 7, 0], &[(0, 1), (3, 1)])),
        1 => (8472, ethernet(choices, depth).behind(vec![8, 0, 0, 0, 0, 0, 7, 0], &[(0, 1)])),
        2 => {
            let header = vec![0x0c, 0, 0, if v6 { 2 } else { 1 }, 0, 0, 7, 0];
            (4790, ip(v6, choices, depth).behind(header, &[(0, 1), (3, 1)]))
        }
        3 => {
            let (kind, inner) = typed_inside(choices, depth);
            let units = choices.below(4);
            let mut header = vec![units as u8, 0];
            header.extend(kind.to_be_bytes());
            header.resize(8 + 4 * units, 0);
            (6081, inner.behind(header, &[(0, 1), (2, 2)]))
        }
        4 | 5 => (2152, gtp_u(v6, choices, depth)),
        6 => {
            let inner = ip(true, choices, depth);
            match choices.below(3) {
                0 => (3544, inner),
                1 => (3544, inner.behind(vec![0; 8], &[(0, 2)])),
                _ => (3544, inner.behind([&[0, 1, 4, 4][..], &[0; 17]].concat(), &[(0, 2), (2, 1), (3, 1)])),
            }
        }
        _ => (6635, mpls(ip(v6, choices, depth), choices)),
    };
    let [high, low] = u16::to_be_bytes(port);
    let [a, b] = ((inner.bytes.len() + 8) as u16).to_be_bytes();
    inner.behind(vec![0xd4, 0x31, high, low, a, b, 0, 0], &[(0, 2), (2, 2), (4, 2)])
}

fn typed_inside(choices: &mut Choices<'_>, depth: u8) -> (u16, Piece) {
    match choices.below(3) {
        0 => (0x0800, ip(false, choices, depth)),
        1 => (0x86dd, ip(true, choices, depth)),
        _ => (0x6558, ethernet(choices, depth)),
    }
}

fn gtp_u(v6: bool, choices: &mut Choices<'_>, depth: u8) -> Piece {
    let mut inner = ip(v6, choices, depth);
    let extensions = choices.below(3);
    let mut next = 0;
    for _ in 0..extensions {
        inner = inner.behind(vec![1, 0, 0, next], &[(0, 1), (3, 1)]);
        next = 0x85;
    }
    if extensions > 0 {
        inner = inner.behind(vec![0, 0, 0, next], &[(3, 1)]);
    }
    let [high, low] = (inner.bytes.len() as u16).to_be_bytes();
    let flags = if extensions > 0 { 0x34 } else { 0x30 };
    inner.behind(vec![flags, 255, high, low, 0, 0, 0, 1], &[(0, 1), (1, 1), (2, 2)])
}

fn gre(choices: &mut Choices<'_>, depth: u8) -> Piece {
    let v6 = choices.byte() & 1 != 0;
    let (flags, kind, inner) = match choices.below(7) {
        0 => (0x1000, 0x88be, ethernet(choices, depth).behind(vec![0; 8], &[])),
        1 => (0, 0x88be, ethernet(choices, depth)),
        2 => (0x1000, 0x22eb, ethernet(choices, depth).behind(vec![0; 12], &[(10, 2)])),
        3 => {
            let header = [&[0; 10][..], &[8, 1], &[0; 8]].concat();
            (0x1000, 0x22eb, ip(v6, choices, depth).behind(header, &[(10, 2)]))
        }
        4 => (0x3001, 0x880b, ppp(v6, choices, depth)),
        5 => (0, 0x883e, ip(false, choices, depth).behind(vec![0; 4], &[(0, 1)])),
        _ => {
            let (kind, inner) = typed_inside(choices, depth);
            (choices.of(&[0, 0x1000, 0x2000, 0x3000, 0x8000, 0xb000]), kind, inner)
        }
    };
    let optional: usize = [0x8000_u16, 0x2000, 0x1000].iter().filter(|bit| flags & **bit != 0).count();
    let mut header = [flags.to_be_bytes(), u16::to_be_bytes(kind)].concat();
    header.resize(4 + 4 * optional, 0);
    inner.behind(header, &[(0, 1), (1, 1), (2, 2)])
}

/// An ICMP error that quotes a TCP segment.
fn icmp(v6: bool, choices: &mut Choices<'_>) -> (u8, Piece) {
    let mut quote = if v6 { ip_v6(choices, 3) } else { ip_v4(choices, 3) };
    // The authentication header of IPv4 is not followed in a quote.
    if !v6 && quote.bytes[9] != 6 {
        quote = tcp(choices).behind(
            vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1],
            &[(0, 1), (2, 2), (6, 2), (9, 1)],
        );
    }
    let kind = if v6 { choices.of(&[1, 2, 3, 4]) } else { choices.of(&[3, 4, 11, 12]) };
    let header = vec![kind, choices.of(&[0, 3, 4]), 0, 0, 0, 0, 5, 0x78];
    (if v6 { 58 } else { 1 }, quote.behind(header, &[(0, 1), (1, 1)]))
}

/// A TCP segment: of few ports and sequence numbers, some of them about to wrap.
fn tcp(choices: &mut Choices<'_>) -> Piece {
    const FLAGS: [u8; 10] = [0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x14, 0x00, 0x3f, 0x19];
    const OPTIONS: [&[u8]; 8] = [
        &[],
        &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
        &[2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7],
        &[2, 4, 5, 0xb4],
        &[1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2],
        &[34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1],
        &[254, 4, 0xf9, 0x89],
        &[30, 4, 1, 2],
    ];
    let client = [0x82, 0x35 + choices.below(3) as u8];
    let (from, to) = if choices.byte() & 1 == 0 { (client, [0, 80]) } else { ([0, 80], client) };
    let seq = choices.of(&[0_u32, 1, 2, 101, 1461, 0x7fff_ffff, 0x8000_0000, 0xffff_fff0, 0xffff_ffff]);
    let ack = choices.of(&[0_u32, 1, 2, 101, 1461, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]);
    let flags = choices.of(&FLAGS);
    let options = choices.of(&OPTIONS);
    let payload = choices.of(&[0_usize, 0, 1, 2, 3, 8, 100]);
    let offset = (5 + options.len() / 4) as u8;
    let mut bytes = [from, to].concat();
    bytes.extend(seq.to_be_bytes());
    bytes.extend(ack.to_be_bytes());
    bytes.extend([offset << 4, flags, choices.of(&[0xff, 0, 1]), 0, choices.byte(), choices.byte(), 0, 0]);
    bytes.extend(options);
    bytes.resize(bytes.len() + payload, b'p');
    Piece::new(bytes, if options.is_empty() { &[(12, 1)] } else { &[(12, 1), (20, 1), (21, 1)] })
}
