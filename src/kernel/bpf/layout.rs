//! The facts about this kernel that the programs need: where fields lie, the arguments of its hooks, the names of its
//! reasons.
//!
//! All of it comes from the kernel's own description. Fields move and numbers change from version to version.

use std::collections::BTreeMap;

use super::btf::{Btf, Parameter, TypeId};

/// Functions at whose entry the queues of a listener are read, and the packets that pass through them.
pub const FUNCTIONS: [&str; 3] = ["tcp_conn_request", "tcp_v4_syn_recv_sock", "tcp_v6_syn_recv_sock"];

/// Reasons of packets that were not lost: freed after use, or in a queue of a socket that went away. Another is a copy
/// for a packet socket or raw socket without room: TCP gets the packet itself.
const NO_LOSS: [&str; 4] = [
    "SKB_CONSUMED",
    "SKB_DROP_REASON_QUEUE_PURGE",
    "SKB_DROP_REASON_PACKET_SOCK_ERROR",
    "SKB_DROP_REASON_SOCKET_RCVBUFF",
];

/// Where fields lie: bytes from the beginning of their structure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fields {
    /// `sk_buff.head`, the buffer that the next three count from.
    pub head: i32,
    /// `sk_buff.network_header`
    pub network_header: i32,
    /// `sk_buff.tail`
    pub tail: i32,
    /// `sk_buff.len`
    pub length: i32,
    /// `sk_buff.protocol`
    pub protocol: i32,
    /// `sk_buff.dev`
    pub device: i32,
    /// `sk_buff._skb_refdst`
    pub route: i32,
    /// `dst_entry.dev`
    pub route_device: i32,
    /// `net_device.nd_net`
    pub device_namespace: i32,
    /// `net.ns.inum`
    pub namespace_number: i32,
    /// `sock.__sk_common.skc_net`
    pub socket_namespace: i32,
    /// `sock.__sk_common.skc_state`
    pub state: i32,
    /// `sock.__sk_common.skc_family`
    pub family: i32,
    /// `inet_sock.inet_sport`: a socket that was closed no longer has its `skc_num`.
    pub local_port: i32,
    /// `sock.__sk_common.skc_dport`
    pub peer_port: i32,
    /// `sock.__sk_common.skc_rcv_saddr`
    pub local_v4: i32,
    /// `sock.__sk_common.skc_daddr`
    pub peer_v4: i32,
    /// `sock.__sk_common.skc_v6_rcv_saddr`
    pub local_v6: Option<i32>,
    /// `sock.__sk_common.skc_v6_daddr`
    pub peer_v6: Option<i32>,
    /// `sock.sk_ack_backlog`
    pub accept_queue: i32,
    /// `sock.sk_max_ack_backlog`
    pub accept_limit: i32,
    /// `inet_connection_sock.icsk_accept_queue.qlen`
    pub syn_queue: i32,
    /// `net.ipv4.sysctl_tcp_syncookies`
    pub cookies: Option<i32>,
    /// `tcp_sock.snd_nxt`
    pub next_sent: i32,
}

/// The place of each argument, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Arguments {
    /// The packet.
    pub packet: usize,
    /// The socket.
    pub socket: Option<usize>,
    /// The reason.
    pub reason: Option<usize>,
}

/// A function of the kernel that can be watched.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Its place in [`FUNCTIONS`].
    pub number: i32,
    /// Its type.
    pub id: TypeId,
    /// Its arguments; it has a socket.
    pub arguments: Arguments,
    /// Where a kprobe finds the first arguments: bytes from the beginning of the registers.
    pub registers: Vec<i16>,
}

/// All of it.
pub struct Layout {
    /// Where fields lie.
    pub fields: Fields,
    /// The tracepoint `skb:kfree_skb`.
    pub freed: Arguments,
    /// The tracepoint `tcp:tcp_send_reset`.
    pub reset: Arguments,
    /// Functions that this kernel has.
    pub functions: Vec<Function>,
    /// Names of `enum skb_drop_reason` without their prefix; empty before Linux 5.17.
    pub drop_reasons: BTreeMap<u32, String>,
    /// Names of `enum sk_rst_reason` without their prefix; empty before Linux 6.10.
    pub reset_reasons: BTreeMap<u32, String>,
    /// Drop reasons that are no loss.
    pub no_loss: Vec<u32>,
}

impl Layout {
    /// What `btf` says.
    ///
    /// # Errors
    /// The name of a field or tracepoint that this kernel does not have.
    pub fn of(btf: &Btf) -> Result<Layout, String> {
        let drop_reasons = btf.names_of("skb_drop_reason");
        let no_loss = drop_reasons
            .iter()
            .filter(|(_, name)| NO_LOSS.contains(&name.as_str()))
            .map(|(n, _)| *n)
            .collect();
        let strip = |names: BTreeMap<u32, String>, prefixes: &[&str]| {
            let short = |name: String| {
                prefixes.iter().find_map(|p| name.strip_prefix(p)).map(str::to_owned).unwrap_or(name)
            };
            names.into_iter().map(|(n, name)| (n, short(name))).collect()
        };
        Ok(Layout {
            fields: fields(btf)?,
            freed: tracepoint(btf, "kfree_skb")?,
            reset: tracepoint(btf, "tcp_send_reset")?,
            functions: (0..).zip(FUNCTIONS).filter_map(|(n, name)| function(btf, n, name)).collect(),
            drop_reasons: strip(drop_reasons, &["SKB_DROP_REASON_", "SKB_"]),
            reset_reasons: strip(btf.names_of("sk_rst_reason"), &["SK_RST_REASON_"]),
            no_loss,
        })
    }
}

fn fields(btf: &Btf) -> Result<Fields, String> {
    let may = |structure: &str, path: &str| btf.offset(structure, path).and_then(|at| i32::try_from(at).ok());
    let must = |structure: &str, path: &str| {
        may(structure, path).ok_or_else(|| format!("this kernel has no field {structure}.{path}"))
    };
    let common = |field: &str| must("sock", &format!("__sk_common.{field}"));
    Ok(Fields {
        head: must("sk_buff", "head")?,
        network_header: must("sk_buff", "network_header")?,
        tail: must("sk_buff", "tail")?,
        length: must("sk_buff", "len")?,
        protocol: must("sk_buff", "protocol")?,
        device: must("sk_buff", "dev")?,
        route: must("sk_buff", "_skb_refdst")?,
        route_device: must("dst_entry", "dev")?,
        device_namespace: must("net_device", "nd_net")?,
        namespace_number: must("net", "ns.inum")?,
        socket_namespace: common("skc_net")?,
        state: common("skc_state")?,
        family: common("skc_family")?,
        local_port: must("inet_sock", "inet_sport")?,
        peer_port: common("skc_dport")?,
        local_v4: common("skc_rcv_saddr")?,
        peer_v4: common("skc_daddr")?,
        local_v6: common("skc_v6_rcv_saddr").ok(),
        peer_v6: common("skc_v6_daddr").ok(),
        accept_queue: must("sock", "sk_ack_backlog")?,
        accept_limit: must("sock", "sk_max_ack_backlog")?,
        syn_queue: must("inet_connection_sock", "icsk_accept_queue.qlen")?,
        cookies: may("net", "ipv4.sysctl_tcp_syncookies"),
        next_sent: must("tcp_sock", "snd_nxt")?,
    })
}

fn tracepoint(btf: &Btf, name: &str) -> Result<Arguments, String> {
    let parameters = btf.tracepoint(name).ok_or_else(|| format!("this kernel has no tracepoint {name}"))?;
    arguments(&parameters).ok_or_else(|| format!("the tracepoint {name} has no packet"))
}

fn function(btf: &Btf, number: i32, name: &'static str) -> Option<Function> {
    let id = btf.function(name)?;
    let arguments = arguments(&btf.parameters(id)?)?;
    arguments.socket?;
    Some(Function { name, number, id, arguments, registers: registers(btf) })
}

fn arguments(parameters: &[Parameter]) -> Option<Arguments> {
    let pointer =
        |name: &str| parameters.iter().position(|p| matches!(p, Parameter::Pointer(to) if to == name));
    let reason =
        |p: &Parameter| matches!(p, Parameter::Enum(e) if e == "skb_drop_reason" || e == "sk_rst_reason");
    Some(Arguments {
        packet: pointer("sk_buff")?,
        socket: pointer("sock"),
        reason: parameters.iter().position(reason),
    })
}

/// Where this processor's registers for arguments lie in what a kprobe gets; empty where that is not known.
fn registers(btf: &Btf) -> Vec<i16> {
    let (structure, names): (&str, &[&str]) = match () {
        () if cfg!(target_arch = "x86_64") => ("pt_regs", &["di", "si", "dx", "cx", "r8", "r9"]),
        () if cfg!(target_arch = "aarch64") => {
            // An array of registers of eight bytes; arguments are in the first ones.
            let first = btf.offset("user_pt_regs", "regs").and_then(|at| i16::try_from(at).ok());
            return first.map_or(Vec::new(), |first| (0..6).map(|n| first + 8 * n).collect());
        }
        () => return Vec::new(),
    };
    let place = |name: &&str| btf.offset(structure, name).and_then(|at| i16::try_from(at).ok());
    names.iter().map_while(place).collect()
}
