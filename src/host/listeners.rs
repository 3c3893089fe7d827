//! Listening sockets and their accept queues: what `ss -ltnm` shows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// A listening TCP socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ListenSocket {
    /// Where it listens; an unspecified address means all of the host's.
    pub address: SocketAddr,
    /// Its inode, which identifies it: another socket may have the same address later.
    pub inode: u64,
    /// Connections that wait to be accepted: `ss` prints this as Recv-Q.
    pub accept_queue: u32,
    /// Its limit: the smaller of listen()'s argument and `somaxconn`, Send-Q of `ss`. One more fits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub backlog: Option<u32>,
    /// Segments dropped at this socket (`d` of `ss -m`). From Linux 4.9 on each overflow counts here.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub drops: Option<u32>,
}

/// How many sockets of a listener are in states that show trouble.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketStates {
    /// Its client has closed, the application has not.
    pub close_wait: u32,
    /// The final ACK has not come, or was refused.
    pub syn_recv: u32,
    /// `None` if there are too many in the whole namespace to be counted one by one.
    pub time_wait: Option<u32>,
}

impl SocketStates {
    /// Adds those of another address of the same listener.
    #[must_use]
    pub fn plus(self, other: SocketStates) -> SocketStates {
        SocketStates {
            close_wait: self.close_wait + other.close_wait,
            syn_recv: self.syn_recv + other.syn_recv,
            time_wait: self.time_wait.zip(other.time_wait).map(|(a, b)| a + b),
        }
    }
}

/// State of a listening socket in `/proc/net/tcp` (`TCP_LISTEN`).
const LISTEN: &str = "0A";

/// The listening sockets in `/proc/net/tcp` or `tcp6`. For them `rx_queue` is the length of the accept queue.
pub fn from_proc(text: &str) -> Vec<ListenSocket> {
    // sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode ...
    let socket = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if *fields.get(3)? != LISTEN {
            return None;
        }
        let (_, waiting) = fields.get(4)?.split_once(':')?;
        Some(ListenSocket {
            address: proc_address(fields.get(1)?)?,
            inode: fields.get(9)?.parse().ok()?,
            accept_queue: u32::from_str_radix(waiting, 16).ok()?,
            backlog: None,
            drops: None,
        })
    };
    text.lines().filter_map(socket).collect()
}

/// `0100007F:1F90`: words of the address as this machine holds them in memory, and the port.
fn proc_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    if !matches!(address.len(), 8 | 32) {
        return None;
    }
    let words = address
        .as_bytes()
        .chunks(8)
        .map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok())
        .collect::<Option<Vec<u32>>>()?;
    let ip: IpAddr = match words[..] {
        [word] => Ipv4Addr::from(word.to_ne_bytes()).into(),
        [a, b, c, d] => {
            let mut bytes = [0; 16];
            for (to, word) in bytes.chunks_mut(4).zip([a, b, c, d]) {
                to.copy_from_slice(&word.to_ne_bytes());
            }
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// Those of `all` that take connections to `server`: bound to its address, or else to all addresses.
pub fn serving(all: &[ListenSocket], server: SocketAddr) -> Vec<&ListenSocket> {
    let bound = |ip: IpAddr| -> Vec<&ListenSocket> {
        all.iter().filter(|l| l.address.port() == server.port() && l.address.ip() == ip).collect()
    };
    let version_4 = server.is_ipv4().then_some(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let places = [Some(server.ip()), version_4, Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED))];
    places.into_iter().flatten().map(bound).find(|found| !found.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000007 00:00000000 00000000  1000        0 22417 2 0000000000000000 100 0 0 10 0
   1: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 18001 1 0000000000000000 100 0 0 10 5
   2: 0100007F:0016 0100007F:D2A4 01 00000000:00000000 02:000A8B5C 00000000     0        0 30999 3 0000000000000000 20 4 1 10 -1
";
    const TCP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A 00000000:00000080 00:00000000 00000000     0        0 19000 1 0000000000000000 100 0 0 10 0
   1: B80D0120000000000000000007000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 19001 1 0000000000000000 100 0 0 10 0
";

    #[test]
    #[cfg(target_endian = "little")]
    fn proc_shows_the_accept_queue_and_no_backlog() {
        let v4 = from_proc(TCP);
        assert_eq!(v4.len(), 2, "{v4:?}");
        assert_eq!(v4[0].address, "0.0.0.0:8080".parse().unwrap());
        assert_eq!((v4[0].accept_queue, v4[0].inode), (7, 22417));
        assert_eq!((v4[0].backlog, v4[0].drops), (None, None));
        assert_eq!(v4[1].address, "127.0.0.1:22".parse().unwrap());
        let v6 = from_proc(TCP6);
        assert_eq!((v6[0].address, v6[0].accept_queue), ("[::]:443".parse().unwrap(), 128));
        assert_eq!(v6[1].address, "[2001:db8::7]:80".parse().unwrap());
    }

    #[test]
    fn damaged_lines_are_passed_over() {
        let none: Vec<ListenSocket> = Vec::new();
        assert_eq!(from_proc(""), none);
        assert_eq!(from_proc("   0: 00000000:1F90 00000000:0000 0A"), none);
        assert_eq!(from_proc("   0: 000000:1F90 00000000:0000 0A 0:0 0 0 0 0 7"), none);
        assert_eq!(from_proc("   0: 00000000é:1F90 x 0A 0:0 0 0 0 0 7"), none);
    }

    #[test]
    fn the_socket_bound_to_the_address_serves_it_before_one_bound_to_all() {
        let socket = |address: &str| ListenSocket {
            address: address.parse().unwrap(),
            inode: 1,
            accept_queue: 0,
            backlog: None,
            drops: None,
        };
        let all = [socket("0.0.0.0:80"), socket("192.0.2.7:80"), socket("[::]:443"), socket("192.0.2.7:80")];
        let at = |server: &str| serving(&all, server.parse().unwrap());
        assert_eq!(at("192.0.2.7:80"), [&all[1], &all[3]], "SO_REUSEPORT: several share one address");
        assert_eq!(at("192.0.2.8:80"), [&all[0]]);
        assert_eq!(at("192.0.2.8:443"), [&all[2]], "a socket of version 6 takes version 4, too");
        assert!(at("[2001:db8::1]:80").is_empty());
    }
}
