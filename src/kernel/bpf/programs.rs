//! The programs that run in the kernel, one for each hook.
//!
//! Each looks at one packet: is it TCP, and of the namespace that is watched? Then it copies the fields that identify
//! the packet into a record. The programs change nothing in the kernel and wake nobody: the reader polls.

use super::assembler::Jump::{Always, Differs, Equal, WordDiffers};
use super::assembler::Register::{R0, R1, R2, R3, R4, R6, R7, R8, R9, R10};
use super::assembler::Size::{Byte, Double, Half, Word};
use super::assembler::{Assembler, Helper, OUT};
use super::layout::{Arguments, Fields, Layout};
use super::record::{COPIED, LISTEN, RECORD, event, place};

/// Where the record lies on the stack, and eight bytes for temporary values.
const SCRATCH: i16 = -8;
const AT: i16 = SCRATCH - RECORD as i16;

/// `BPF_RB_NO_WAKEUP`
const NO_WAKE_UP: i32 = 1;
/// `SKB_DST_NOREF`: this bit of a packet's route is no part of the address.
const NO_REFERENCE: i32 = 1;

/// The value of the map that is not the ring: counters, then when each listener was last sampled.
pub mod shared {
    /// Records for which the ring had no room.
    pub const LOST: u32 = 0;
    /// Packets whose namespace is not known.
    pub const UNPLACED: u32 = 8;
    /// When a listener was last sampled, by a hash of its address.
    pub const SAMPLED: u32 = 16;
    /// How many of those.
    pub const SAMPLES: u32 = 256;
    /// Bytes of all.
    pub const SIZE: u32 = SAMPLED + 8 * SAMPLES;
}

/// A listener whose queues are far from full is sampled this often.
const SAMPLE: i32 = 100_000_000;

/// The values that every program needs.
pub struct Target<'l> {
    /// The kernel.
    pub layout: &'l Layout,
    /// Number of the namespace that is watched.
    pub namespace: u32,
    /// Descriptor of the ring.
    pub ring: i32,
    /// Descriptor of the map with [`shared`].
    pub counters: i32,
}

/// Where a program finds its arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArgumentLayout<'l> {
    /// One after the other, eight bytes each: for tracepoints and fentry.
    InOrder,
    /// In the registers of a kprobe, at these places.
    Registers(&'l [i16]),
}

impl ArgumentLayout<'_> {
    fn place(self, argument: usize) -> Option<i16> {
        match self {
            ArgumentLayout::InOrder => i16::try_from(8 * argument).ok(),
            ArgumentLayout::Registers(places) => places.get(argument).copied(),
        }
    }
}

impl Target<'_> {
    /// At `skb:kfree_skb`.
    pub fn freed(&self) -> Vec<u64> {
        let (f, arguments) = (&self.layout.fields, self.layout.freed);
        let mut code = begin(event::DROPPED);
        if let Some(reason) = arguments.reason {
            code.load(Double, R1, R6, in_order(reason));
            for number in &self.layout.no_loss {
                code.jump(Equal, R1, *number as i32, OUT);
            }
            code.store(Word, R10, AT + place::REASON, R1);
        }
        code.load(Double, R7, R6, in_order(arguments.packet));
        only_ip(&mut code, f);
        code.load(Double, R1, R6, in_order(arguments.packet + 1));
        code.store(Double, R10, AT + place::LOCATION, R1);
        socket(&mut code, arguments);
        self.only_this_namespace(&mut code);
        packet(&mut code, f);
        listener(&mut code, f);
        self.hand_over(code)
    }

    /// At `tcp:tcp_send_reset`.
    pub fn reset(&self) -> Vec<u64> {
        let (f, arguments) = (&self.layout.fields, self.layout.reset);
        let mut code = begin(event::RESET);
        if let Some(reason) = arguments.reason {
            code.load(Double, R1, R6, in_order(reason));
            code.store(Word, R10, AT + place::REASON, R1);
        }
        code.load(Double, R7, R6, in_order(arguments.packet));
        socket(&mut code, arguments);
        code.jump(Equal, R7, 0, "by the socket");
        self.only_this_namespace(&mut code);
        packet(&mut code, f);
        listener(&mut code, f);
        code.jump(Always, R0, 0, "hand over");

        code.label("by the socket");
        code.jump(Equal, R8, 0, OUT);
        code.set(R0, event::RESET_BY_SOCKET);
        code.store(Word, R10, AT + place::EVENT, R0);
        self.only_sockets_of_this_namespace(&mut code);
        code.read(AT + place::FAMILY, 2, R8, f.family);
        code.read(AT + place::LOCAL_PORT, 2, R8, f.local_port);
        code.read(AT + place::PEER_PORT, 2, R8, f.peer_port);
        code.read(AT + place::LOCAL_V4, 4, R8, f.local_v4);
        code.read(AT + place::PEER_V4, 4, R8, f.peer_v4);
        if let (Some(local), Some(peer)) = (f.local_v6, f.peer_v6) {
            code.read(AT + place::LOCAL_V6, 16, R8, local);
            code.read(AT + place::PEER_V6, 16, R8, peer);
        }
        code.read(AT + place::NEXT_SENT, 4, R8, f.next_sent);
        code.label("hand over");
        self.hand_over(code)
    }

    /// At the entry of a function that a SYN or a final ACK passes at its listener; `None` where `entry` does not have
    /// its arguments.
    ///
    /// Every packet is handed over while a queue is at three quarters of its limit or above, otherwise one now and then.
    /// `number` tells the functions apart.
    pub fn at_listener(
        &self,
        number: i32,
        arguments: Arguments,
        entry: ArgumentLayout<'_>,
    ) -> Option<Vec<u64>> {
        let f = &self.layout.fields;
        let mut code = begin(event::AT_LISTENER);
        code.set(R1, number);
        code.store(Word, R10, AT + place::REASON, R1);
        code.load(Double, R8, R6, entry.place(arguments.socket?)?);
        code.load(Double, R7, R6, entry.place(arguments.packet)?);
        self.only_sockets_of_this_namespace(&mut code);
        code.set(R1, LISTEN.into());
        code.store(Byte, R10, AT + place::STATE, R1);
        if let Some(cookies) = f.cookies {
            // R9 is the namespace.
            code.read(SCRATCH, 1, R9, cookies);
            code.load(Byte, R1, R10, SCRATCH);
            code.add(R1, 1);
            code.store(Byte, R10, AT + place::COOKIES, R1);
        }
        queues(&mut code, f);
        code.load(Word, R2, R10, AT + place::LIMIT);
        code.copy(R3, R2);
        code.shift_left(R3, 1);
        code.add_register(R3, R2);
        for queue in [place::ACCEPT_QUEUE, place::SYN_QUEUE] {
            code.load(Word, R1, R10, AT + queue);
            code.shift_left(R1, 2);
            code.jump_at_least(R1, R3, "wanted");
        }
        self.sample(&mut code);
        code.label("wanted");
        packet(&mut code, f);
        Some(self.hand_over(code))
    }

    /// Ends the program unless the listener (R8) was last sampled long ago. Addresses of sockets are multiples of 64.
    fn sample(&self, code: &mut Assembler) {
        code.call(Helper::Time);
        code.map_value(R1, self.counters, shared::SAMPLED);
        code.copy(R2, R8);
        code.shift_right(R2, 6);
        code.and(R2, shared::SAMPLES as i32 - 1);
        code.shift_left(R2, 3);
        code.add_register(R1, R2);
        code.load(Double, R3, R1, 0);
        code.copy(R4, R0);
        code.subtract_register(R4, R3);
        code.set(R3, SAMPLE);
        code.jump_at_least(R4, R3, "due");
        code.jump(Always, R0, 0, OUT);
        code.label("due");
        code.store(Double, R1, 0, R0);
    }

    /// Ends the program unless the packet (R7) is of the namespace. The device of the packet names the namespace. A packet
    /// that has come to a socket has no device any more; then the socket (R8) or the route names it.
    fn only_this_namespace(&self, code: &mut Assembler) {
        let f = &self.layout.fields;
        code.read(SCRATCH, 8, R7, f.device);
        code.load(Double, R9, R10, SCRATCH);
        code.jump(Differs, R9, 0, "device");
        code.jump(Equal, R8, 0, "route");
        code.read(SCRATCH, 8, R8, f.socket_namespace);
        code.load(Double, R9, R10, SCRATCH);
        code.jump(Always, R0, 0, "namespace");
        code.label("route");
        code.read(SCRATCH, 8, R7, f.route);
        code.load(Double, R9, R10, SCRATCH);
        code.and(R9, !NO_REFERENCE);
        code.jump(Equal, R9, 0, "unplaced");
        code.read(SCRATCH, 8, R9, f.route_device);
        code.load(Double, R9, R10, SCRATCH);
        code.jump(Differs, R9, 0, "device");
        code.label("unplaced");
        code.map_value(R1, self.counters, shared::UNPLACED);
        code.set(R2, 1);
        code.count(R1, 0, R2);
        code.jump(Always, R0, 0, OUT);
        code.label("device");
        code.read(SCRATCH, 8, R9, f.device_namespace);
        code.load(Double, R9, R10, SCRATCH);
        code.label("namespace");
        self.only_namespace(code);
    }

    fn only_sockets_of_this_namespace(&self, code: &mut Assembler) {
        code.read(SCRATCH, 8, R8, self.layout.fields.socket_namespace);
        code.load(Double, R9, R10, SCRATCH);
        self.only_namespace(code);
    }

    /// Ends the program unless R9 is the namespace. R9 stays.
    fn only_namespace(&self, code: &mut Assembler) {
        code.read(SCRATCH, 4, R9, self.layout.fields.namespace_number);
        code.load(Word, R1, R10, SCRATCH);
        code.jump(WordDiffers, R1, self.namespace as i32, OUT);
    }

    /// Puts the record into the ring, or counts that there was no room.
    fn hand_over(&self, mut code: Assembler) -> Vec<u64> {
        code.call(Helper::Time);
        code.store(Double, R10, AT + place::TIME, R0);
        code.map(R1, self.ring);
        code.copy(R2, R10);
        code.add(R2, AT.into());
        code.set(R3, RECORD as i32);
        code.set(R4, NO_WAKE_UP);
        code.call(Helper::RingOutput);
        code.jump(Equal, R0, 0, OUT);
        code.map_value(R1, self.counters, shared::LOST);
        code.set(R2, 1);
        code.count(R1, 0, R2);
        code.finish()
    }
}

fn in_order(argument: usize) -> i16 {
    8 * argument as i16
}

/// R6 = what the hook gives; the record is empty but for what happened.
fn begin(event: i32) -> Assembler {
    let mut code = Assembler::default();
    code.copy(R6, R1);
    code.set(R0, 0);
    for at in (AT..0).step_by(8) {
        code.store(Double, R10, at, R0);
    }
    code.set(R0, event);
    code.store(Word, R10, AT + place::EVENT, R0);
    code
}

/// R8 = the socket, or 0 where the hook has none.
fn socket(code: &mut Assembler, arguments: Arguments) {
    match arguments.socket {
        Some(socket) => code.load(Double, R8, R6, in_order(socket)),
        None => code.set(R8, 0),
    }
}

/// Ends the program unless the packet (R7) is IP.
fn only_ip(code: &mut Assembler, f: &Fields) {
    const IPV4: u16 = 0x0800_u16.to_be();
    const IPV6: u16 = 0x86dd_u16.to_be();
    code.read(SCRATCH, 2, R7, f.protocol);
    code.load(Half, R1, R10, SCRATCH);
    code.jump(Equal, R1, IPV4.into(), "IP");
    code.jump(Differs, R1, IPV6.into(), OUT);
    code.label("IP");
}

/// Copies the packet (R7), and ends the program unless it is TCP.
fn packet(code: &mut Assembler, f: &Fields) {
    code.read(SCRATCH, 2, R7, f.network_header);
    code.load(Half, R9, R10, SCRATCH);
    code.read(SCRATCH, 4, R7, f.tail);
    code.load(Word, R1, R10, SCRATCH);
    code.subtract_register(R1, R9);
    code.store(Word, R10, AT + place::LINEAR, R1);
    code.read(AT + place::LENGTH, 4, R7, f.length);
    code.read(SCRATCH, 8, R7, f.head);
    code.load(Double, R1, R10, SCRATCH);
    code.add_register(R9, R1);
    code.read(AT + place::PACKET, COPIED as i32, R9, 0);
    only_tcp(code);
}

fn only_tcp(code: &mut Assembler) {
    const TCP: i32 = 6;
    code.load(Byte, R1, R10, AT + place::PACKET);
    code.shift_right(R1, 4);
    code.jump(Differs, R1, 4, "IPv6");
    code.load(Byte, R1, R10, AT + place::PACKET + 9);
    code.jump(Equal, R1, TCP, "TCP");
    code.jump(Always, R0, 0, OUT);
    code.label("IPv6");
    code.load(Byte, R1, R10, AT + place::PACKET + 6);
    code.jump(Differs, R1, TCP, OUT);
    code.label("TCP");
}

/// Reads the queues of the socket (R8), if it is a listener.
fn listener(code: &mut Assembler, f: &Fields) {
    code.jump(Equal, R8, 0, "no listener");
    code.read(AT + place::STATE, 1, R8, f.state);
    code.load(Byte, R1, R10, AT + place::STATE);
    code.jump(Differs, R1, LISTEN.into(), "no listener");
    queues(code, f);
    code.label("no listener");
}

fn queues(code: &mut Assembler, f: &Fields) {
    code.read(AT + place::ACCEPT_QUEUE, 4, R8, f.accept_queue);
    code.read(AT + place::LIMIT, 4, R8, f.accept_limit);
    code.read(AT + place::SYN_QUEUE, 4, R8, f.syn_queue);
}
