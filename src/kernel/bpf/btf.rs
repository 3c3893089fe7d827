//! The types of the running kernel, as `/sys/kernel/btf/vmlinux` describes them.
//!
//! Only what the programs need: where a field lies, the names of an enum's values, the parameters of a function. The
//! format: <https://docs.kernel.org/bpf/btf.html>. `docs/decisions/0003-bpf-without-a-compiler.md` says why no crate
//! reads it for us.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// Where a kernel describes itself.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
/// Bytes of a type's fixed part; its kind may add more.
const TYPE_HEAD: usize = 12;
/// Longest chain of qualifiers and typedefs, and deepest nesting of anonymous members, that is followed.
const DEEPEST: usize = 32;

/// The kinds of types that are told apart here, by their numbers in the format.
mod kind {
    pub const INT: u32 = 1;
    pub const PTR: u32 = 2;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const FORWARD: u32 = 7;
    pub const TYPEDEF: u32 = 8;
    pub const VOLATILE: u32 = 9;
    pub const CONST: u32 = 10;
    pub const RESTRICT: u32 = 11;
    pub const FUNCTION: u32 = 12;
    pub const PROTOTYPE: u32 = 13;
    pub const VARIABLE: u32 = 14;
    pub const SECTION: u32 = 15;
    pub const FLOAT: u32 = 16;
    pub const DECLARATION_TAG: u32 = 17;
    pub const TYPE_TAG: u32 = 18;
    pub const ENUM64: u32 = 19;
}

/// The types of a kernel.
pub struct Btf {
    data: Vec<u8>,
    /// Where each type lies in `data`; the first is `void`, which lies nowhere.
    types: Vec<u32>,
    strings: usize,
}

/// A type, by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TypeId(pub u32);

/// What a parameter of a function is, as far as the programs tell parameters apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Parameter {
    /// A pointer to a structure of that name.
    Pointer(String),
    /// An enum of that name.
    Enum(String),
    /// Anything else.
    Other,
}

impl Btf {
    /// The types of the running kernel.
    ///
    /// # Errors
    /// The kernel does not describe itself (`CONFIG_DEBUG_INFO_BTF`), or in a form unknown here.
    pub fn of_this_kernel() -> io::Result<Btf> {
        Btf::parse(fs::read(Path::new(VMLINUX))?)
    }

    /// Reads a description.
    ///
    /// # Errors
    /// It is cut off, or has kinds of types that are newer than this program.
    pub fn parse(data: Vec<u8>) -> io::Result<Btf> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{VMLINUX}: {what}"));
        let magic = data.get(..2).map(|m| u16::from_ne_bytes([m[0], m[1]]));
        if magic != Some(MAGIC) {
            return Err(wrong("no BTF of this machine's byte order"));
        }
        let word = |at: usize| word_at(&data, at).map(|w| w as usize).ok_or_else(|| wrong("cut off"));
        let head = word(4)?;
        let (first, length, strings) = (head + word(8)?, word(12)?, head + word(16)?);
        let end = first + length;
        let mut types = vec![0];
        let mut at = first;
        while at < end {
            types.push(u32::try_from(at).map_err(|_| wrong("larger than 4 GiB"))?);
            let info = word(at + 4)? as u32;
            let entries = (info & 0xffff) as usize;
            let more = match kind_of(info) {
                kind::INT | kind::VARIABLE | kind::DECLARATION_TAG => 4,
                kind::ARRAY => 12,
                kind::STRUCT | kind::UNION | kind::SECTION | kind::ENUM64 => 12 * entries,
                kind::ENUM | kind::PROTOTYPE => 8 * entries,
                kind::PTR
                | kind::FORWARD
                | kind::TYPEDEF
                | kind::VOLATILE
                | kind::CONST
                | kind::RESTRICT
                | kind::FUNCTION
                | kind::FLOAT
                | kind::TYPE_TAG => 0,
                unknown => return Err(wrong(&format!("a type of the unknown kind {unknown}"))),
            };
            at += TYPE_HEAD + more;
        }
        if end > data.len() || strings > data.len() {
            return Err(wrong("cut off"));
        }
        Ok(Btf { data, types, strings })
    }

    /// Where the field `path` (`__sk_common.skc_net`) of the structure lies: bytes from its beginning.
    pub fn offset(&self, structure: &str, path: &str) -> Option<u32> {
        let mut id = self.find(kind::STRUCT, structure)?;
        let mut offset = 0;
        for name in path.split('.') {
            let (from, field) = self.member(id, name, DEEPEST)?;
            offset += from;
            id = field;
        }
        Some(offset)
    }

    /// The values of an enum and their names; empty where this kernel has no such enum.
    pub fn names_of(&self, name: &str) -> BTreeMap<u32, String> {
        let Some(id) = self.find(kind::ENUM, name) else { return BTreeMap::new() };
        let (at, entries) = (self.place(id) + TYPE_HEAD, self.entries(id));
        let value =
            |n: usize| Some((self.word(at + 8 * n + 4)?, self.text(self.word(at + 8 * n)?)?.to_owned()));
        (0..entries).filter_map(value).collect()
    }

    /// A function of the kernel, by which a program is attached to it.
    pub fn function(&self, name: &str) -> Option<TypeId> {
        self.find(kind::FUNCTION, name)
    }

    /// The parameters of a function of the kernel.
    pub fn parameters(&self, function: TypeId) -> Option<Vec<Parameter>> {
        self.of_prototype(self.refers_to(function)?)
    }

    /// The arguments of a tracepoint, in the order in which a raw tracepoint's program gets them.
    pub fn tracepoint(&self, name: &str) -> Option<Vec<Parameter>> {
        // typedef void (*btf_trace_NAME)(void *__data, ...)
        let pointer = self.refers_to(self.find(kind::TYPEDEF, &format!("btf_trace_{name}"))?)?;
        let mut all = self.of_prototype(self.refers_to(pointer)?)?;
        (!all.is_empty()).then(|| all.split_off(1))
    }

    fn of_prototype(&self, prototype: TypeId) -> Option<Vec<Parameter>> {
        if self.kind(prototype)? != kind::PROTOTYPE {
            return None;
        }
        let at = self.place(prototype) + TYPE_HEAD;
        let parameter = |n: usize| Some(self.parameter(TypeId(self.word(at + 8 * n + 4)?)));
        (0..self.entries(prototype)).map(parameter).collect()
    }

    fn parameter(&self, id: TypeId) -> Parameter {
        let bare = self.bare(id);
        let named = |id: TypeId| self.text(self.word(self.place(id))?).map(str::to_owned);
        match self.kind(bare) {
            Some(kind::ENUM) => named(bare).map_or(Parameter::Other, Parameter::Enum),
            Some(kind::PTR) => self
                .refers_to(bare)
                .map(|to| self.bare(to))
                .filter(|to| matches!(self.kind(*to), Some(kind::STRUCT | kind::FORWARD)))
                .and_then(named)
                .map_or(Parameter::Other, Parameter::Pointer),
            _ => Parameter::Other,
        }
    }

    /// The first type of that kind and name.
    fn find(&self, kind: u32, name: &str) -> Option<TypeId> {
        (1..self.types.len() as u32).map(TypeId).find(|id| {
            self.kind(*id) == Some(kind)
                && self.word(self.place(*id)).and_then(|n| self.text(n)) == Some(name)
        })
    }

    /// A field of a structure or union, those of its anonymous members included: its place and its type.
    fn member(&self, id: TypeId, name: &str, deepest: usize) -> Option<(u32, TypeId)> {
        let info = self.word(self.place(id) + 4)?;
        if deepest == 0 || !matches!(kind_of(info), kind::STRUCT | kind::UNION) {
            return None;
        }
        // With this bit the upper byte is the width of a bit field.
        let bits = if info >> 31 == 1 { 0x00ff_ffff } else { u32::MAX };
        for n in 0..self.entries(id) {
            let at = self.place(id) + TYPE_HEAD + 12 * n;
            let (own, field) = (self.text(self.word(at)?)?, self.bare(TypeId(self.word(at + 4)?)));
            let offset = (self.word(at + 8)? & bits) / 8;
            if own == name {
                return Some((offset, field));
            }
            if own.is_empty()
                && let Some((inner, field)) = self.member(field, name, deepest - 1)
            {
                return Some((offset + inner, field));
            }
        }
        None
    }

    /// The type behind qualifiers and typedefs.
    fn bare(&self, mut id: TypeId) -> TypeId {
        for _ in 0..DEEPEST {
            let (Some(kind), Some(to)) = (self.kind(id), self.refers_to(id)) else { return id };
            match kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => id = to,
                _ => return id,
            }
        }
        id
    }

    /// The third word of a type: the type that it refers to, where its kind refers to one.
    fn refers_to(&self, id: TypeId) -> Option<TypeId> {
        self.kind(id)?;
        self.word(self.place(id) + 8).map(TypeId)
    }

    fn kind(&self, id: TypeId) -> Option<u32> {
        if id.0 == 0 || id.0 as usize >= self.types.len() {
            return None;
        }
        self.word(self.place(id) + 4).map(kind_of)
    }

    fn entries(&self, id: TypeId) -> usize {
        self.word(self.place(id) + 4).map_or(0, |info| (info & 0xffff) as usize)
    }

    fn place(&self, id: TypeId) -> usize {
        self.types.get(id.0 as usize).map_or(usize::MAX / 2, |at| *at as usize)
    }

    fn word(&self, at: usize) -> Option<u32> {
        word_at(&self.data, at)
    }

    fn text(&self, offset: u32) -> Option<&str> {
        let from = self.data.get(self.strings + offset as usize..)?;
        let end = from.iter().position(|byte| *byte == 0)?;
        std::str::from_utf8(&from[..end]).ok()
    }
}

fn word_at(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..at + 4).map(|word| u32::from_ne_bytes(word.try_into().expect("four bytes")))
}

fn kind_of(info: u32) -> u32 {
    info >> 24 & 0x1f
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A description in the making.
    #[derive(Default)]
    pub struct BtfBuilder {
        types: Vec<u8>,
        strings: Vec<u8>,
        count: u32,
    }

    impl BtfBuilder {
        fn name(&mut self, name: &str) -> u32 {
            if self.strings.is_empty() {
                self.strings.push(0);
            }
            if name.is_empty() {
                return 0;
            }
            let at = self.strings.len() as u32;
            self.strings.extend(name.as_bytes());
            self.strings.push(0);
            at
        }

        fn add(&mut self, name: &str, kind: u32, entries: usize, third: u32, more: &[u32]) -> u32 {
            let name = self.name(name);
            for word in [name, kind << 24 | entries as u32, third].iter().chain(more) {
                self.types.extend(word.to_ne_bytes());
            }
            self.count += 1;
            self.count
        }

        pub fn int(&mut self) -> u32 {
            self.add("int", kind::INT, 0, 4, &[32])
        }

        pub fn refer(&mut self, name: &str, kind: u32, to: u32) -> u32 {
            self.add(name, kind, 0, to, &[])
        }

        pub fn pointer(&mut self, to: u32) -> u32 {
            self.refer("", kind::PTR, to)
        }

        /// Fields: name, type, offset in bytes.
        pub fn structure(&mut self, name: &str, fields: &[(&str, u32, u32)]) -> u32 {
            let more: Vec<u32> =
                fields.iter().flat_map(|(name, id, at)| [self.name(name), *id, at * 8]).collect();
            self.add(name, kind::STRUCT, fields.len(), 64, &more)
        }

        pub fn enumeration(&mut self, name: &str, values: &[(&str, u32)]) -> u32 {
            let more: Vec<u32> = values.iter().flat_map(|(name, value)| [self.name(name), *value]).collect();
            self.add(name, kind::ENUM, values.len(), 4, &more)
        }

        pub fn prototype(&mut self, parameters: &[u32]) -> u32 {
            let more: Vec<u32> = parameters.iter().flat_map(|id| [0, *id]).collect();
            self.add("", kind::PROTOTYPE, parameters.len(), 0, &more)
        }

        pub fn function(&mut self, name: &str, parameters: &[u32]) -> u32 {
            let prototype = self.prototype(parameters);
            self.refer(name, kind::FUNCTION, prototype)
        }

        pub fn tracepoint(&mut self, name: &str, parameters: &[u32]) -> u32 {
            let all: Vec<u32> = std::iter::once(0).chain(parameters.iter().copied()).collect();
            let prototype = self.prototype(&all);
            let pointer = self.pointer(prototype);
            self.refer(&format!("btf_trace_{name}"), kind::TYPEDEF, pointer)
        }

        pub fn bytes(&mut self) -> Vec<u8> {
            self.name("");
            let mut all = Vec::new();
            all.extend(MAGIC.to_ne_bytes());
            all.extend([1, 0]);
            let lengths =
                [24, 0, self.types.len() as u32, self.types.len() as u32, self.strings.len() as u32];
            lengths.iter().for_each(|word| all.extend(word.to_ne_bytes()));
            all.extend(&self.types);
            all.extend(&self.strings);
            all
        }
    }

    #[test]
    fn fields_are_found_through_anonymous_members_typedefs_and_qualifiers() {
        let mut made = BtfBuilder::default();
        let int = made.int();
        let pair = made.structure("", &[("daddr", int, 0), ("saddr", int, 4)]);
        let common = made.structure("sock_common", &[("", pair, 8), ("family", int, 16)]);
        let named = made.refer("common_t", kind::TYPEDEF, common);
        let constant = made.refer("", kind::CONST, named);
        made.structure("sock", &[("flags", int, 0), ("__sk_common", constant, 32)]);
        let btf = Btf::parse(made.bytes()).unwrap();
        assert_eq!(btf.offset("sock", "__sk_common.saddr"), Some(32 + 8 + 4));
        assert_eq!(btf.offset("sock", "__sk_common.family"), Some(48));
        assert_eq!(btf.offset("sock", "__sk_common.nothing"), None);
        assert_eq!(btf.offset("sk_buff", "head"), None);
    }

    #[test]
    fn arguments_of_tracepoints_and_functions_are_told_by_their_types() {
        let mut made = BtfBuilder::default();
        let int = made.int();
        let skb = made.structure("sk_buff", &[("head", int, 0)]);
        let skb = made.pointer(skb);
        let sock = made.structure("sock", &[("family", int, 0)]);
        let constant = made.refer("", kind::CONST, sock);
        let sock = made.pointer(constant);
        let reason = made.enumeration("skb_drop_reason", &[("SKB_NOT_DROPPED_YET", 0), ("SKB_CONSUMED", 1)]);
        let any = made.pointer(0);
        made.tracepoint("kfree_skb", &[skb, any, reason, sock]);
        made.function("tcp_conn_request", &[any, sock, skb]);
        let btf = Btf::parse(made.bytes()).unwrap();
        let pointer = |name: &str| Parameter::Pointer(name.to_owned());
        assert_eq!(
            btf.tracepoint("kfree_skb").unwrap(),
            [
                pointer("sk_buff"),
                Parameter::Other,
                Parameter::Enum("skb_drop_reason".to_owned()),
                pointer("sock")
            ]
        );
        assert_eq!(btf.tracepoint("tcp_send_reset"), None);
        let function = btf.function("tcp_conn_request").unwrap();
        assert_eq!(
            btf.parameters(function).unwrap(),
            [Parameter::Other, pointer("sock"), pointer("sk_buff")]
        );
        assert_eq!(btf.names_of("skb_drop_reason")[&1], "SKB_CONSUMED");
        assert!(btf.names_of("sk_rst_reason").is_empty());
    }

    #[test]
    fn a_damaged_description_is_an_error_and_never_a_panic() {
        let mut made = BtfBuilder::default();
        let int = made.int();
        made.structure("sock", &[("family", int, 0), ("port", int, 4)]);
        made.enumeration("reasons", &[("A", 0), ("B", 1)]);
        let whole = made.bytes();
        for length in 0..whole.len() {
            if let Ok(btf) = Btf::parse(whole[..length].to_vec()) {
                let _ = (btf.offset("sock", "port"), btf.names_of("reasons"), btf.function("f"));
            }
        }
        for place in 0..whole.len() {
            for value in [0, 0xff, 0x7f] {
                let mut broken = whole.clone();
                broken[place] = value;
                if let Ok(btf) = Btf::parse(broken) {
                    let _ = (btf.offset("sock", "port"), btf.names_of("reasons"), btf.function("f"));
                }
            }
        }
    }
}
