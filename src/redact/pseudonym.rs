//! Addresses to pseudonyms that keep prefixes: two addresses that share their first n bits have pseudonyms that share
//! their first n bits. Nothing else of the addresses is left.
//!
//! The scheme is Crypto-PAn (Xu, Fan, Ammar, Moon: "Prefix-preserving IP address anonymization", ICNP 2002). The same
//! key gives the same pseudonyms as other tools for it.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aes::Aes128;
use aes::cipher::{BlockEncrypt, KeyInit};

/// The secret that determines the pseudonyms. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PseudonymKey([u8; PseudonymKey::BYTES]);

impl PseudonymKey {
    /// Bytes of a key.
    pub const BYTES: usize = 32;

    /// This key.
    pub const fn new(bytes: [u8; PseudonymKey::BYTES]) -> PseudonymKey {
        PseudonymKey(bytes)
    }

    /// A new random key.
    ///
    /// # Errors
    /// The system has no random numbers to give.
    pub fn random() -> Result<PseudonymKey, String> {
        let mut bytes = [0; PseudonymKey::BYTES];
        getrandom::fill(&mut bytes).map_err(|error| format!("no random numbers for a key: {error}"))?;
        Ok(PseudonymKey(bytes))
    }

    /// As it stands in a key file: 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<PseudonymKey> {
        let digits = text.trim();
        if digits.len() != 2 * PseudonymKey::BYTES || !digits.is_ascii() {
            return None;
        }
        let mut bytes = [0; PseudonymKey::BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(PseudonymKey(bytes))
    }

    /// The text of a key file.
    pub fn to_file(&self) -> String {
        let digits: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        digits + "\n"
    }
}

impl fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(not shown)")
    }
}

/// Pseudonyms under one key.
pub struct Pseudonyms {
    cipher: Aes128,
    pad: [u8; 16],
    /// The addresses seen before: a capture has few addresses and many packets.
    known: HashMap<IpAddr, IpAddr>,
}

/// Pseudonyms that are remembered. A flood from millions of sources must not fill the memory.
const REMEMBERED: usize = 1 << 18;

impl Pseudonyms {
    /// Under `key`: its first half encrypts, its second half makes the padding.
    pub fn new(key: &PseudonymKey) -> Pseudonyms {
        let (cipher, pad) = key.0.split_at(16);
        let cipher = Aes128::new_from_slice(cipher).expect("16 bytes are a key of AES-128");
        let mut block = *aes::Block::from_slice(pad);
        cipher.encrypt_block(&mut block);
        Pseudonyms { cipher, pad: block.into(), known: HashMap::new() }
    }

    /// The pseudonym of `address`. An IPv4 address mapped into IPv6 has that of the IPv4 address.
    pub fn of(&mut self, address: IpAddr) -> IpAddr {
        if let Some(known) = self.known.get(&address) {
            return *known;
        }
        let pseudonym = match address {
            IpAddr::V4(v4) => IpAddr::V4(self.v4(v4)),
            IpAddr::V6(v6) => IpAddr::V6(match v6.to_ipv4_mapped() {
                Some(v4) => self.v4(v4).to_ipv6_mapped(),
                None => Ipv6Addr::from(self.bits(u128::from(v6), 128)),
            }),
        };
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(address, pseudonym);
        pseudonym
    }

    fn v4(&self, address: Ipv4Addr) -> Ipv4Addr {
        let left = u128::from(u32::from(address)) << 96;
        Ipv4Addr::from((self.bits(left, 32) >> 96) as u32)
    }

    /// Each of the first `count` bits of `address` is inverted or not, depending on the encrypted bits before it.
    fn bits(&self, address: u128, count: u32) -> u128 {
        let pad = u128::from_be_bytes(self.pad);
        let mut turned = 0u128;
        for place in 0..count {
            // All bits before this one.
            let own = !(u128::MAX.checked_shr(place).unwrap_or(0));
            let mut block = aes::Block::from(((address & own) | (pad & !own)).to_be_bytes());
            self.cipher.encrypt_block(&mut block);
            let first = block.first().map_or(0, |byte| u128::from(byte >> 7));
            turned |= (first << 127).checked_shr(place).unwrap_or(0);
        }
        address ^ turned
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The key and addresses of the sample in the authors' own distribution.
    fn sample() -> Pseudonyms {
        Pseudonyms::new(&PseudonymKey::new([
            21, 34, 23, 141, 51, 164, 207, 128, 19, 10, 91, 22, 73, 144, 125, 16, 216, 152, 143, 131, 121,
            121, 101, 39, 98, 87, 76, 45, 42, 132, 34, 2,
        ]))
    }

    #[test]
    fn the_authors_sample_comes_out() {
        for (address, pseudonym) in [
            ("128.11.68.132", "135.242.180.132"),
            ("129.118.74.4", "134.136.186.123"),
            ("130.132.252.244", "133.68.164.234"),
            ("141.223.7.43", "141.167.8.160"),
        ] {
            assert_eq!(
                sample().of(address.parse().unwrap()),
                pseudonym.parse::<IpAddr>().unwrap(),
                "{address}"
            );
        }
    }

    #[test]
    fn a_mapped_address_is_the_same_host() {
        let mut pseudonyms = sample();
        let IpAddr::V4(v4) = pseudonyms.of("192.0.2.1".parse().unwrap()) else { panic!("IPv4 stays IPv4") };
        assert_eq!(pseudonyms.of("::ffff:192.0.2.1".parse().unwrap()), IpAddr::V6(v4.to_ipv6_mapped()));
    }

    #[test]
    fn keys_are_read_and_never_shown() {
        let key = PseudonymKey::random().unwrap();
        assert_eq!(PseudonymKey::parse(&key.to_file()), Some(key.clone()));
        assert_eq!(format!("{key:?}"), "Key(not shown)");
        assert_eq!(PseudonymKey::parse("too short"), None);
        assert_eq!(PseudonymKey::parse(&"zz".repeat(32)), None);
        assert_ne!(PseudonymKey::random().unwrap(), key);
    }

    proptest! {
        #[test]
        fn shared_prefixes_are_shared_and_no_more(a: u128, b: u128) {
            let pseudonyms = sample();
            let (x, y) = (pseudonyms.bits(a, 128), pseudonyms.bits(b, 128));
            prop_assert_eq!((a ^ b).leading_zeros(), (x ^ y).leading_zeros());
        }
    }
}
