//! Values of options: durations, sizes, times, addresses, and what `--fail-on` matches.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::model::{Kind, Report, Severity};
use crate::time::{Span, Timestamp};

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people, on a terminal or in a ticket.
    Text,
    /// For programs: one document as `synscope schema` describes it.
    Json,
    /// For programs that read line by line: one finding a line.
    Jsonl,
    /// For an issue or a merge request: Markdown, short unless --full; see --flavor.
    Markdown,
    /// For people: one page for a browser, without network or script.
    Html,
    /// For Wireshark: the packets of the findings with comments; see `synscope extract`.
    Pcapng,
    /// For DuckDB, Spark SQL and the like: a folder with a row for each connection, and one for each finding; only with --report.
    #[cfg(feature = "fleet")]
    Parquet,
}

/// What `--host` was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostArg {
    /// Keep only connections with this address.
    Address(IpAddr),
    /// The facts of a host, from this file.
    Snapshot(PathBuf),
}

/// `500ms`, `2s`, `1m`, `1h`, `1m30s`.
///
/// # Errors
/// No unit, a negative value, or more than fits.
pub fn duration(text: &str) -> Result<Span, String> {
    let parsed: Option<jiff::SignedDuration> = text.trim().parse().ok();
    parsed
        .filter(|duration| !duration.is_negative())
        .and_then(|duration| i64::try_from(duration.as_nanos()).ok())
        .map(Span)
        .ok_or_else(|| "write a number with a unit: 500ms, 2s, 1m, 1h".to_owned())
}

/// `512MiB`, `2G`, `1GB`, or plain bytes. `K`, `M`, `G`, `T` and `KiB` ... are powers of 1024, `KB` ... of 1000.
///
/// # Errors
/// Zero, an unknown unit, or more than fits.
pub fn size(text: &str) -> Result<u64, String> {
    let advice = "write a size above 0, such as 512MiB or 2G";
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let scale: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(advice.to_owned()),
    };
    let size = number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale));
    size.filter(|&size| size > 0).ok_or_else(|| advice.to_owned())
}

/// A moment: RFC 3339, or `2026-11-22 14:03:07` in UTC.
///
/// # Errors
/// Anything else, or outside of what can be written.
pub fn time(text: &str) -> Result<Timestamp, String> {
    let text = text.trim();
    // A date and time of day without offset is UTC, as everywhere in the reports. A '[' begins the name of a time zone,
    // and the program does not know the rules of zones.
    let parsed = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        let local = text.contains(':') && !text.contains('[');
        let civil: jiff::civil::DateTime = local.then(|| text.parse().ok()).flatten()?;
        jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()
    });
    parsed.and_then(|time| i64::try_from(time.as_nanosecond()).ok()).map(Timestamp).ok_or_else(|| {
        "write 2026-11-22T14:03:07Z, 2026-11-22T15:03:07+01:00 or '2026-11-22 14:03:07' (UTC)".to_owned()
    })
}

/// Ports with a name that is the same everywhere. Others must be numbers: `/etc/services` differs between machines.
const SERVICES: [(&str, u16); 20] = [
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("dns", 53),
    ("domain", 53),
    ("http", 80),
    ("pop3", 110),
    ("imap", 143),
    ("bgp", 179),
    ("ldap", 389),
    ("https", 443),
    ("smtps", 465),
    ("submission", 587),
    ("ldaps", 636),
    ("imaps", 993),
    ("mysql", 3306),
    ("postgresql", 5432),
    ("redis", 6379),
    ("http-alt", 8080),
];

/// A port: its number, or a well-known name.
///
/// # Errors
/// 0, more than 65535, other names.
pub fn port(text: &str) -> Result<u16, String> {
    let named = SERVICES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text.trim()));
    match (named, text.trim().parse::<u16>()) {
        (Some((_, port)), _) => Ok(*port),
        (None, Ok(port)) if port > 0 => Ok(port),
        _ => Err(format!(
            "write a number from 1 to 65535, such as 443; 'getent services {}' looks for the number of a name",
            text.trim()
        )),
    }
}

/// An IPv4 or IPv6 address, or else the path of a snapshot.
///
/// # Errors
/// Prefixes, and addresses with a port.
pub fn host(text: &str) -> Result<HostArg, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse() {
        return Ok(HostArg::Address(address));
    }
    if let Ok(both) = text.parse::<SocketAddr>() {
        return Err(format!("write it as --host {} --port {}", both.ip(), both.port()));
    }
    let prefix = text
        .split_once('/')
        .is_some_and(|(address, length)| address.parse::<IpAddr>().is_ok() && length.parse::<u8>().is_ok());
    if prefix {
        return Err("write a single IP address, such as 192.0.2.1 or 2001:db8::1".to_owned());
    }
    Ok(HostArg::Snapshot(text.into()))
}

/// `html=a.html`: a format and the file that gets it.
///
/// # Errors
/// The text has no `=`, an unknown format, or an empty path.
pub fn report(text: &str) -> Result<(Format, PathBuf), String> {
    let names: Vec<_> = Format::value_variants()
        .iter()
        .filter_map(|f| Some(f.to_possible_value()?.get_name().to_owned()))
        .collect();
    let (format, path) = text.split_once('=').ok_or_else(|| {
        format!("write FORMAT=FILE, such as html=report.html; formats: {}", names.join(", "))
    })?;
    let format = Format::from_str(format, true)
        .map_err(|_| format!("no format '{format}'; there are: {}", names.join(", ")))?;
    match path {
        "" => Err("a file name is missing behind '='".to_owned()),
        path => Ok((format, PathBuf::from(path))),
    }
}

/// `lb=lb.pcap`: the name of a capture point, and a file that was captured there.
///
/// # Errors
/// No name, no file.
pub fn point(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.trim().is_empty() && !path.is_empty() => {
            Ok((name.trim().to_owned(), PathBuf::from(path)))
        }
        _ => Err("write NAME=FILE, such as lb=lb.pcap".to_owned()),
    }
}

/// `127.0.0.1:9464`, `[::1]:9464`, or a port alone on the loopback interface: the address for metrics.
///
/// # Errors
/// Anything else, names of hosts included.
pub fn metrics(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    text.parse()
        .map_err(|_| "write a port, or an address with a port: 9464, 127.0.0.1:9464, [::1]:9464".to_owned())
}

/// A finding kind, by its name.
pub fn kind_parser() -> impl TypedValueParser<Value = Kind> {
    PossibleValuesParser::new(Kind::ALL.map(Kind::name))
        .try_map(|name| name.to_ascii_lowercase().parse::<Kind>())
}

/// What makes the exit code 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailOn {
    /// Any finding.
    Any,
    /// A finding at least that severe.
    AtLeast(Severity),
    /// A finding of that kind.
    Kind(Kind),
}

impl FailOn {
    /// Reads one value of `--fail-on`.
    pub fn parser() -> impl TypedValueParser<Value = FailOn> {
        let names = ["any", "info", "warning", "critical"].into_iter().chain(Kind::ALL.map(Kind::name));
        PossibleValuesParser::new(names).try_map(|name| match name.to_ascii_lowercase().as_str() {
            "any" => Ok(FailOn::Any),
            "info" => Ok(FailOn::AtLeast(Severity::Info)),
            "warning" => Ok(FailOn::AtLeast(Severity::Warning)),
            "critical" => Ok(FailOn::AtLeast(Severity::Critical)),
            kind => kind.parse().map(FailOn::Kind),
        })
    }

    /// Whether something in `report` matches.
    pub fn matches(self, report: &Report) -> bool {
        let findings = report.findings.iter().map(|finding| (finding.kind, finding.severity));
        let incidents = report.incidents.iter().map(|incident| (incident.kind, incident.severity));
        findings.chain(incidents).any(|(kind, severity)| match self {
            FailOn::Any => true,
            FailOn::AtLeast(least) => severity >= least,
            FailOn::Kind(wanted) => kind == wanted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn metrics_are_loopbacks_unless_they_are_told_otherwise() {
        assert_eq!(metrics("9464"), Ok("127.0.0.1:9464".parse().unwrap()));
        assert_eq!(metrics(":9464"), Ok("127.0.0.1:9464".parse().unwrap()));
        assert_eq!(metrics("0.0.0.0:9464"), Ok("0.0.0.0:9464".parse().unwrap()));
        assert_eq!(metrics("[::1]:9464"), Ok("[::1]:9464".parse().unwrap()));
        assert!(metrics("localhost:9464").unwrap_err().contains("127.0.0.1:9464"));
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("500ms"), Ok(Span::millis(500)));
        assert_eq!(duration("2s"), Ok(Span::secs(2)));
        assert_eq!(duration("1m"), Ok(Span::secs(60)));
        assert_eq!(duration("1h"), Ok(Span::secs(3600)));
        assert_eq!(duration("1m30s"), Ok(Span::secs(90)));
        assert_eq!(duration("1.5s"), Ok(Span::millis(1500)));
        assert_eq!(duration("0s"), Ok(Span::ZERO));
        for wrong in ["60", "", "s", "-1s", "1 fortnight", "999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_binary_unless_they_say_kb() {
        assert_eq!(size("1GiB"), Ok(1 << 30));
        assert_eq!(size("512MiB"), Ok(512 << 20));
        assert_eq!(size("2G"), Ok(2 << 30));
        assert_eq!(size("64k"), Ok(64 << 10));
        assert_eq!(size("1 GB"), Ok(1_000_000_000));
        assert_eq!(size("4096"), Ok(4096));
        for wrong in ["0", "", "GiB", "-1G", "1.5G", "1X", "99999999999999999999", "99999999999T"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ports_are_numbers_or_names_that_everybody_knows() {
        assert_eq!(port("443"), Ok(443));
        assert_eq!(port("http"), Ok(80));
        assert_eq!(port("HTTPS"), Ok(443));
        for wrong in ["0", "65536", "-1", "", "nonsense", "80,443"] {
            assert!(port(wrong).unwrap_err().contains("from 1 to 65535"), "{wrong}");
        }
    }

    #[test]
    fn times_are_utc_unless_they_say_otherwise() {
        let expected = Ok(Timestamp(1_795_356_187_000_000_000));
        assert_eq!(time("2026-11-22T14:03:07Z"), expected);
        assert_eq!(time("2026-11-22T15:03:07+01:00"), expected);
        assert_eq!(time("2026-11-22 14:03:07"), expected);
        assert_eq!(time("2026-11-22 14:03:07.000"), expected);
        assert_eq!(time("2026-11-22 15:03:07+01:00"), expected);
        for wrong in [
            "14:03:07",
            "2026-11-22",
            "yesterday",
            "2026-11-22 14:03:07[Europe/Berlin]",
            "2026-02-30 00:00:00",
        ] {
            assert!(time(wrong).is_err(), "{wrong}: {:?}", time(wrong));
        }
    }

    #[test]
    fn reports_name_a_format_and_a_file() {
        assert_eq!(report("html=a=b.html"), Ok((Format::Html, PathBuf::from("a=b.html"))));
        assert!(report("a.html").unwrap_err().contains("html=report.html"));
        assert!(report("pdf=a.pdf").unwrap_err().contains("no format 'pdf'"));
        assert!(report("html=").is_err());
    }

    #[test]
    fn points_have_a_name_and_a_file() {
        assert_eq!(point("lb=a=b.pcap"), Ok(("lb".to_owned(), PathBuf::from("a=b.pcap"))));
        for wrong in ["lb", "=a.pcap", " =a.pcap", "lb="] {
            assert!(point(wrong).unwrap_err().contains("NAME=FILE"), "{wrong}");
        }
    }

    #[test]
    fn hosts_are_addresses_or_snapshots() {
        let address = |text: &str| HostArg::Address(text.parse().unwrap());
        assert_eq!(host("192.0.2.1"), Ok(address("192.0.2.1")));
        assert_eq!(host("[2001:db8::1]"), Ok(address("2001:db8::1")));
        assert!(host("192.0.2.1:80").unwrap_err().contains("--host 192.0.2.1 --port 80"));
        assert!(host("192.0.2.0/24").unwrap_err().contains("single"));
        assert_eq!(host("before.json"), Ok(HostArg::Snapshot("before.json".into())));
        assert_eq!(host("./192.0.2.1"), Ok(HostArg::Snapshot("./192.0.2.1".into())));
    }

    #[test]
    fn fail_on_matches_kinds_and_at_least_severities() {
        let (mixture, clean) = (samples::mixture(), samples::clean());
        assert!(FailOn::Any.matches(&mixture) && !FailOn::Any.matches(&clean));
        assert!(FailOn::Kind(Kind::SynFlood).matches(&mixture));
        assert!(!FailOn::Kind(Kind::SynFlood).matches(&samples::overflow()));
        let mut harmless = mixture;
        harmless.findings.retain(|finding| finding.severity == Severity::Info);
        harmless.incidents.retain(|incident| incident.severity == Severity::Info);
        assert!(FailOn::AtLeast(Severity::Info).matches(&harmless));
        assert!(!FailOn::AtLeast(Severity::Warning).matches(&harmless));
    }
}
