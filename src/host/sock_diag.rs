//! Asks the kernel for its TCP sockets through netlink (sock_diag(7)), as `ss` does.
//!
//! The messages are written and read here. The crates for it accept attributes only in the length of new kernels, and
//! only a few attributes are needed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

use super::listeners::{ListenSocket, SocketStates};

/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct inet_diag_msg`, bytes.
const ANSWER: usize = 72;
/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
/// `TCP_LISTEN`, as a bit in the set of states.
const LISTEN: u32 = 1 << 10;
const SYN_RECV: u8 = 3;
const TIME_WAIT: u8 = 6;
const CLOSE_WAIT: u8 = 8;
/// `INET_DIAG_SKMEMINFO`: the number of the attribute, and one less is its bit in the request.
const SKMEMINFO: u16 = 7;
/// `SK_MEMINFO_DROPS`: which of the attribute's words.
const DROPS: usize = 8;
/// The kernel answers at once; a sandbox that drops the request does not.
const PATIENCE: Duration = Duration::from_secs(2);

/// All listening TCP sockets of this network namespace.
pub fn listening() -> io::Result<Vec<ListenSocket>> {
    let mut all = Vec::new();
    for family in [AF_INET, AF_INET6] {
        dump(&request(family, LISTEN, 1 << (SKMEMINFO - 1)), |body| all.extend(answer(body)))?;
    }
    Ok(all)
}

/// Whether sockets in TIME_WAIT are to be counted: there may be very many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeWait {
    /// They are.
    Counted,
    /// They are not.
    CountedOnly,
}

/// The sockets in SYN_RECV, CLOSE_WAIT and TIME_WAIT at these local ports, by local address.
pub fn states(ports: &BTreeSet<u16>, time_wait: TimeWait) -> io::Result<BTreeMap<SocketAddr, SocketStates>> {
    let mut wanted = 1 << SYN_RECV | 1 << CLOSE_WAIT;
    if time_wait == TimeWait::Counted {
        wanted |= 1 << TIME_WAIT;
    }
    let mut found: BTreeMap<SocketAddr, SocketStates> = BTreeMap::new();
    let empty =
        SocketStates { time_wait: (time_wait == TimeWait::Counted).then_some(0), ..SocketStates::default() };
    for family in [AF_INET, AF_INET6] {
        dump(&request(family, wanted, 0), |body| {
            let Some(address) = local(body).filter(|address| ports.contains(&address.port())) else { return };
            let address = SocketAddr::new(address.ip().to_canonical(), address.port());
            let at = found.entry(address).or_insert(empty);
            match body.get(1) {
                Some(&SYN_RECV) => at.syn_recv += 1,
                Some(&CLOSE_WAIT) => at.close_wait += 1,
                Some(&TIME_WAIT) => at.time_wait = at.time_wait.map(|n| n + 1),
                _ => {}
            }
        })?;
    }
    Ok(found)
}

fn dump(request: &[u8], mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let socket =
        socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(SOCK_DIAG))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    sendto(&socket, request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let (len, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        match messages(&buffer[..len], &mut each)? {
            MoreAnswers::Comes => {}
            MoreAnswers::No => return Ok(()),
        }
    }
}

/// Header and `struct inet_diag_req_v2`: every socket of the family in one of these states, with these attributes.
fn request(family: u8, states: u32, attributes: u8) -> [u8; 72] {
    let mut message = [0; 72];
    message[0..4].copy_from_slice(&72_u32.to_ne_bytes());
    message[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    message[6..8].copy_from_slice(&DUMP.to_ne_bytes());
    message[HEADER] = family;
    message[HEADER + 1] = IPPROTO_TCP;
    message[HEADER + 2] = attributes;
    message[HEADER + 4..HEADER + 8].copy_from_slice(&states.to_ne_bytes());
    message
}

#[derive(PartialEq, Eq, Debug)]
enum MoreAnswers {
    Comes,
    No,
}

/// Reads one datagram of answers.
fn messages(mut datagram: &[u8], each: &mut impl FnMut(&[u8])) -> io::Result<MoreAnswers> {
    while datagram.len() >= HEADER {
        let len = word(datagram, 0).unwrap_or(0) as usize;
        if len < HEADER || len > datagram.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let kind = u16::from_ne_bytes([datagram[4], datagram[5]]);
        let body = &datagram[HEADER..len];
        match kind {
            NLMSG_DONE => return Ok(MoreAnswers::No),
            NLMSG_ERROR => {
                let code = word(body, 0).unwrap_or(0).cast_signed();
                return Err(io::Error::from_raw_os_error(code.saturating_neg()));
            }
            BY_FAMILY => each(body),
            _ => {}
        }
        // The next message begins at a multiple of four.
        datagram = datagram.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(MoreAnswers::Comes)
}

/// `struct inet_diag_msg` and its attributes.
fn answer(body: &[u8]) -> Option<ListenSocket> {
    Some(ListenSocket {
        address: local(body)?,
        inode: word(body, 68)?.into(),
        accept_queue: word(body, 56)?,
        backlog: word(body, 60),
        drops: drops(&body[ANSWER..]),
    })
}

/// The local address in `struct inet_diag_msg`.
fn local(body: &[u8]) -> Option<SocketAddr> {
    if body.len() < ANSWER {
        return None;
    }
    let bytes: [u8; 16] = body[8..24].try_into().ok()?;
    let ip: IpAddr = match body[0] {
        AF_INET => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into(),
        AF_INET6 => Ipv6Addr::from(bytes).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes([body[4], body[5]])))
}

/// The drops among the attributes. Old kernels give the attribute fewer words.
fn drops(mut attributes: &[u8]) -> Option<u32> {
    while attributes.len() >= 4 {
        let len = usize::from(u16::from_ne_bytes([attributes[0], attributes[1]]));
        let kind = u16::from_ne_bytes([attributes[2], attributes[3]]);
        let payload = attributes.get(4..len)?;
        if kind == SKMEMINFO {
            return word(payload, DROPS * 4);
        }
        attributes = attributes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message as the kernel writes it: header, body, then attributes of whole words.
    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut m = Vec::new();
        m.extend(u32::try_from(HEADER + body.len()).unwrap().to_ne_bytes());
        m.extend(kind.to_ne_bytes());
        m.extend([0; 10]);
        m.extend(body);
        m
    }

    fn body(words: &[u32]) -> Vec<u8> {
        let mut b = vec![0; ANSWER];
        b[0] = AF_INET;
        b[4..6].copy_from_slice(&8080_u16.to_be_bytes());
        b[8..12].copy_from_slice(&[192, 0, 2, 7]);
        b[56..60].copy_from_slice(&9_u32.to_ne_bytes());
        b[60..64].copy_from_slice(&8_u32.to_ne_bytes());
        b[68..72].copy_from_slice(&4711_u32.to_ne_bytes());
        // An attribute of one byte before it, padded.
        b.extend([5, 0, 8, 0, 1, 0, 0, 0]);
        b.extend(u16::try_from(4 + words.len() * 4).unwrap().to_ne_bytes());
        b.extend(SKMEMINFO.to_ne_bytes());
        b.extend(words.iter().flat_map(|w| w.to_ne_bytes()));
        b
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn answers_are_read_with_and_without_drops() {
        let mut all = Vec::new();
        let mut datagram = message(BY_FAMILY, &body(&[0, 1, 2, 3, 4, 5, 6, 7, 33]));
        datagram.extend(message(BY_FAMILY, &body(&[0, 1, 2, 3, 4, 5, 6])));
        let mut each = |body: &[u8]| all.extend(answer(body));
        assert_eq!(messages(&datagram, &mut each).unwrap(), MoreAnswers::Comes);
        assert_eq!(messages(&message(NLMSG_DONE, &[0; 4]), &mut each).unwrap(), MoreAnswers::No);
        assert_eq!(all[0].address, "192.0.2.7:8080".parse().unwrap());
        assert_eq!((all[0].accept_queue, all[0].backlog, all[0].inode), (9, Some(8), 4711));
        assert_eq!(all[0].drops, Some(33));
        assert_eq!(all[1].drops, None, "a kernel that does not tell");
    }

    #[test]
    fn refusals_and_damage_are_errors() {
        let mut all: Vec<ListenSocket> = Vec::new();
        let mut each = |body: &[u8]| all.extend(answer(body));
        let refused = messages(&message(NLMSG_ERROR, &(-1_i32).to_ne_bytes()), &mut each).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(1));
        messages(&[0xff; 40], &mut each).unwrap_err();
        messages(&[0; 40], &mut each).unwrap_err();
        for len in 0..ANSWER + 24 {
            let _ = answer(&body(&[0; 9])[..len]);
        }
        assert!(all.is_empty());
    }

    #[test]
    fn a_listener_of_our_own_is_found() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let all = listening().expect("sock_diag is permitted to everybody");
        let ours = all.iter().find(|l| l.address == socket.local_addr().unwrap()).expect("it listens");
        assert_eq!(ours.accept_queue, 0);
        assert!(ours.backlog.is_some_and(|backlog| backlog > 0));
    }

    #[test]
    fn states_are_counted_at_the_ports_that_are_asked_about() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        let (server, _) = listener.accept().unwrap();
        drop(client);
        let there = |ports| states(&ports, TimeWait::Counted).unwrap().get(&address).copied();
        let until = std::time::Instant::now() + Duration::from_secs(5);
        let ports = BTreeSet::from([address.port()]);
        while there(ports.clone()).is_none_or(|states| states.close_wait != 1) {
            assert!(std::time::Instant::now() < until, "{:?}", there(ports));
        }
        assert_eq!(there(BTreeSet::new()), None);
        drop(server);
    }
}
