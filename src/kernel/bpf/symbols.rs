//! Names of the kernel's functions by address, from `/proc/kallsyms`.

use std::fs;

/// The functions of the kernel and its modules.
#[derive(Default)]
pub struct Symbols {
    /// Addresses in rising order, and where each name begins in `names`.
    places: Vec<(u64, u32)>,
    /// The names, one after the other.
    names: String,
}

impl Symbols {
    /// Those of the running kernel; empty where addresses are hidden from this user.
    pub fn of_this_kernel() -> Symbols {
        Symbols::parse(&fs::read_to_string("/proc/kallsyms").unwrap_or_default())
    }

    /// Reads `ADDRESS TYPE NAME` lines.
    pub fn parse(text: &str) -> Symbols {
        let mut found: Vec<(u64, &str)> = text.lines().filter_map(function).collect();
        found.sort_unstable();
        found.dedup_by_key(|(address, _)| *address);
        let mut symbols = Symbols::default();
        for (address, name) in found {
            let Ok(at) = u32::try_from(symbols.names.len()) else { break };
            symbols.places.push((address, at));
            symbols.names.push_str(name);
        }
        symbols
    }

    /// The function that an address lies in.
    pub fn function(&self, address: u64) -> Option<&str> {
        let next = self.places.partition_point(|(start, _)| *start <= address);
        let (_, from) = *self.places.get(next.checked_sub(1)?)?;
        let to = self.places.get(next).map_or(self.names.len(), |(_, at)| *at as usize);
        Some(&self.names[from as usize..to])
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

fn function(line: &str) -> Option<(u64, &str)> {
    let mut words = line.split_ascii_whitespace();
    let address = u64::from_str_radix(words.next()?, 16).ok().filter(|address| *address != 0)?;
    let kind = words.next()?;
    // Compilers cut rarely used parts out of functions and number them: they get the name of the whole function.
    let name = words.next()?.split('.').next()?;
    matches!(kind, "t" | "T" | "w" | "W").then_some((address, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_inside_a_function_has_its_name() {
        let text = "ffff0020 T tcp_v4_rcv\nffff0010 t tcp_check_req.cold\nffff0030 D data\nffff0040 t nft_do_chain\t[nf_tables]\n";
        let symbols = Symbols::parse(text);
        let of = |address| symbols.function(address);
        assert_eq!(of(0xffff_0010), Some("tcp_check_req"));
        assert_eq!(of(0xffff_003f), Some("tcp_v4_rcv"));
        assert_eq!(of(0xffff_1000), Some("nft_do_chain"));
        assert_eq!(of(0xffff_000f), None);
        // Without the right to see them all addresses are 0.
        assert!(Symbols::parse("0000000000000000 T tcp_v4_rcv\n").is_empty());
    }
}
