//! Wireshark display filters that select a finding: the four-tuple over its time, and its packets by number.
//!
//! Syntax: <https://www.wireshark.org/docs/man-pages/wireshark-filter.html>. The form of the four-tuple is that of
//! Wireshark's own conversation filter.

use std::net::SocketAddr;

use crate::decode::segment::Address;
use crate::detect::registry;
use crate::detect::spec::Property;
use crate::model::{DisplayFilters, Finding, PacketFilter};
use crate::time::Timestamp;

/// The filters of `finding`, whose own are not looked at.
pub fn of(finding: &Finding) -> DisplayFilters {
    DisplayFilters {
        connection: match registry::spec(finding.kind).has(Property::SeenUnderAnotherAddress) {
            true => either_end(finding),
            false => connection([finding.client, finding.server], [finding.first, finding.last]),
        },
        packets: packets(finding),
        elsewhere: elsewhere(finding),
    }
}

/// The connection under the addresses that other captures of the same packets have.
fn elsewhere(finding: &Finding) -> Vec<PacketFilter> {
    let seen = || finding.evidence.iter().filter_map(|e| Some((e, e.also.as_ref()?)));
    let mut filters: Vec<PacketFilter> = Vec::new();
    for (_, also) in seen() {
        let known = filters.iter().any(|filter| filter.capture.as_ref() == Some(&also.capture));
        if known || seen().any(|(own, _)| *own.capture == *also.capture) {
            continue;
        }
        let names = finding.also_known_as.as_ref().filter(|names| names.capture == also.capture);
        let ends = match names {
            Some(names) => [Some(names.client), Some(names.server)],
            None => [finding.client, finding.server],
        };
        // The difference of that clock: not the same for the two directions, since packets take time.
        let shifts = || {
            let there = seen().filter(|(_, other)| other.capture == also.capture);
            there.map(|(here, there)| there.time - here.time)
        };
        let (soonest, latest) = (shifts().min().unwrap_or_default(), shifts().max().unwrap_or_default());
        let over = [finding.first + soonest, finding.last + latest];
        filters.push(PacketFilter { capture: Some(also.capture.clone()), filter: connection(ends, over) });
    }
    filters
}

/// `ip.addr == 192.0.2.1 && ip.addr == 192.0.2.2 && tcp.port == 40000 && tcp.port == 80 && frame.time_epoch >= ...`.
///
/// Each finding has one: numbers are written without `std`'s formatting, which took four times as long.
fn connection(ends: [Option<SocketAddr>; 2], [first, last]: [Timestamp; 2]) -> String {
    let mut filter = String::with_capacity(192);
    let ends = || ends.into_iter().flatten();
    for end in ends() {
        and(&mut filter, if end.is_ipv4() { "ip.addr == " } else { "ipv6.addr == " });
        // A string takes everything.
        _ = Address::from(end.ip()).write_to(&mut filter);
    }
    for end in ends() {
        and(&mut filter, "tcp.port == ");
        push_number(&mut filter, u64::from(end.port()));
    }
    for (time, relation) in [(first, "frame.time_epoch >= "), (last, "frame.time_epoch <= ")] {
        and(&mut filter, relation);
        push_epoch(&mut filter, time);
    }
    filter
}

fn and(filter: &mut String, term: &str) {
    if !filter.is_empty() {
        filter.push_str(" && ");
    }
    filter.push_str(term);
}

fn push_number(text: &mut String, number: u64) {
    text.push_str(itoa::Buffer::new().format(number));
}

/// Seconds since 1970 with nine digits of fraction.
fn push_epoch(text: &mut String, time: Timestamp) {
    const SECOND: u64 = 1_000_000_000;
    if time.0 < 0 {
        text.push('-');
    }
    let nanoseconds = time.0.unsigned_abs();
    push_number(text, nanoseconds / SECOND);
    // A second more keeps the zeros at the front; its digit is left out.
    let mut fraction = itoa::Buffer::new();
    let digits = fraction.format(SECOND + nanoseconds % SECOND).get(1..).unwrap_or_default();
    text.push('.');
    text.push_str(digits);
}

/// Either end of the connection, whatever the address of the other: `(ip.addr == 192.0.2.1 && tcp.port == 40000) || ...`.
fn either_end(finding: &Finding) -> String {
    let over = [finding.first, finding.last];
    let ends = [finding.client, finding.server].into_iter().flatten();
    let filters: Vec<_> = ends.map(|end| format!("({})", connection([Some(end), None], over))).collect();
    filters.join(" || ")
}

/// One filter per capture, in the order in which the evidence names them.
fn packets(finding: &Finding) -> Vec<PacketFilter> {
    let mut by_capture: Vec<(&str, Vec<u64>)> = Vec::with_capacity(1);
    let own = finding.evidence.iter().map(|e| (&*e.capture, e.packet));
    let also =
        finding.evidence.iter().filter_map(|e| e.also.as_ref()).map(|a| (a.capture.as_str(), a.packet));
    for (name, packet) in own.chain(also) {
        match by_capture.iter_mut().find(|(capture, _)| *capture == name) {
            Some((_, numbers)) => numbers.push(packet),
            None => {
                let mut numbers = Vec::with_capacity(finding.evidence.len());
                numbers.push(packet);
                by_capture.push((name, numbers));
            }
        }
    }
    let several = by_capture.len() > 1;
    by_capture
        .into_iter()
        .map(|(capture, mut numbers)| {
            numbers.sort_unstable();
            numbers.dedup();
            let mut filter = String::with_capacity(64);
            filter.push_str("frame.number in {");
            for (n, number) in numbers.iter().enumerate() {
                filter.push_str(if n > 0 { ", " } else { "" });
                push_number(&mut filter, *number);
            }
            filter.push('}');
            PacketFilter { capture: several.then(|| capture.to_owned()), filter }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{OtherNames, Sighting};
    use crate::report::samples;
    use crate::time::Span;

    #[test]
    fn a_connection_is_its_four_tuple_and_its_time() {
        let finding = &samples::overflow().findings[0];
        let filters = of(finding);
        assert_eq!(
            filters.connection,
            "ip.addr == 198.51.100.1 && ip.addr == 10.0.0.5 && tcp.port == 41800 && tcp.port == 8080 && \
             frame.time_epoch >= 1795356187.001000000 && frame.time_epoch <= 1795356190.071000000"
        );
        assert_eq!(filters.packets[0].filter, "frame.number in {1201, 1203, 1204, 1205, 1377, 1791}");
    }

    #[test]
    fn ipv6_has_its_own_field_and_each_capture_its_own_numbers() {
        let mixture = samples::mixture();
        assert!(of(&mixture.findings[0]).connection.starts_with("ipv6.addr == 2001:db8:: && ipv6.addr == "));
        let two = mixture.findings.iter().find(|f| f.kind.name() == "half-close").unwrap();
        let captures: Vec<_> = of(two).packets.into_iter().map(|p| (p.capture, p.filter)).collect();
        assert_eq!(
            captures,
            [
                (Some("client.pcap".to_owned()), "frame.number in {88}".to_owned()),
                (Some("server.pcap".to_owned()), "frame.number in {91}".to_owned())
            ]
        );
    }

    #[test]
    fn the_other_capture_of_a_pair_has_its_own_names_and_clock() {
        let mut finding = samples::overflow().findings[0].clone();
        finding.also_known_as = Some(Box::new(OtherNames {
            capture: "client.pcap".to_owned(),
            client: "192.168.1.7:50000".parse().unwrap(),
            server: "203.0.113.5:80".parse().unwrap(),
        }));
        for (evidence, shift) in finding.evidence.iter_mut().zip([60_000, 60_020]) {
            let (capture, time) = ("client.pcap".to_owned(), evidence.time + Span::millis(shift));
            evidence.also = Some(Box::new(Sighting { capture, packet: 1, time }));
        }
        let filters = of(&finding);
        assert_eq!(filters.elsewhere.len(), 1);
        assert_eq!(filters.elsewhere[0].capture.as_deref(), Some("client.pcap"));
        assert_eq!(
            filters.elsewhere[0].filter,
            "ip.addr == 192.168.1.7 && ip.addr == 203.0.113.5 && tcp.port == 50000 && tcp.port == 80 && \
             frame.time_epoch >= 1795356247.001000000 && frame.time_epoch <= 1795356250.091000000"
        );
        assert!(filters.connection.contains("198.51.100.1"), "{}", filters.connection);
    }

    #[test]
    fn a_host_alone_is_left_to_the_time() {
        let mixture = samples::mixture();
        let host = mixture.findings.iter().find(|f| f.client.is_none() && f.server.is_none()).unwrap();
        assert!(of(host).connection.starts_with("frame.time_epoch >= "));
        let mut before_1970 = String::new();
        push_epoch(&mut before_1970, Timestamp(-1_500_000_000));
        assert_eq!(before_1970, "-1.500000000");
    }
}
