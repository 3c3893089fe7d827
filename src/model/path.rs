//! Short names of captures.

use std::path::Path;

/// Two captures by their file names, if those differ; else as they were given.
pub fn distinct_names<'p>(a: &'p str, b: &'p str) -> [&'p str; 2] {
    let name = |path: &'p str| Path::new(path).file_name().and_then(|name| name.to_str());
    match (name(a), name(b)) {
        (Some(x), Some(y)) if x != y => [x, y],
        _ => [a, b],
    }
}

#[cfg(test)]
mod tests {
    use super::distinct_names;

    #[test]
    fn file_names_do_where_they_differ() {
        assert_eq!(distinct_names("/tmp/a/client.pcap", "server.pcap"), ["client.pcap", "server.pcap"]);
        assert_eq!(
            distinct_names("client/eth0.pcap", "server/eth0.pcap"),
            ["client/eth0.pcap", "server/eth0.pcap"]
        );
    }
}
