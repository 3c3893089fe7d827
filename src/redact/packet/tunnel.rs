//! Tunnels inside IP: their headers stay, their options and what else may name somebody go.

use super::{Place, Walk};

impl Walk<'_, '_> {
    /// A UDP header and the tunnel that its ports announce. Its checksum, which covers what is left out, becomes "none".
    pub(super) fn udp(&mut self, at: Place) -> Place {
        self.clear(at + 6, 2);
        let body = at + 8;
        match (self.be16(at), self.be16(at + 2)) {
            (_, Some(to @ (4789 | 8472 | 4790))) => self.vxlan(body, to == 4790),
            (_, Some(6081)) => self.geneve(body),
            (_, Some(6635)) => self.mpls(body),
            (Some(2152), _) | (_, Some(2152)) => self.gtp_u(body),
            (Some(3544), _) | (_, Some(3544)) => self.teredo(body),
            _ => body,
        }
    }

    /// VXLAN, and its variant with a next-protocol field.
    fn vxlan(&mut self, at: Place, generic: bool) -> Place {
        let Some(flags) = self.byte(at) else { return at };
        match self.byte(at + 3).filter(|_| generic && flags & 0x04 != 0) {
            Some(1 | 2) => self.ip(at + 8),
            Some(3) | None => self.ethernet_inside(at + 8),
            _ => at + 8,
        }
    }

    fn geneve(&mut self, at: Place) -> Place {
        let (Some(first), Some(kind)) = (self.byte(at), self.be16(at + 2)) else { return at };
        let options = usize::from(first & 0x3f) * 4;
        self.blank(at + 8, options);
        self.typed(kind, at + 8 + options)
    }

    /// A GTP-U message that holds a packet.
    fn gtp_u(&mut self, at: Place) -> Place {
        let Some(flags) = self.be16(at).filter(|head| head & 0xf0ff == 0x30ff) else { return at };
        let mut place = at + 8;
        if flags & 0x0700 != 0 {
            let Some(mut next) = self.byte(at + 11) else { return place };
            if flags & 0x0400 == 0 {
                next = 0;
            }
            place += 4;
            while next != 0 {
                let Some(bytes) = self.byte(place).filter(|n| *n > 0) else { return place };
                // The last byte names the next extension header.
                let bytes = usize::from(bytes) << 2;
                let Some(after) = self.byte(place + bytes.saturating_sub(1)) else { return place };
                self.blank(place + 1, bytes.saturating_sub(2));
                next = after;
                place += bytes;
            }
        }
        self.ip(place)
    }

    /// Teredo: IPv6 behind authentication and origin, which hold names and an address.
    fn teredo(&mut self, at: Place) -> Place {
        let mut place = at;
        if let Some([0, 1, id, auth]) = self.bytes(place) {
            let names = usize::from(id).saturating_add(usize::from(auth)).saturating_add(9);
            self.blank(place + 4, names);
            place += 4;
            place += names;
        }
        if self.be16(place) == Some(0) {
            self.blank(place + 2, 6);
            place += 8;
        }
        match self.byte(place) {
            Some(first) if first >> 4 == 6 => self.ip(place),
            _ => at,
        }
    }

    /// GRE, with ERSPAN, WCCP and PPTP's variant. Its checksum becomes "none given" by being 0.
    pub(super) fn gre(&mut self, at: Place) -> Place {
        let (Some(flags), Some(kind)) = (self.be16(at), self.be16(at + 2)) else { return at };
        let sequence = flags & 0x1000 != 0;
        match flags & 0x4007 {
            0 => {
                if flags & 0x8000 != 0 {
                    self.clear(at + 4, 4);
                }
                let optional = [0x8000, 0x2000, 0x1000].iter().filter(|bit| flags & **bit != 0).count();
                let inner = at + 4 + (optional << 2);
                match kind {
                    // ERSPAN type II, and type I without a header.
                    0x88be => self.ethernet_inside(if sequence { inner + 8 } else { inner }),
                    0x22eb => self.erspan_iii(inner),
                    0x883e if self.byte(inner).is_some_and(|first| first >> 4 != 4) => self.ip(inner + 4),
                    0x883e => self.ip(inner),
                    _ => self.typed(kind, inner),
                }
            }
            1 if kind == 0x880b && sequence => self.ppp(at + 12 + if flags & 0x0080 != 0 { 4 } else { 0 }),
            _ => at + 4,
        }
    }

    fn erspan_iii(&mut self, at: Place) -> Place {
        let Some(kind) = self.be16(at + 10) else { return at };
        let inner = at + 12 + if kind & 1 != 0 { 8 } else { 0 };
        match kind >> 10 & 0x1f {
            2 => self.ip(inner),
            _ => self.ethernet_inside(inner),
        }
    }
}
