//! Link layers: what is known of each of them stays, its addresses, names and labels for people go.

use super::{Place, Walk};
use crate::capture::link_types::*;

/// From here on an Ethernet type is a type and no length.
const FIRST_TYPE: u16 = 0x0600;

impl Walk<'_, '_> {
    /// A packet of the link type `link` that begins at `at`.
    pub(super) fn link(&mut self, link: u16, at: Place) -> Place {
        match link {
            ETHERNET => self.ethernet(at),
            LINUX_SLL => {
                self.blank(at + 6, 8);
                self.cooked(at + 14, at + 16)
            }
            LINUX_SLL2 => {
                self.blank(at + 12, 8);
                self.cooked(at, at + 20)
            }
            RAW | RAW_BSD | RAW_OPENBSD | IPV4 | IPV6 => self.ip(at),
            NULL | LOOP => self.ip(at + 4),
            PPP | PPP_HDLC => self.serial(at),
            PPP_ETHER => self.ppp(at + 6),
            PPP_WITH_DIR | PPP_PPPD => self.serial(at + 1),
            C_HDLC => self.cisco_hdlc(at),
            C_HDLC_WITH_DIR => self.cisco_hdlc(at + 1),
            FRELAY => self.frame_relay(at),
            FRELAY_WITH_DIR => self.frame_relay(at + 1),
            ATM_RFC1483 => self.llc(at),
            SUNATM => self.llc(at + 4),
            MPLS => self.mpls(at),
            NFLOG => self.nflog(at),
            IEEE802_11 => self.wlan(at, false),
            RADIOTAP => self.radiotap(at),
            PRISM => self.prism(at),
            AVS => self.avs(at),
            PPI => {
                let length = self.le16(at + 2);
                self.behind(at, length, 8, self.le16(at + 4))
            }
            // Process and interface names are in this one.
            PKTAP => {
                let length = self.le16(at);
                self.behind(at, length, 12, self.le16(at + 8))
            }
            PFLOG => {
                let Some(length) = self.byte(at) else { return at };
                let length = usize::from(length).next_multiple_of(4);
                self.blank(at + 2, length.saturating_sub(2));
                self.ip(at + length)
            }
            ENC => self.ip(at + 12),
            APPLE_IP_OVER_IEEE1394 => {
                self.blank(at, 16);
                self.ethertype(at + 16)
            }
            NETANALYZER => self.ethernet(at + 4),
            ETHERNET_MPACKET => self.ethernet(at + 8),
            _ => at,
        }
    }

    fn le16(&self, at: Place) -> Option<u16> {
        self.be16(at).map(u16::swap_bytes)
    }

    /// A packet of another link type behind a header of `length` bytes, of which the first `kept` stay.
    fn behind(&mut self, at: Place, length: Option<u16>, kept: usize, link: Option<u16>) -> Place {
        let (Some(length), Some(link)) = (length.map(usize::from), link) else { return at };
        if length < kept || !self.enter() {
            return at;
        }
        self.blank(at + kept, length.saturating_sub(kept));
        self.link(link, at + length)
    }

    pub(super) fn ethernet(&mut self, at: Place) -> Place {
        self.blank(at, 12);
        self.ethertype(at + 12)
    }

    /// Ethernet in a tunnel.
    pub(super) fn ethernet_inside(&mut self, at: Place) -> Place {
        if self.enter() { self.ethernet(at) } else { at }
    }

    /// An Ethernet type at `at`, and what it announces behind it.
    fn ethertype(&mut self, at: Place) -> Place {
        match self.be16(at) {
            Some(kind) => self.typed(kind, at + 2),
            None => at,
        }
    }

    /// What the Ethernet type `kind` announces at `at`.
    pub(super) fn typed(&mut self, kind: u16, at: Place) -> Place {
        if !self.enter() {
            return at;
        }
        match kind {
            0x0800 | 0x86dd => self.ip(at),
            // VLAN tags.
            0x8100 | 0x88a8 | 0x9100 => self.ethertype(at + 2),
            // VN-Tag.
            0x8926 => self.ethertype(at + 4),
            // Backbone service instance tag.
            0x88e7 => self.ethernet(at + 4),
            0x8847 | 0x8848 => self.mpls(at),
            0x8864 => self.ppp(at + 6),
            // Ethernet inside GRE or Geneve.
            0x6558 => self.ethernet(at),
            ..FIRST_TYPE => self.llc(at),
            _ => at,
        }
    }

    /// The protocol of a cooked header at `field`: an Ethernet type, or 4 for LLC.
    fn cooked(&mut self, field: Place, at: Place) -> Place {
        match self.be16(field) {
            Some(4) => self.llc(at),
            Some(kind) if kind >= FIRST_TYPE => self.typed(kind, at),
            _ => at,
        }
    }

    fn llc(&mut self, at: Place) -> Place {
        match self.bytes::<3>(at) {
            Some([0xaa, 0xaa, 0x03]) => self.snap(at + 3),
            Some([0x06, 0x06, 0x03]) => self.ip(at + 3),
            Some([0xfe, 0xfe, 0x03]) => self.network_layer(at + 3),
            _ => at,
        }
    }

    fn snap(&mut self, at: Place) -> Place {
        match (self.bytes::<3>(at), self.be16(at + 3)) {
            (Some([0, 0, 0] | [0, 0, 0xf8]), Some(kind)) if kind >= FIRST_TYPE => self.typed(kind, at + 5),
            (Some([0, 0x80, 0xc2]), Some(1 | 7)) => self.ethernet_inside(at + 7),
            _ => at,
        }
    }

    /// A network layer protocol identifier.
    fn network_layer(&mut self, at: Place) -> Place {
        match self.byte(at) {
            Some(0xcc | 0x8e) => self.ip(at + 1),
            Some(0x80) => self.snap(at + 1),
            _ => at,
        }
    }

    pub(super) fn mpls(&mut self, mut at: Place) -> Place {
        while let Some(low) = self.byte(at + 2) {
            at += 4;
            // The bottom of the stack.
            if low & 1 == 0 {
                continue;
            }
            let carries_ip = |place| matches!(place, Some(0x0800 | 0x86dd | 0x8100 | 0x88a8 | 0x9100));
            return match self.byte(at).map(|first| first >> 4) {
                Some(4 | 6) => self.ip(at),
                // A pseudowire, with a control word or without.
                Some(0) if carries_ip(self.be16(at + 16)) => self.ethernet_inside(at + 4),
                Some(_) if carries_ip(self.be16(at + 12)) => self.ethernet_inside(at),
                _ => at,
            };
        }
        at
    }

    pub(super) fn ppp(&mut self, mut at: Place) -> Place {
        if self.be16(at) == Some(0xff03) {
            at += 2;
        }
        let (protocol, at) = match (self.byte(at), self.be16(at)) {
            // Compressed to one byte.
            (Some(first), _) if first & 1 != 0 => (u16::from(first), at + 1),
            (_, Some(both)) => (both, at + 2),
            _ => return at,
        };
        match protocol {
            0x0021 | 0x0057 => self.ip(at),
            0x0281 | 0x0283 => self.mpls(at),
            _ => at,
        }
    }

    /// PPP or, by its first bytes, Cisco HDLC.
    fn serial(&mut self, at: Place) -> Place {
        match self.be16(at) {
            Some(0x0f00 | 0x8f00) => self.cisco_hdlc(at),
            Some(0x0300) => self.ppp(at + 1),
            _ => self.ppp(at),
        }
    }

    fn cisco_hdlc(&mut self, at: Place) -> Place {
        match (self.be16(at), self.be16(at + 2)) {
            (Some(0xff03), _) => self.ppp(at),
            (_, Some(0xfefe)) => self.network_layer(at + 5),
            (_, Some(kind)) if kind >= FIRST_TYPE => self.typed(kind, at + 4),
            _ => at,
        }
    }

    fn frame_relay(&mut self, mut at: Place) -> Place {
        // An address of two to four bytes; the lowest bit ends it.
        let last = at + 4;
        while self.byte(at).is_some_and(|byte| byte & 1 == 0) && at < last {
            at += 1;
        }
        at += 1;
        match self.be16(at) {
            Some(0x0300) => self.network_layer(at + 2),
            Some(kind) if kind >> 8 == 3 => self.network_layer(at + 1),
            Some(kind) if kind >= FIRST_TYPE => self.typed(kind, at + 2),
            _ => at,
        }
    }

    /// Netfilter's log: the packet stays, all other attributes (prefixes, MAC addresses, user ids) lose their content.
    fn nflog(&mut self, at: Place) -> Place {
        const PACKET_HEADER: u16 = 1;
        const PAYLOAD: u16 = 9;
        let mut place = at + 4;
        // Lengths and types are in the order of the host that captured; a type is a small number.
        while let (Some(length), Some(kind)) = (self.be16(place), self.be16(place + 2)) {
            let (length, kind) =
                if kind <= 0xff { (length, kind) } else { (length.swap_bytes(), kind.swap_bytes()) };
            let Some(bytes) = usize::from(length).checked_sub(4) else { return place };
            match kind {
                PAYLOAD => return self.ip(place + 4),
                // The hook says which way it went.
                PACKET_HEADER => {}
                _ => self.blank(place + 4, bytes),
            }
            place += bytes.saturating_add(4).next_multiple_of(4);
        }
        place
    }

    /// An IEEE 802.11 frame; `padded` when its body is aligned to four bytes.
    fn wlan(&mut self, at: Place, padded: bool) -> Place {
        let (Some(control), Some(sequence)) = (self.be16(at), self.byte(at + 22)) else { return at };
        let [subtype, flags] = control.to_be_bytes();
        self.blank(at + 4, 18);
        let data = subtype & 0x0f == 0x08 && subtype & 0x40 == 0;
        let mut body = at + 24;
        // Whether the header is longer than a multiple of four by two bytes.
        let mut odd = false;
        if !data || flags & 0x40 != 0 || sequence & 0x0f != 0 {
            return body;
        }
        if flags & 3 == 3 {
            self.blank(body, 6);
            body += 6;
            odd = !odd;
        }
        if subtype & 0x80 != 0 {
            if self.byte(body).is_none_or(|control| control & 0x80 != 0) {
                return body;
            }
            body += 2;
            odd = !odd;
            if flags & 0x80 != 0 {
                body += 4;
            }
        }
        if padded && odd {
            body += 2;
        }
        self.llc(body)
    }

    /// Radiotap: of its fields the flags stay.
    fn radiotap(&mut self, at: Place) -> Place {
        const TIME: u32 = 1 << 0;
        const FLAGS: u32 = 1 << 1;
        const MORE_WORDS: u32 = 1 << 31;
        let word = |walk: &Self, place: Place| walk.bytes(place).map(u32::from_le_bytes);
        let (Some(length), Some(present)) = (self.le16(at + 2).map(usize::from), word(self, at + 4)) else {
            return at;
        };
        let (mut fields, mut last, mut aligned) = (at + 8, present, true);
        while last & MORE_WORDS != 0 {
            let Some(next) = word(self, fields) else { return at };
            last = next;
            fields += 4;
            aligned = !aligned;
        }
        let end = at + length;
        if end < fields {
            return at;
        }
        // The time before the flags is eight bytes, aligned to eight.
        let place = match present & TIME != 0 {
            true if aligned => fields + 8,
            true => fields + 12,
            false => fields,
        };
        let flags = if present & FLAGS != 0 && place < end { self.byte(place) } else { None };
        self.blank_between(fields, end);
        if let Some(flags) = flags {
            self.between(place, place + 1).fill(flags);
        }
        self.wlan(end, flags.is_some_and(|flags| flags & 0x20 != 0))
    }

    /// The Prism header, which has the name of the device, or an AVS header in its place.
    fn prism(&mut self, at: Place) -> Place {
        if self.bytes(at) == Some([0x80, 0x21, 0x10]) {
            return self.avs(at);
        }
        let Some(length) = self.bytes(at + 4).map(u32::from_le_bytes) else { return at };
        let length = if length > 0xffff { length.swap_bytes() } else { length } as usize;
        self.wlan_behind(at, length)
    }

    fn avs(&mut self, at: Place) -> Place {
        let Some(length) = self.bytes(at + 4).map(u32::from_be_bytes) else { return at };
        self.wlan_behind(at, length as usize)
    }

    /// IEEE 802.11 behind a header of `length` bytes, of which the first eight stay.
    fn wlan_behind(&mut self, at: Place, length: usize) -> Place {
        if !(8..=self.data.len()).contains(&length) {
            return at;
        }
        self.blank(at + 8, length.saturating_sub(8));
        self.wlan(at + length, false)
    }
}
