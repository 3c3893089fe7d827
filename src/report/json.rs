//! The report as one JSON document: the contract in full, nothing left out.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};
use serde_json::value::RawValue;

use super::terminal::is_hostile;
use crate::model::{Report, repeated};

/// How many bytes of a document are collected before they are written.
const PIECE: usize = 64 << 10;

/// Writes `report` as indented JSON with a newline at the end.
///
/// The same report is the same bytes. Characters that JSON does not escape but a terminal obeys are written as `\u`
/// escapes: C1 controls, marks that turn the direction of writing. So a document may be shown as it is.
///
/// # Errors
/// The writer's error.
pub fn write(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    repeated::rendered_by(in_finding, in_finding, || write_document(report, out))
}

/// JSON of a value that stands in a finding of a report.
fn in_finding<T: Serialize>(value: &T) -> serde_json::Result<Box<RawValue>> {
    /// Report, list of findings, finding.
    const LEVEL: usize = 3;
    let mut text = Vec::new();
    let layout = Indented { level: LEVEL, has_value: false };
    value.serialize(&mut Serializer::with_formatter(&mut text, Escaping { layout }))?;
    RawValue::from_string(String::from_utf8_lossy(&text).into_owned())
}

/// Writes any document the way a report is written.
pub(crate) fn write_document(document: &impl Serialize, out: &mut dyn io::Write) -> io::Result<()> {
    // Thousands of pieces of a few bytes each: a virtual call for each would be too slow.
    let mut out = io::BufWriter::with_capacity(PIECE, out);
    let mut serializer = Serializer::with_formatter(&mut out, Escaping::<Indented>::default());
    document.serialize(&mut serializer).map_err(io::Error::from)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// JSON without characters that control a terminal; another formatter makes the layout.
#[derive(Default)]
pub(super) struct Escaping<F> {
    layout: F,
}

impl Escaping<CompactFormatter> {
    /// All on one line.
    pub(super) fn compact() -> Escaping<CompactFormatter> {
        Escaping { layout: CompactFormatter }
    }
}

/// The layout of serde's `PrettyFormatter`: each value on its own line, two spaces a level.
///
/// serde's writes an indentation level by level: a sixth of the time of a large report.
#[derive(Default)]
pub(super) struct Indented {
    /// How deep the value is that is being written.
    level: usize,
    /// Whether the array or object that is being written has a value yet.
    has_value: bool,
}

/// A comma, a new line and the indentation of the deepest usual level.
const LINE: &[u8] = b",\n                                ";

impl Indented {
    fn open<W: ?Sized + io::Write>(&mut self, out: &mut W, bracket: u8) -> io::Result<()> {
        self.level += 1;
        self.has_value = false;
        out.write_all(&[bracket])
    }

    fn close<W: ?Sized + io::Write>(&mut self, out: &mut W, bracket: u8) -> io::Result<()> {
        self.level -= 1;
        if self.has_value {
            self.line(out, 1)?;
        }
        out.write_all(&[bracket])
    }

    /// Begins a line; `from` is 0 with the comma before it, 1 without.
    fn line<W: ?Sized + io::Write>(&self, out: &mut W, from: usize) -> io::Result<()> {
        let length = 2 + 2 * self.level;
        if let Some(line) = LINE.get(from..length) {
            return out.write_all(line);
        }
        out.write_all(&LINE[from..])?;
        (LINE.len()..length).try_for_each(|_| out.write_all(b" "))
    }
}

impl Formatter for Indented {
    fn begin_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b'[')
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b']')
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.line(out, usize::from(first))
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b'{')
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b'}')
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.line(out, usize::from(first))
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }
}

/// Whether all bytes are below DEL (0x7f). Control characters below the space never come here: JSON escapes them.
fn is_plain(bytes: &[u8]) -> bool {
    let (eights, rest) = bytes.as_chunks::<8>();
    // The top bit of a byte is set if it was set before, or if adding one sets it. Only such a byte gives a carry.
    let tops = eights.iter().map(|eight| {
        let eight = u64::from_ne_bytes(*eight);
        eight | eight.wrapping_add(0x0101_0101_0101_0101)
    });
    let in_eights = tops.fold(0, |all, tops| all | tops) & 0x8080_8080_8080_8080;
    in_eights == 0 && rest.iter().all(|byte| *byte < 0x7f)
}

/// Hands the layout over.
macro_rules! by_layout {
    ($($method:ident($($arg:ident: $type:ty),*)),+ $(,)?) => {
        $(fn $method<W: ?Sized + io::Write>(&mut self, out: &mut W, $($arg: $type),*) -> io::Result<()> {
            self.layout.$method(out, $($arg),*)
        })+
    };
}

impl<F: Formatter> Formatter for Escaping<F> {
    by_layout! {
        begin_array(),
        end_array(),
        begin_array_value(first: bool),
        end_array_value(),
        begin_object(),
        end_object(),
        begin_object_key(first: bool),
        begin_object_value(),
        end_object_value(),
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        // Nearly all text is like that. Checking characters one by one took a third of a large report's time, checking
        // bytes one by one a tenth.
        if is_plain(fragment.as_bytes()) {
            return CompactFormatter.write_string_fragment(out, fragment);
        }
        let mut rest = fragment;
        while let Some(at) = rest.find(is_hostile) {
            let (plain, from) = rest.split_at(at);
            CompactFormatter.write_string_fragment(out, plain)?;
            let hostile = from.chars().next().expect("found at this place");
            for unit in hostile.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = &from[hostile.len_utf8()..];
        }
        CompactFormatter.write_string_fragment(out, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    fn rendered(report: &Report) -> String {
        let mut out = Vec::new();
        write(report, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_written_reads_back_as_the_same_report() {
        for (name, report) in samples::all() {
            let text = rendered(&report);
            assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report, "{name}");
            assert_eq!(text, rendered(&report), "{name}: the same report must be the same bytes");
            assert!(text.ends_with("}\n"), "{name}");
        }
    }

    #[test]
    fn the_layout_is_that_of_pretty_json() {
        let report = samples::overflow();
        assert_eq!(rendered(&report), serde_json::to_string_pretty(&report).unwrap() + "\n");
    }

    #[test]
    fn causes_that_repeat_and_change_stand_each_in_its_finding() {
        let mut report = samples::overflow();
        let finding = report.findings[0].clone();
        report.findings = (0..200)
            .map(|n| {
                let mut finding = finding.clone();
                finding.cause.text = format!("cause {} \u{1b}[31m", n % 3 * (n / 100) + n % 40).into();
                finding.alternatives.truncate(n % 2);
                finding
            })
            .collect();
        assert_eq!(serde_json::from_str::<Report>(&rendered(&report)).unwrap(), report);
        assert_eq!(rendered(&report), serde_json::to_string_pretty(&report).unwrap() + "\n");
    }

    #[test]
    fn a_document_deeper_than_usual_is_indented_too() {
        let deep = (0..40).fold(serde_json::json!({}), |deep, n| match n % 3 {
            0 => serde_json::json!([deep, []]),
            1 => serde_json::json!({ "key": deep, "other": null }),
            _ => serde_json::json!([deep]),
        });
        let mut out = Vec::new();
        write_document(&deep, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string_pretty(&deep).unwrap() + "\n");
    }

    #[test]
    fn a_byte_that_is_not_plain_is_found_wherever_it_stands() {
        let plain = b"plain ASCII from ~ to space, long enough for all";
        for length in 0..plain.len() {
            assert!(is_plain(&plain[..length]));
            for at in 0..length {
                for byte in [0x7f, 0x80, 0xc2, 0xff] {
                    let mut bytes = plain[..length].to_vec();
                    bytes[at] = byte;
                    assert!(!is_plain(&bytes), "{byte:#x} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn hostile_names_are_escaped_and_survive() {
        let mut report = samples::clean();
        report.captures[0].path = "a\u{9b}31m\u{202e}\x1b]0;x\x07\u{e0041}\u{7f}.pcap".to_owned();
        let text = rendered(&report);
        assert!(!text.chars().any(|c| c != '\n' && is_hostile(c)), "{text:?}");
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }
}
