//! BPF instructions, and jumps to labels.
//!
//! The encoding: RFC 9669. Only the instructions that `programs` uses.

use std::collections::HashMap;

/// A register. `R0` holds results. `R1` to `R5` are arguments, which a call overwrites; no program here uses `R5`. `R10` is the
/// end of the stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Register {
    R0,
    R1,
    R2,
    R3,
    R4,
    R6 = 6,
    R7,
    R8,
    R9,
    R10,
}

/// How much is loaded or stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Size {
    /// 4 bytes.
    Word = 0x00,
    /// 2 bytes.
    Half = 0x08,
    /// 1 byte.
    Byte = 0x10,
    /// 8 bytes.
    Double = 0x18,
}

/// When a jump is made. All compare without sign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Jump {
    /// Always.
    Always = 0x05,
    /// The register equals the number.
    Equal = 0x15,
    /// The register differs from the number.
    Differs = 0x55,
    /// The lower half of the register differs from the number.
    WordDiffers = 0x56,
}

/// Functions of the kernel that programs may call: their numbers are part of its interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum Helper {
    /// `bpf_ktime_get_ns()`.
    Time = 5,
    /// `bpf_probe_read_kernel(to, size, from)`.
    ReadKernel = 113,
    /// `bpf_ringbuf_output(map, data, size, flags)`.
    RingOutput = 130,
}

/// The label behind which every program ends.
pub const OUT: &str = "out";

/// A program in the making.
#[derive(Default)]
pub struct Assembler {
    code: Vec<u64>,
    jumps: Vec<(usize, &'static str)>,
    labels: HashMap<&'static str, usize>,
}

impl Assembler {
    fn put(&mut self, code: u8, to: Register, from: u8, offset: i16, number: i32) {
        let registers = match cfg!(target_endian = "little") {
            true => from << 4 | to as u8,
            false => (to as u8) << 4 | from,
        };
        let [low, high] = offset.to_ne_bytes();
        let [a, b, c, d] = number.to_ne_bytes();
        self.code.push(u64::from_ne_bytes([code, registers, low, high, a, b, c, d]));
    }

    /// `to = from`
    pub fn copy(&mut self, to: Register, from: Register) {
        self.put(0xbf, to, from as u8, 0, 0);
    }

    /// `to = number`
    pub fn set(&mut self, to: Register, number: i32) {
        self.put(0xb7, to, 0, 0, number);
    }

    /// `to += number`
    pub fn add(&mut self, to: Register, number: i32) {
        self.put(0x07, to, 0, 0, number);
    }

    /// `to += from`
    pub fn add_register(&mut self, to: Register, from: Register) {
        self.put(0x0f, to, from as u8, 0, 0);
    }

    /// `to -= from`
    pub fn subtract_register(&mut self, to: Register, from: Register) {
        self.put(0x1f, to, from as u8, 0, 0);
    }

    /// `to &= number`
    pub fn and(&mut self, to: Register, number: i32) {
        self.put(0x57, to, 0, 0, number);
    }

    /// `to >>= bits`
    pub fn shift_right(&mut self, to: Register, bits: i32) {
        self.put(0x77, to, 0, 0, bits);
    }

    /// `to <<= bits`
    pub fn shift_left(&mut self, to: Register, bits: i32) {
        self.put(0x67, to, 0, 0, bits);
    }

    /// `to = *(from + offset)`
    pub fn load(&mut self, size: Size, to: Register, from: Register, offset: i16) {
        self.put(0x61 | size as u8, to, from as u8, offset, 0);
    }

    /// `*(to + offset) = from`
    pub fn store(&mut self, size: Size, to: Register, offset: i16, from: Register) {
        self.put(0x63 | size as u8, to, from as u8, offset, 0);
    }

    /// `*(to + offset) += from`, in one step for all processors.
    pub fn count(&mut self, to: Register, offset: i16, from: Register) {
        self.put(0xdb, to, from as u8, offset, 0);
    }

    /// `to` = the map of that descriptor.
    pub fn map(&mut self, to: Register, descriptor: i32) {
        /// The number is a map's descriptor.
        const MAP: u8 = 1;
        self.put(0x18, to, MAP, 0, descriptor);
        self.code.push(0);
    }

    /// `to` = an address inside the only value of the map of that descriptor, an array.
    pub fn map_value(&mut self, to: Register, descriptor: i32, offset: u32) {
        /// The number is a map's descriptor, the second number a place in its first value.
        const MAP_VALUE: u8 = 2;
        self.put(0x18, to, MAP_VALUE, 0, descriptor);
        self.put(0, Register::R0, 0, 0, offset as i32);
    }

    /// Calls the kernel.
    pub fn call(&mut self, helper: Helper) {
        self.put(0x85, Register::R0, 0, 0, helper as i32);
    }

    /// Jumps forward to a label.
    pub fn jump(&mut self, when: Jump, register: Register, number: i32, label: &'static str) {
        self.jumps.push((self.code.len(), label));
        self.put(when as u8, register, 0, 0, number);
    }

    /// Jumps where `register` is at least `other`.
    pub fn jump_at_least(&mut self, register: Register, other: Register, label: &'static str) {
        self.jumps.push((self.code.len(), label));
        self.put(0x3d, register, other as u8, 0, 0);
    }

    /// Where jumps to that label go.
    ///
    /// # Panics
    /// When there is one of that name already.
    pub fn label(&mut self, label: &'static str) {
        assert!(self.labels.insert(label, self.code.len()).is_none(), "two labels {label}");
    }

    /// Reads memory of the kernel to the stack: `*(R10 + to) = *(from + offset)`.
    pub fn read(&mut self, to: i16, size: i32, from: Register, offset: i32) {
        self.copy(Register::R1, Register::R10);
        self.add(Register::R1, to.into());
        self.set(Register::R2, size);
        self.copy(Register::R3, from);
        self.add(Register::R3, offset);
        self.call(Helper::ReadKernel);
    }

    /// Ends the program at [`OUT`] with the result 0 and gives the instructions.
    ///
    /// # Panics
    /// When there is a jump to a label that is not there.
    pub fn finish(mut self) -> Vec<u64> {
        self.label(OUT);
        self.set(Register::R0, 0);
        self.put(0x95, Register::R0, 0, 0, 0);
        for (place, label) in &self.jumps {
            let to = self.labels.get(label).unwrap_or_else(|| panic!("no label {label}"));
            let distance =
                i16::try_from(to - place - 1).expect("programs are shorter than 32,768 instructions");
            let mut bytes = self.code[*place].to_ne_bytes();
            bytes[2..4].copy_from_slice(&distance.to_ne_bytes());
            self.code[*place] = u64::from_ne_bytes(bytes);
        }
        self.code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn instructions_are_encoded_as_the_standard_says() {
        let mut code = Assembler::default();
        code.copy(Register::R6, Register::R1);
        code.load(Size::Half, Register::R1, Register::R10, -8);
        code.jump(Jump::Differs, Register::R1, 0x0008, OUT);
        code.store(Size::Double, Register::R10, -16, Register::R6);
        code.call(Helper::Time);
        let code: Vec<[u8; 8]> = code.finish().into_iter().map(u64::to_ne_bytes).collect();
        assert_eq!(
            code,
            [
                [0xbf, 0x16, 0, 0, 0, 0, 0, 0],
                [0x69, 0xa1, 0xf8, 0xff, 0, 0, 0, 0],
                [0x55, 0x01, 2, 0, 8, 0, 0, 0],
                [0x7b, 0x6a, 0xf0, 0xff, 0, 0, 0, 0],
                [0x85, 0, 0, 0, 5, 0, 0, 0],
                [0xb7, 0, 0, 0, 0, 0, 0, 0],
                [0x95, 0, 0, 0, 0, 0, 0, 0],
            ]
        );
    }
}
