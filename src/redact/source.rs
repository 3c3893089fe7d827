//! A source whose packets are redacted, and whose inputs have lost their names.

use std::collections::BTreeMap;
use std::path::Path;

use super::packet::Rewriter;
use crate::capture::{Block, InputStatus, Packet, Silence, Source};
use crate::fault::Fault;

/// The first packet at which the program failed, where it did so, and how many such packets there were.
pub type FaultyPackets = (u64, Fault, u64);

/// `inner`, rewritten.
pub struct RedactedSource {
    inner: Box<dyn Source>,
    blocks: BlockRewriter,
    raw: Block,
}

/// Rewrites packets block by block.
pub struct BlockRewriter {
    rewriter: Rewriter,
    bytes: Vec<u8>,
    /// By input.
    faults: BTreeMap<u16, FaultyPackets>,
}

impl BlockRewriter {
    /// Each packet goes through `rewriter`.
    pub fn new(rewriter: Rewriter) -> BlockRewriter {
        BlockRewriter { rewriter, bytes: Vec::new(), faults: BTreeMap::new() }
    }

    /// Replaces the contents of `block` by the packets of `raw`, rewritten.
    pub fn rewrite(&mut self, raw: &Block, block: &mut Block) {
        block.clear();
        for packet in raw.packets() {
            self.bytes.clear();
            self.bytes.extend_from_slice(packet.data);
            let kept = self.rewriter.rewrite(packet.link, &mut self.bytes, packet.original_length);
            if let Some(fault) = self.rewriter.take_fault() {
                let of_input = (packet.id.number(), fault, 0);
                let entry = self.faults.entry(packet.id.capture()).or_insert(of_input);
                entry.2 = entry.2.saturating_add(1);
            }
            let original_length = packet.original_length.max(packet.data.len() as u32);
            block.push(&Packet {
                original_length,
                data: self.bytes.get(..kept).unwrap_or_default(),
                ..packet
            });
        }
    }

    /// The faults so far, by input. They are forgotten.
    pub fn drain_faults(&mut self) -> BTreeMap<u16, FaultyPackets> {
        std::mem::take(&mut self.faults)
    }
}

impl RedactedSource {
    /// Packets of `inner`, each through `rewriter`.
    pub fn new(inner: Box<dyn Source>, rewriter: Rewriter) -> RedactedSource {
        RedactedSource { inner, blocks: BlockRewriter::new(rewriter), raw: Block::default() }
    }
}

/// Removes all names from messages about captures, and notes the packets at which the program failed.
pub fn leave_out_names(all: &mut [InputStatus], faults: &BTreeMap<u16, FaultyPackets>) {
    let mut names: Vec<(String, String)> =
        all.iter().enumerate().map(|(n, status)| (status.path.clone(), name(n))).collect();
    // A message about a relative path says where it begins.
    if let Some(folder) = std::env::current_dir().ok().filter(|folder| folder.parent().is_some()) {
        names.push((folder.display().to_string(), "the working folder".to_owned()));
    }
    for (n, status) in all.iter_mut().enumerate() {
        status.path = name(n);
        // The name of an interface may name a person.
        status.interfaces.clear();
        for text in status.damage.iter_mut().chain(&mut status.warnings) {
            *text = without(text, &names);
        }
        let fault = u16::try_from(n).ok().and_then(|n| faults.get(&n));
        if let Some((packet, fault, packets)) = fault {
            let text = format!(
                "{}: packet {packet} made this program fail (at {fault}) and was left out, one of {packets} such packets. \
                 Please report this with the capture.",
                status.path
            );
            match &mut status.damage {
                Some(_) => status.warnings.push(text),
                none => *none = Some(text),
            }
        }
    }
}

impl Source for RedactedSource {
    fn next_block(&mut self, block: &mut Block) -> bool {
        block.clear();
        if !self.inner.next_block(&mut self.raw) {
            return false;
        }
        self.blocks.rewrite(&self.raw, block);
        true
    }

    fn status(&self) -> Vec<InputStatus> {
        let mut all = self.inner.status();
        leave_out_names(&mut all, &self.blocks.faults);
        all
    }

    fn silences(&self) -> Vec<Silence> {
        self.inner.silences()
    }
}

/// The name of the `n`th input, from 0.
pub fn name(n: usize) -> String {
    format!("capture-{}", n.saturating_add(1))
}

/// `text` with each path and file name replaced, the longest first.
pub fn without(text: &str, names: &[(String, String)]) -> String {
    let mut all: Vec<(&str, &str)> = Vec::new();
    for (path, name) in names {
        all.push((path, name));
        if let Some(file) = Path::new(path).file_name().and_then(|file| file.to_str()) {
            all.push((file, name));
        }
    }
    all.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
    // `-` is standard input and not a name.
    all.iter()
        .filter(|(path, _)| path.len() > 1)
        .fold(text.to_owned(), |text, (path, name)| text.replace(path, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{LinkType, MemorySource};
    use crate::redact::{PseudonymKey, Pseudonyms};
    use crate::time::Timestamp;

    #[test]
    fn packets_are_rewritten_and_names_are_gone() {
        let packets = vec![(Timestamp(5), LinkType(500), b"secret".to_vec())];
        let rewriter = Rewriter::redacting(Pseudonyms::new(&PseudonymKey::new([7; PseudonymKey::BYTES])));
        let mut source = RedactedSource::new(Box::new(MemorySource::new(packets)), rewriter);
        let mut block = Block::default();
        assert!(source.next_block(&mut block));
        let packet = block.packets().next().unwrap();
        assert_eq!((packet.data.len(), packet.original_length, packet.time), (0, 6, Timestamp(5)));
        assert!(!source.next_block(&mut block));
        assert_eq!(source.status()[0].path, "capture-1");
    }

    #[test]
    fn messages_lose_paths_and_file_names() {
        let names = [("/srv/acme/10.1.2.3.pcap".to_owned(), "capture-1".to_owned())];
        assert_eq!(without("/srv/acme/10.1.2.3.pcap: cut", &names), "capture-1: cut");
        assert_eq!(without("the clock of 10.1.2.3.pcap jumped", &names), "the clock of capture-1 jumped");
    }
}
