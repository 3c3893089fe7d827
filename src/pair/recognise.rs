//! Which inputs saw the same connections at two places, and which of the two is nearer to the clients.

use std::collections::HashSet;

use crate::decode::segment::Address;
use crate::model::Pairing;
use crate::pair::clock::ClockSample;
use crate::pair::link::{IpIds, NearerToClients, is_in_both, orient, same, sample};
use crate::pair::points::{NamedInputs, Points};
use crate::pair::sketch::{HandshakeSketch, SynTransmission};
use crate::time::Span;

/// How two inputs are related.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Relation {
    /// They share no handshake.
    None,
    /// They hold copies of the same packets, taken at one place.
    Copies,
    /// They saw the same packets at two places.
    Apart,
}

/// The outcome of the attempt.
#[derive(Debug)]
pub enum PairingResult {
    /// Two of them.
    Points(Box<Points>),
    /// No pair; with the reason where the inputs do share connections.
    No(Option<String>),
}

/// Divides inputs, of which `None` cannot be read, into two sides. Where pairing is forced and nothing shows which is nearer
/// to the clients, the first input is.
pub fn recognise(sketches: &[Option<HandshakeSketch>], names: &[String], pairing: Pairing) -> PairingResult {
    let InputGroups { groups, outside } = match divide(sketches, names) {
        Ok(divided) => divided,
        Err(why) => return PairingResult::No(why),
    };
    let merged = |inputs: &[usize]| {
        let mut all = HandshakeSketch::default();
        inputs.iter().filter_map(|&n| sketches[n].as_ref()).for_each(|sketch| all.merge(sketch));
        all
    };
    if !are_pieces(&groups, &merged) {
        return PairingResult::No(Some(
            "the captures fall into several groups that saw different connections: give the two of one group at a \
             time"
            .to_owned(),
        ));
    }
    let mut sides = [Vec::new(), Vec::new()];
    for [a, b] in groups {
        match orient(&merged(&a), &merged(&b), pairing) {
            Some(NearerToClients::FirstFirst) => {
                sides[0].extend(a);
                sides[1].extend(b);
            }
            Some(NearerToClients::SecondFirst) => {
                sides[0].extend(b);
                sides[1].extend(a);
            }
            None => {
                return PairingResult::No(Some(format!(
                    "{} hold the same connections, and nothing says which of them is nearer to the clients",
                    names.join(" and ")
                )));
            }
        }
    }
    // Inputs that share nothing with another one, and those that cannot be read, go with the input before them.
    let [near, far] = &mut sides;
    for n in outside {
        if near.iter().any(|&known| n > 0 && known == n - 1) { &mut *near } else { &mut *far }.push(n);
    }
    sides.iter_mut().for_each(|side| side.sort_unstable());
    let both = [merged(&sides[0]), merged(&sides[1])];
    let sides = sides.map(|inputs| NamedInputs { name: None, inputs });
    PairingResult::Points(Box::new(Points::of(sides.into(), &both, &|_, _| {
        Some(NearerToClients::FirstFirst)
    })))
}

/// Inputs in groups, each of which saw the same connections at two places, and inputs that share nothing with another.
struct InputGroups {
    groups: Vec<[Vec<usize>; 2]>,
    outside: Vec<usize>,
}

/// Whether several groups belong to the same two captures: they follow one another in time and have servers in common.
fn are_pieces(groups: &[[Vec<usize>; 2]], merged: &dyn Fn(&[usize]) -> HandshakeSketch) -> bool {
    let firsts: Vec<HandshakeSketch> =
        groups.iter().map(|[a, b]| merged(&[&a[..], &b[..]].concat())).collect();
    let servers: Vec<HashSet<Address>> =
        firsts.iter().map(|sketch| sketch.all().map(|h| h.server.address).collect()).collect();
    (1..groups.len()).all(|n| {
        (0..n).all(|earlier| !firsts[n].overlaps(&firsts[earlier]))
            && (0..n).any(|earlier| !servers[n].is_disjoint(&servers[earlier]))
    })
}

fn divide(sketches: &[Option<HandshakeSketch>], names: &[String]) -> Result<InputGroups, Option<String>> {
    let n = sketches.len();
    let mut relations = vec![vec![Relation::None; n]; n];
    for i in 0..n {
        for j in i + 1..n {
            if let (Some(a), Some(b)) = (&sketches[i], &sketches[j]) {
                relations[i][j] = relation(a, b);
                relations[j][i] = relations[i][j];
            }
        }
    }
    // The group of each input, and its side in it.
    let mut side: Vec<Option<(usize, usize)>> = vec![None; n];
    let mut count = 0;
    for start in 0..n {
        if side[start].is_some() || relations[start].iter().all(|r| *r == Relation::None) {
            continue;
        }
        let group = count;
        count += 1;
        side[start] = Some((group, 0));
        let mut next = vec![start];
        while let Some(i) = next.pop() {
            for j in 0..n {
                let due = match relations[i][j] {
                    Relation::None => continue,
                    Relation::Copies => side[i],
                    Relation::Apart => side[i].map(|(group, s)| (group, 1 - s)),
                };
                match side[j] {
                    None => {
                        side[j] = due;
                        next.push(j);
                    }
                    known if known != due => {
                        return Err(Some(format!(
                            "{} saw the same connections at more than two places: name each with --point NAME=FILE",
                            names.join(", ")
                        )));
                    }
                    _ => {}
                }
            }
        }
    }
    let of = |which: (usize, usize)| (0..n).filter(|&i| side[i] == Some(which)).collect::<Vec<_>>();
    let groups: Vec<_> = (0..count).map(|group| [of((group, 0)), of((group, 1))]).collect();
    if groups.is_empty() || groups.iter().flatten().any(Vec::is_empty) {
        return Err(None);
    }
    Ok(InputGroups { groups, outside: (0..n).filter(|&i| side[i].is_none()).collect() })
}

fn relation(a: &HandshakeSketch, b: &HandshakeSketch) -> Relation {
    let shared = a.shared(b);
    // A later input continues the same capture, unless a packet is demonstrably in both.
    if !a.overlaps(b)
        && !shared.iter().any(|(a, b)| is_in_both(&a.syns, &b.syns) || is_in_both(&a.syn_acks, &b.syn_acks))
    {
        return Relation::None;
    }
    let ids = IpIds::of(&shared);
    let hops =
        |a: &[SynTransmission], b: &[SynTransmission]| same(a, b, ids).is_some_and(|(x, y)| x.ttl != y.ttl);
    let routed = shared.iter().any(|(a, b)| hops(&a.syns, &b.syns) || hops(&a.syn_acks, &b.syn_acks));
    let samples: Vec<ClockSample> = shared.into_iter().filter_map(|(a, b)| sample(a, b, ids)).collect();
    if samples.is_empty() {
        return Relation::None;
    }
    let trips: Vec<Span> = samples.iter().filter_map(ClockSample::round_trip).collect();
    let copies = if trips.is_empty() {
        // Where only one direction was captured, all packets of one place differ by the same time.
        let differences: HashSet<Span> = samples.iter().filter_map(|s| s.there.or(s.back)).collect();
        !routed && differences.len() == 1 && (samples.len() > 1 || differences.contains(&Span::ZERO))
    } else {
        trips.iter().filter(|t| **t == Span::ZERO).count() * 4 > trips.len() * 3
    };
    if copies { Relation::Copies } else { Relation::Apart }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::segment::{Flags, Segment};
    use crate::seq::Seq;
    use crate::time::Timestamp;

    fn syn(client: u32, millis: i64, ip_id: u16, ttl: u8) -> Segment {
        Segment {
            time: Timestamp(1_800_000_000_000_000_000) + Span::millis(millis),
            src: Address::v4([192, 0, 2, client as u8]),
            dst: Address::v4([198, 51, 100, 1]),
            src_port: 4000,
            dst_port: 80,
            seq: Seq(client * 7919),
            flags: Flags::SYN,
            ip_id,
            ttl,
            ..Segment::default()
        }
    }

    fn answer(s: &Segment, millis: i64, ttl: u8) -> Segment {
        Segment {
            time: s.time + Span::millis(millis),
            src: s.dst,
            dst: s.src,
            src_port: s.dst_port,
            dst_port: s.src_port,
            seq: Seq(s.seq.0 + 5),
            ack: s.seq.advance(1),
            flags: Flags::SYN | Flags::ACK,
            ip_id: 0,
            ttl,
            ..*s
        }
    }

    fn sketch(segments: &[Segment]) -> Option<HandshakeSketch> {
        let mut sketch = HandshakeSketch::default();
        segments.iter().for_each(|s| sketch.record(s));
        Some(sketch)
    }

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|n| format!("{n}.pcap")).collect()
    }

    fn sides(sketches: &[Option<HandshakeSketch>]) -> Option<[Vec<usize>; 2]> {
        match recognise(sketches, &names(sketches.len()), Pairing::Auto) {
            PairingResult::Points(points) => Some([0, 1].map(|side| points.all[side].inputs.clone())),
            PairingResult::No(_) => None,
        }
    }

    /// Handshakes of clients without timestamps, the whole of each sent again after a second.
    fn again(from: i64, id: u16, jitter: i64) -> Option<HandshakeSketch> {
        let of = |client: u32| {
            let s = syn(
                client,
                from + 20 * i64::from(client) + jitter * i64::from(client % 3),
                id + client as u16,
                57,
            );
            [s, answer(&s, 1, 64)]
        };
        sketch(&(1..30).flat_map(of).collect::<Vec<_>>())
    }

    #[test]
    fn what_was_sent_again_after_a_cut_is_not_the_same_packet() {
        for id in [100, 0] {
            let other = if id == 0 { 0 } else { id + 1 };
            assert_eq!(sides(&[again(0, id, 0), again(1_000, other, 3)]), None, "IP ID {id}");
        }
    }

    /// The sightings of the client's side and of the server's side, 10 ms apart; the server's clock is `ahead`.
    fn both(from: i64, ahead: i64) -> [Option<HandshakeSketch>; 2] {
        let of = |client: u32, at: i64, ttl: u8, trip: i64| {
            let s = syn(client, from + 20 * i64::from(client) + at, 500 + client as u16, ttl);
            [s, answer(&s, trip, 128 - ttl)]
        };
        let near: Vec<_> = (1..30).flat_map(|client| of(client, 0, 64, 21)).collect();
        let far: Vec<_> = (1..30).flat_map(|client| of(client, 10 + ahead, 60, 1)).collect();
        [sketch(&near), sketch(&far)]
    }

    #[test]
    fn clocks_far_apart_make_no_pieces_of_a_pair() {
        for ahead in [0, 3_600_000, -3_600_000] {
            assert_eq!(sides(&both(0, ahead)), Some([vec![0], vec![1]]), "{ahead}");
        }
    }

    #[test]
    fn both_sides_may_be_rotated() {
        let ([c1, s1], [c2, s2]) = (both(0, 0), both(5_000, 0));
        assert_eq!(sides(&[c1, s1, s2, c2]), Some([vec![0, 3], vec![1, 2]]));
    }

    #[test]
    fn without_an_answer_on_one_side_the_losses_tell_the_direction() {
        let of = |ttl: u8, at: i64| {
            move |client: u32| {
                let late = at * i64::from(client % 2 + 1);
                syn(client, 20 * i64::from(client) + late, 500 + client as u16, ttl)
            }
        };
        let near: Vec<_> = (1..6).map(of(64, 0)).collect();
        let far: Vec<_> = (1..6).map(of(64, 4)).flat_map(|s| [s, answer(&s, 1, 64)]).collect();
        assert_eq!(sides(&[sketch(&far), sketch(&near)]), Some([vec![1], vec![0]]));
    }
}
