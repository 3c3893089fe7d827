//! Capture files that are almost right: pcap and pcapng with packets of [`stacks`](super::stacks), in which one length,
//! type or magic number may be broken. What [`Choices`] says of packets holds for files too.

use super::stacks::{Choices, Piece, frame};

/// A capture of few packets, perhaps with a broken field or two, perhaps compressed or cut.
pub fn file(choices: &mut Choices<'_>) -> Vec<u8> {
    let breaks = choices.of(&[0, 0, 1, 1, 1, 1, 2, 4]);
    let cut = choices.once_in(8);
    let mut piece = if choices.byte() & 1 == 0 { pcap(choices) } else { pcapng(choices) };
    for _ in 0..breaks {
        piece.break_one(choices);
    }
    let mut bytes = piece.bytes;
    if cut {
        bytes.truncate(usize::from(choices.word()) % (bytes.len() + 1));
    }
    bytes
}

/// The time of the next packet: mostly a little later, now and then earlier or far away.
fn later(time: &mut u64, choices: &mut Choices<'_>) -> u64 {
    *time = match choices.below(16) {
        0 => time.wrapping_sub(1_000_000),
        1 => time.wrapping_add(60_000_000_000),
        2 => choices.of(&[0, u64::MAX, u64::MAX / 2, 1 << 32]),
        3 => *time,
        4 => time.wrapping_add(1_000_000_000),
        _ => time.wrapping_add(u64::from(choices.byte()) * 100_000),
    };
    *time
}

fn append(whole: &mut Piece, piece: Piece) {
    let empty = std::mem::take(whole);
    let fields = empty.fields;
    *whole = piece.behind(empty.bytes, &[]);
    whole.fields.extend(fields);
}

fn pcap(choices: &mut Choices<'_>) -> Piece {
    let little = choices.byte() & 1 == 0;
    let word = |value: u32| if little { value.to_le_bytes() } else { value.to_be_bytes() };
    let first = frame(choices);
    let magic = if choices.byte() & 1 == 0 { 0xa1b2_c3d4_u32 } else { 0xa1b2_3c4d };
    let mut header = word(magic).to_vec();
    header.extend(if little { [2, 0, 4, 0] } else { [0, 2, 0, 4] });
    header.extend([0; 8]);
    header.extend(word(65_535));
    header.extend(word(u32::from(first.link)));
    let mut whole = Piece::new(header, &[(0, 4), (4, 2), (16, 4), (20, 4)]);
    let mut time = 1_000_000_000_000_000_000;
    let mut next = Some(first);
    for _ in 0..=choices.below(12) {
        let frame = next.take().unwrap_or_else(|| frame(choices));
        let at = later(&mut time, choices);
        let mut record = word((at / 1_000_000_000) as u32).to_vec();
        let fraction = if magic == 0xa1b2_3c4d { at % 1_000_000_000 } else { at % 1_000_000_000 / 1_000 };
        record.extend(word(fraction as u32));
        record.extend(word(frame.bytes.len() as u32));
        record.extend(word(frame.original_length));
        record.extend(frame.bytes);
        append(&mut whole, Piece::new(record, &[(0, 4), (4, 4), (8, 4), (12, 4)]));
    }
    whole
}

/// A pcapng block around `body`, whose fields begin at its own start.
fn block(kind: u32, mut body: Vec<u8>, fields: &[(usize, usize)]) -> Piece {
    body.resize(body.len().next_multiple_of(4), 0);
    let length = (body.len() as u32 + 12).to_le_bytes();
    let end = body.len();
    body.extend(length);
    let fields: Vec<_> = fields.iter().copied().chain([(end, 4)]).collect();
    Piece::new(body, &fields).behind([kind.to_le_bytes(), length].concat(), &[(0, 4), (4, 4)])
}

fn pcapng(choices: &mut Choices<'_>) -> Piece {
    let mut section = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
    section.extend([1, 0, 0, 0]);
    section.extend([0xff; 8]);
    section.extend([2, 0, 3, 0, b'p', b'c', b'1', 0, 0, 0, 0, 0]);
    let mut whole =
        block(0x0a0d_0d0a, section, &[(0, 4), (4, 2), (8, 8), (16, 2), (18, 2), (24, 2), (26, 2)]);
    let mut time = 1_000_000_000_000_000_000;
    let mut interfaces: Vec<u16> = Vec::new();
    for _ in 0..=choices.below(12) {
        let frame = frame(choices);
        let interface = interfaces.iter().position(|link| *link == frame.link).unwrap_or_else(|| {
            append(&mut whole, interface(frame.link, choices));
            interfaces.push(frame.link);
            interfaces.len() - 1
        });
        let at = later(&mut time, choices);
        let captured = frame.bytes.len() as u32;
        let mut body = (interface as u32).to_le_bytes().to_vec();
        match choices.below(8) {
            // A simple packet block, which is of interface 0 and has no time.
            0 => {
                let mut body = frame.original_length.to_le_bytes().to_vec();
                body.extend(frame.bytes);
                append(&mut whole, block(3, body, &[(0, 4)]));
                continue;
            }
            // Interface statistics.
            1 => {
                body.extend(((at >> 32) as u32).to_le_bytes());
                body.extend((at as u32).to_le_bytes());
                body.extend([5, 0, 8, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                append(&mut whole, block(5, body, &[(0, 4), (4, 4), (12, 2), (14, 2)]));
                continue;
            }
            // The obsolete packet block has two bytes of interface and two of drops.
            2 => append(&mut whole, packet(2, body, at, captured, &frame.bytes, frame.original_length)),
            3 => append(&mut whole, block(choices.of(&[4, 10, 0x0bad, 0x4000_0001]), vec![0; 16], &[])),
            _ => append(&mut whole, packet(6, body, at, captured, &frame.bytes, frame.original_length)),
        }
    }
    whole
}

fn packet(kind: u32, mut body: Vec<u8>, at: u64, captured: u32, bytes: &[u8], original: u32) -> Piece {
    body.extend(((at >> 32) as u32).to_le_bytes());
    body.extend((at as u32).to_le_bytes());
    body.extend(captured.to_le_bytes());
    body.extend(original.to_le_bytes());
    body.extend(bytes);
    let options = body.len().next_multiple_of(4);
    body.resize(options, 0);
    body.extend([1, 0, 2, 0, b'h', b'i', 0, 0, 0, 0, 0, 0]);
    let fields = [(0, 4), (4, 4), (8, 4), (12, 4), (16, 4), (options, 2), (options + 2, 2), (options + 8, 2)];
    block(kind, body, &fields)
}

fn interface(link: u16, choices: &mut Choices<'_>) -> Piece {
    let mut body = link.to_le_bytes().to_vec();
    body.extend([0; 2]);
    body.extend(choices.of(&[0_u32, 65_535, 96]).to_le_bytes());
    let resolution = choices.of(&[9_u8, 6, 0, 3, 0x80, 0x9e, 0xff, 20]);
    body.extend([9, 0, 1, 0, resolution, 0, 0, 0, 14, 0, 8, 0]);
    body.extend(choices.of(&[0_u64, 1, u64::MAX, 1 << 40]).to_le_bytes());
    body.extend([0; 4]);
    block(1, body, &[(0, 2), (4, 4), (8, 2), (10, 2), (12, 1), (16, 2), (18, 2), (20, 8)])
}
