//! How connections begin.

use super::*;
use crate::decode::segment::{TcpOptions, Traits};
use crate::flow::facts::Transmission;
use crate::flow::key::Host;

#[test]
fn plain_handshake() {
    for wire in [Wire::at_server(), Wire::at_server().v6()] {
        let l = wire.ladder(1);
        l.client.syn(0.0);
        l.server.syn_ack(0.001);
        l.client.ack(0.021);
        let f = wire.only();
        assert_eq!((f.client, f.server), (l.client.host(), l.server.host()));
        assert_eq!(f.roles, Roles::BySyn);
        assert_eq!((f.syn.count, f.syn_ack.count), (1, 1));
        assert_eq!((f.c.isn, f.s.isn), (l.client.isn(), l.server.isn()));
        let ack = f.final_ack.expect("the client's ACK completes the handshake");
        assert_eq!((ack.at.packet, ack.bare, ack.syn_acks), (packet(3), true, 1));
        assert_eq!(f.syn_to_syn_ack(), Some(Span::millis(1)));
        assert_eq!(f.syn_ack_to_ack(), Some(Span::millis(20)));
        assert!(f.timestamps() && f.progress.is_none() && !f.mid_stream && !f.odd_handshake);
        assert_eq!(f.ending, Ending::CaptureEnd);
    }
}

#[test]
fn data_or_fin_may_complete_the_handshake() {
    let wire = Wire::at_server();
    let (data, fin) = (wire.ladder(1), wire.ladder(2));
    for l in [&data, &fin] {
        l.client.syn(0.0);
        l.server.syn_ack(0.001);
        l.client.ack(0.02).lost();
    }
    data.client.data(0.021, 100);
    fin.client.fin(0.022);
    for f in wire.facts() {
        assert!(!f.final_ack.expect("it acknowledges the SYN-ACK").bare);
    }
}

#[test]
fn syn_repeated_and_the_second_one_answered() {
    let wire = Wire::at_server();
    let l = wire.ladder(1);
    l.client.syn(0.0);
    let second = l.client.syn(1.0).segment().tsval;
    l.server.syn_ack(1.001).echoes(second);
    l.client.ack(1.02);
    let f = wire.only();
    assert_eq!(f.syn.count, 2);
    assert_eq!(f.answered_syn().map(|syn| syn.at.packet), Some(packet(2)));
    assert_eq!(f.unanswered_syns().count(), 1, "the first one was ignored");
    assert_eq!(f.syn_to_syn_ack(), Some(Span::millis(1)));
}

#[test]
fn syn_repeated_although_the_first_one_was_answered() {
    let wire = Wire::at_client();
    let l = wire.ladder(1);
    let first = l.client.syn(0.0).segment().tsval;
    l.server.syn_ack(0.02).lost();
    l.client.syn(1.0);
    l.server.syn_ack(1.02).echoes(first);
    l.client.ack(1.02);
    let f = wire.only();
    assert_eq!(f.answered_syn().map(|syn| syn.at.packet), Some(packet(1)));
    assert_eq!(f.unanswered_syns().count(), 0, "TSecr says that the first one was answered");
}

#[test]
fn without_timestamps_the_last_syn_counts_as_answered() {
    let wire = Wire::at_client().without_timestamps();
    let l = wire.ladder(1);
    l.client.syn(0.0);
    l.client.syn(1.0);
    l.server.syn_ack(1.02);
    l.client.syn(3.0);
    let f = wire.only();
    assert!(!f.timestamps());
    assert_eq!(f.answered_syn().map(|syn| syn.at.packet), Some(packet(2)));
}

#[test]
fn syn_ack_repeated_after_the_final_ack() {
    let wire = Wire::at_server();
    let l = wire.ladder(1);
    l.handshake(0.0);
    l.client.data(0.03, 100);
    l.client.again(0.25);
    l.server.syn_ack(1.02);
    l.client.ack(1.04);
    l.server.syn_ack(3.04);
    let f = wire.only();
    let contexts: Vec<_> = f.syn_ack.iter().map(|s| s.context).collect();
    assert_eq!(contexts, [0, 9, 9], "after the final ACK and after data");
    assert_eq!(f.final_ack.map(|ack| ack.at.packet), Some(packet(3)), "the first one counts");
    assert_eq!((f.unanswered.retransmits, f.unanswered.acks, f.unanswered.largest), (1, 1, 100));
    assert_eq!(f.progress, None, "a SYN-ACK is no sign of having the connection");
}

#[test]
fn first_sign_of_the_server_after_the_final_ack() {
    let wire = Wire::at_server();
    let l = wire.ladder(1);
    l.handshake(0.0);
    l.client.data(0.03, 100);
    l.server.ack(0.031);
    l.client.again(0.25);
    let f = wire.only();
    let p = f.progress.expect("the server acknowledges the data");
    assert_eq!((p.acked, p.what, p.after_what), (100, SegmentKind::Ack, SegmentKind::Data));
    assert_eq!(f.unanswered.retransmits, 0, "what comes after the progress is not in vain");
}

#[test]
fn syn_ack_before_its_syn_in_the_capture() {
    let wire = Wire::anywhere();
    let l = wire.ladder(1);
    l.client.syn(0.000_010);
    l.server.syn_ack(0.000_005);
    l.client.ack(0.000_020);
    let f = wire.only();
    assert_eq!((f.syn.count, f.syn_ack.count), (1, 1));
    assert_eq!((f.client, f.roles), (l.client.host(), Roles::BySyn));
    assert!(f.final_ack.is_some() && !f.mid_stream && !f.odd_handshake);
}

#[test]
fn final_ack_before_the_syn_ack_in_the_capture() {
    let wire = Wire::anywhere();
    let l = wire.ladder(1);
    l.client.syn(0.0);
    l.server.syn_ack(0.000_030);
    l.client.ack(0.000_020);
    l.client.data(0.000_040, 10);
    let f = wire.only();
    assert_eq!(f.final_ack.map(|ack| ack.at.packet), Some(packet(2)), "it was sent after the SYN-ACK");
    assert_eq!(f.reordered, 1);
}

#[test]
fn syn_not_captured() {
    let wire = Wire::between();
    let l = wire.ladder(1);
    l.client.syn(0.0).lost();
    l.server.syn_ack(0.02);
    l.client.ack(0.04);
    let f = wire.only();
    assert_eq!((f.roles, f.client), (Roles::BySynAck, l.client.host()));
    assert!(f.final_ack.is_some());
    assert!(f.syn.count == 0 && !f.c.isn_known);
    assert_eq!(f.c.isn, l.client.isn(), "the SYN-ACK's acknowledgment tells it");
}

#[test]
fn syn_ack_not_captured() {
    let wire = Wire::between();
    let l = wire.ladder(1);
    l.client.syn(0.0);
    l.server.syn_ack(0.02).lost();
    l.client.ack(0.04);
    l.client.data(0.05, 10);
    let f = wire.only();
    assert_eq!((f.syn_ack.count, f.final_ack), (0, None), "nobody asked for it as far as we know");
    assert_eq!(f.ack_to_syn, None);
}

#[test]
fn syn_ack_and_request_not_captured() {
    let wire = Wire::between();
    let l = wire.ladder(1);
    l.client.syn(0.0);
    l.server.syn_ack(0.02).lost();
    l.client.ack(0.04);
    l.client.data(0.05, 120).lost();
    l.server.ack(0.06);
    let f = wire.only();
    assert_eq!(f.ack_to_syn, None, "the client's ACK shows that it had been answered");
}

#[test]
fn joined_in_the_middle() {
    let wire = Wire::between();
    let l = wire.ladder(1);
    l.client.syn(0.0).lost();
    l.server.syn_ack(0.02).lost();
    l.server.data(0.1, 500);
    l.client.ack(0.12);
    let f = wire.only();
    assert!(f.mid_stream && f.roles == Roles::Guessed);
    assert_eq!(f.server, l.server.host(), "the lower port is taken for the server's");
    assert_eq!((f.final_ack, f.progress), (None, None));
    assert_eq!(f.s.bytes, 500);
}

#[test]
fn only_the_clients_direction_captured() {
    let wire = Wire::between();
    let l = wire.ladder(1);
    l.client.syn(0.0);
    l.server.syn_ack(0.01).lost();
    l.client.ack(0.02);
    l.client.data(0.03, 100);
    l.server.ack(0.04).lost();
    l.client.fin(0.05);
    let f = wire.only();
    assert!(!f.both_seen());
    assert_eq!((f.c.segments, f.s.segments), (4, 0));
    assert_eq!((f.c.bytes, f.c.fin.is_some()), (100, true));
}

#[test]
fn only_the_servers_direction_captured() {
    let wire = Wire::between();
    let l = wire.ladder(1);
    l.client.syn(0.0).lost();
    l.server.syn_ack(0.01);
    l.client.ack(0.02).lost();
    l.client.data(0.03, 100).lost();
    l.server.ack(0.04);
    l.server.data(0.05, 700);
    let f = wire.only();
    assert_eq!((f.roles, f.server), (Roles::BySynAck, l.server.host()));
    assert_eq!((f.final_ack, f.progress), (None, None));
    assert_eq!(f.c.unseen, 1, "it acknowledges what the capture does not hold");
}

#[test]
fn wrong_numbers_do_not_complete_the_handshake() {
    let wire = Wire::at_server();
    let l = wire.ladder(1);
    l.client.syn(0.0).with(|s| s.traits |= Traits::CHECKSUM_GOOD);
    l.server.syn_ack(0.001);
    l.client.ack(0.02).acks(l.server.isn().advance(2));
    l.client.ack(0.03).acks(l.server.isn());
    l.client.ack(0.04).with(|s| s.seq = s.seq.advance(u32::MAX - 5));
    l.client.ack(0.05).with(|s| s.traits |= Traits::CHECKSUM_BAD);
    assert_eq!(wire.only().final_ack, None);
}

#[test]
fn checksums_that_are_never_right_say_nothing() {
    let wire = Wire::at_server();
    let l = wire.ladder(1);
    for rung in [l.client.syn(0.0), l.server.syn_ack(0.001), l.client.ack(0.02)] {
        rung.with(|s| s.traits |= Traits::CHECKSUM_BAD);
    }
    assert!(wire.only().final_ack.is_some());
}

#[test]
fn sequence_wrap_inside_the_handshake() {
    let wire = Wire::at_server();
    let l = wire.ladder(1).numbered(u32::MAX, u32::MAX);
    let t = l.handshake(0.0);
    l.exchange(t + 0.01, 50, 60);
    let f = wire.only();
    assert_eq!((f.c.isn, f.c.next), (Seq(u32::MAX), Seq(50)));
    assert!(f.final_ack.is_some());
    assert_eq!((f.c.bytes, f.s.bytes), (50, 60));
    assert_eq!(f.progress.map(|p| p.acked), Some(50));
}

#[test]
fn fast_open_data_in_the_syn() {
    let wire = Wire::at_server();
    let (taken, refused) = (wire.ladder(1), wire.ladder(2));
    for l in [&taken, &refused] {
        l.client.syn(0.0).with(|s| {
            s.payload = 62;
            s.options |= TcpOptions::FAST_OPEN_COOKIE;
        });
    }
    taken.server.syn_ack(0.001).acks(taken.client.isn().advance(63));
    taken.client.raw(0.02, Flags::ACK, taken.client.isn().advance(63), taken.server.isn().advance(1), 0);
    refused.server.syn_ack(0.001);
    refused.client.ack(0.02);
    refused.client.data(0.02, 62);
    let facts = wire.facts();
    assert_eq!(facts[0].syn_offer.payload, 62);
    assert_eq!(facts[0].syn_ack_ack, taken.client.isn().advance(63));
    assert!(facts[0].final_ack.is_some());
    assert_eq!(facts[1].syn_ack_ack, refused.client.isn().advance(1));
    assert!(facts[1].final_ack.is_some());
}

#[test]
fn syn_from_both_ends() {
    let wire = Wire::between();
    let l = wire.ladder(1);
    l.client.syn(0.0);
    l.server.syn(0.001);
    l.client.syn_ack(0.02);
    l.server.syn_ack(0.021);
    let f = wire.only();
    assert!(f.odd_handshake);
    assert_eq!(f.syn.count, 1, "the other end's SYN is no retransmission");
    adds_up(&[f], 4);
}

#[test]
fn split_handshake_in_four_steps() {
    let wire = Wire::between();
    let l = wire.ladder(1);
    l.client.syn(0.0);
    l.server.raw(0.01, Flags::ACK, Seq(0), l.client.isn().advance(1), 0);
    l.server.syn(0.02);
    l.client.syn_ack(0.03);
    let f = wire.only();
    assert!(f.odd_handshake && f.ack_to_syn.is_some());
}

#[test]
fn rst_or_icmp_error_answers_the_syn() {
    let wire = Wire::at_client();
    let (rst, icmp) = (wire.ladder(1), wire.ladder(2));
    rst.client.syn(0.0);
    rst.server.refuse(0.02);
    icmp.client.syn(0.0);
    icmp.client.quoted_by_icmp(0.02, 3, 13);
    let facts = wire.facts();
    let reset = facts[0].s.reset.as_deref().expect("RST");
    assert!(reset.is_socketless() && !reset.is_bare());
    assert_eq!(reset.trigger.map(|t| t.what), Some(SegmentKind::Syn));
    assert!(facts[0].closed.is_some());
    let error = facts[1].icmp.as_deref().expect("ICMP error");
    assert_eq!((error.kind, error.code, error.quotes_client, error.v6), (3, 13, true, false));
    assert_eq!(facts[1].closed, None, "an ICMP error ends nothing by itself");
    assert!(facts.iter().all(|f| f.unanswered_syns().count() == 0));
}

#[test]
fn icmp_error_about_an_unknown_connection_starts_none() {
    let wire = Wire::at_client();
    let l = wire.ladder(1);
    l.client.syn(0.0).lost();
    l.client.quoted_by_icmp(0.02, 3, 3);
    assert_eq!(wire.facts(), []);
}

#[test]
fn rst_that_does_not_acknowledge_the_syn_ends_nothing() {
    let wire = Wire::at_client();
    let l = wire.ladder(1);
    l.client.syn(0.0);
    l.server.raw(0.01, Flags::RST, Seq(12345), Seq(0), 0);
    l.server.syn_ack(0.02);
    l.client.ack(0.02);
    let f = wire.only();
    assert_eq!(f.closed, None, "RFC 9293 3.10.7.3: in SYN-SENT a RST needs ACK");
    assert_eq!(f.s.resets, 1);
}

#[test]
fn bare_ack_answers_the_syn() {
    let wire = Wire::at_client();
    let l = wire.ladder(1);
    l.client.syn(0.0);
    l.server.raw(0.02, Flags::ACK, Seq(77), Seq(99), 0);
    l.client.raw(0.02, Flags::RST, Seq(99), Seq(0), 0);
    l.client.syn(0.03);
    l.server.syn_ack(0.05);
    l.client.ack(0.05);
    let f = wire.only();
    let ack = f.ack_to_syn.as_deref().expect("a bare ACK");
    assert_eq!((ack.seq, ack.ack, ack.count), (Seq(77), Seq(99), 1));
    assert_eq!(f.c.reset.as_deref().map(|r| r.seq), Some(Seq(99)));
    assert_eq!((f.syn.count, f.final_ack.is_some()), (2, true));
    assert_eq!(f.closed, None, "the RST is for the older connection, not for this one");
}

#[test]
fn numbers_of_an_older_connection_do_not_spoil_the_new_one() {
    // What the bare ACK carries may lie before or after the new numbers: both ways round the circle.
    for far in [1_000, 1 << 29, 1 << 31, 3 << 30] {
        let wire = Wire::at_server();
        let l = wire.ladder(1);
        l.client.syn(0.0);
        let (seq, ack) = (l.server.isn().advance(far), l.client.isn().advance(far));
        l.server.raw(0.001, Flags::ACK, seq, ack, 0).ip_id(0);
        l.client.raw(0.021, Flags::RST, ack, Seq(0), 0);
        l.client.syn(0.03);
        l.server.syn_ack(0.031);
        l.client.ack(0.051);
        let t = l.exchange(0.06, 100, 2_000);
        l.close(t + 0.1, Role::Client);
        let f = wire.only();
        assert_eq!((f.c.bytes, f.s.bytes, f.c.retransmits, f.s.retransmits), (100, 2_000, 0, 0), "{far}");
        assert_eq!((f.c.unseen, f.s.unseen, f.unanswered.retransmits), (0, 0, 0), "{far}");
        assert_eq!(f.closed, Some(f.last.time), "{far}");
        assert!(f.ack_to_syn.is_some() && f.c.reset.is_some());
    }
}

#[test]
fn server_answers_with_another_initial_sequence_number() {
    let wire = Wire::at_client();
    let l = wire.ladder(1);
    l.client.syn(0.0);
    l.server.syn_ack(0.02);
    l.server.syn_ack(1.02).with(|s| s.seq = s.seq.advance(1_000));
    l.client.raw(1.03, Flags::ACK, l.client.next(), l.server.isn().advance(1_001), 0);
    let f = wire.only();
    assert_eq!(f.other_isns, 1);
    assert!(f.final_ack.is_some(), "the newest one is completed");
}

/// A request that hangs, of which the capture holds what comes after the final ACK; `client` and `server` are ports.
fn joined_after_final_ack(client: u16, server: u16) -> (ConnectionFacts, Host) {
    let wire = Wire::at_server();
    let l = wire.between_hosts(1, client, server);
    l.client.syn(0.0).lost();
    l.server.syn_ack(0.01).lost();
    l.client.ack(0.03).lost();
    l.client.data(0.031, 62);
    l.client.again(0.5);
    l.server.syn_ack(1.03);
    l.client.ack(1.05);
    l.server.syn_ack(3.05);
    (wire.only(), l.server.host())
}

#[test]
fn a_syn_ack_after_the_clients_data_tells_the_roles() {
    for (client, server) in [(40_001, 80), (80, 40_001)] {
        let (f, host) = joined_after_final_ack(client, server);
        assert_eq!((f.server, f.roles), (host, Roles::BySynAck));
        assert!(!f.mid_stream && !f.odd_handshake && f.began_after_handshake());
        assert_eq!((f.c.bytes, f.unanswered.retransmits, f.unanswered.acks), (62, 1, 1));
        assert_eq!((f.syn_ack.count, f.progress), (2, None));
        assert!(
            f.syn_ack.iter().all(|sent| sent.is(Transmission::AFTER_FINAL_ACK | Transmission::AFTER_DATA))
        );
    }
}

#[test]
fn a_syn_ack_of_other_numbers_tells_nothing() {
    let wire = Wire::at_server();
    let l = wire.ladder(1);
    l.client.syn(0.0).lost();
    l.server.syn_ack(0.01).lost();
    l.client.data(0.03, 62);
    l.server.syn_ack(1.03).with(|s| s.seq = s.seq.advance(5_000));
    let f = wire.only();
    assert!(f.odd_handshake && f.final_ack.is_none());
}

#[test]
fn a_request_that_answers_a_probe_is_no_sign_of_a_socket() {
    let wire = Wire::at_server();
    let l = wire.ladder(1);
    l.client.syn(0.0);
    let syn = wire.segments().first().map_or(0, |s| s.tsval);
    l.server.syn_ack(0.000_1);
    l.client.ack(0.02);
    l.client.keepalive(1.2);
    l.server.ack(1.200_1).echoes(syn).ip_id(0);
    l.server.syn_ack(1.22);
    let f = wire.only();
    assert_eq!(f.progress, None);
    assert!(f.syn_ack.iter().nth(1).is_some_and(|sent| !sent.is(Transmission::AFTER_PROGRESS)));
    // A socket echoes the final ACK.
    l.client.keepalive(2.2);
    l.server.ack(2.200_1);
    assert!(wire.only().progress.is_some());
}
