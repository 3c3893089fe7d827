//! Writes benchmark captures: the same bytes for the same arguments.
//!
//! ```text
//! cargo run --release --example gencap -- --profile web --size 1G web.pcap
//! ```
//!
//! Prints one line of JSON with the sizes of the capture. The generator itself is in `benches/gencap/`, shared with the
//! benchmarks.

#[path = "../benches/gencap/mod.rs"]
mod gencap;

use std::fs::{self, File};
use std::io::BufWriter;
use std::process::ExitCode;
use std::str::FromStr;

use gencap::{Format, Plan, Profile, Summary};

const USAGE: &str = "\
Usage: gencap [OPTIONS] OUTPUT

  --profile web|syn|bulk       what the traffic is like [default: web]
  --size SIZE                  bytes of file, decimal: 100M, 4G [default: 100M]
  --seed N                     another seed, another capture [default: 1]
  --format pcap|pcap-ns|pcapng default: by the name of OUTPUT, pcapng or pcap
  --snaplen N                  cut packets to N bytes [default: 65535]
  --rate N                     new flows per second [default: 700 for web, 50000 for syn, 20 for bulk]
  --servers N                  server addresses, 1 to 256 [default: 64]
  --clients N                  client addresses, 1 to 4000000 [default: 20000]
  --bulk-flows N               downloads of the profile bulk [default: 1]
  --min-body BYTES             smallest response of the heavy-tailed sizes [default: 4200]
  --only KIND                  flows of one kind only; kinds are named in the line that is printed
  --flows N                    end after N flows
  --stats FILE                 write the line of JSON there";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("gencap: {message}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), String> {
    let mut plan = Plan::new(Profile::Web, 100_000_000);
    let (mut format, mut output, mut stats) = (None, None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--profile" => plan.profile = parse(&argument, &value()?)?,
            "--size" => plan.size = size(&value()?)?,
            "--seed" => plan.seed = parse(&argument, &value()?)?,
            "--format" => format = Some(parse(&argument, &value()?)?),
            "--snaplen" => plan.snaplen = parse(&argument, &value()?)?,
            "--rate" => plan.rate = Some(parse(&argument, &value()?)?),
            "--servers" => plan.servers = parse::<u64>(&argument, &value()?)?.clamp(1, 256),
            "--clients" => plan.clients = parse::<u64>(&argument, &value()?)?.clamp(1, 4_000_000),
            "--bulk-flows" => plan.downloads = parse(&argument, &value()?)?,
            "--min-body" => plan.least_body = parse(&argument, &value()?)?,
            "--only" => plan.only = Some(parse(&argument, &value()?)?),
            "--flows" => plan.flows = parse(&argument, &value()?)?,
            "--stats" => stats = Some(value()?),
            "-h" | "--help" => {
                println!("{USAGE}");
                return Ok(());
            }
            _ if argument.starts_with('-') => return Err(format!("no option {argument}\n{USAGE}")),
            _ => output = Some(argument),
        }
    }
    let output = output.ok_or_else(|| format!("OUTPUT is missing\n{USAGE}"))?;
    plan.format = format.unwrap_or(if output.ends_with(".pcapng") { Format::Pcapng } else { Format::Pcap });

    let file = File::create(&output).map_err(|e| format!("{output}: {e}"))?;
    let summary = gencap::write(&plan, BufWriter::with_capacity(1 << 20, file))
        .map_err(|e| format!("{output}: {e}"))?;
    let line = json(&plan, &summary);
    match stats {
        Some(path) => fs::write(&path, line + "\n").map_err(|e| format!("{path}: {e}")),
        None => {
            println!("{line}");
            Ok(())
        }
    }
}

fn parse<T>(option: &str, text: &str) -> Result<T, String>
where
    T: FromStr<Err: std::fmt::Display>,
{
    text.parse().map_err(|e| format!("{option} {text}: {e}"))
}

/// Decimal units: `100M` is 10^8.
fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.as_bytes().last() {
        Some(b'M') => (&text[..text.len() - 1], 1e6),
        Some(b'G') => (&text[..text.len() - 1], 1e9),
        _ => (text, 1.0),
    };
    Ok((parse::<f64>("--size", number)? * unit) as u64)
}

fn json(plan: &Plan, summary: &Summary) -> String {
    let kinds: Vec<String> = summary.kinds.iter().map(|(kind, n)| format!("\"{kind:?}\":{n}")).collect();
    format!(
        "{{\"profile\":\"{}\",\"seed\":{},\"snaplen\":{},\"file_bytes\":{},\"packets\":{},\"wire_bytes\":{},\
         \"avg_wire_packet\":{:.1},\"flows_started\":{},\"peak_concurrent_flows\":{},\"duration_s\":{:.3},\
         \"kinds\":{{{}}}}}",
        plan.profile,
        plan.seed,
        plan.snaplen,
        summary.file_bytes,
        summary.packets,
        summary.wire_bytes,
        summary.wire_bytes as f64 / summary.packets.max(1) as f64,
        summary.flows,
        summary.open,
        summary.duration as f64 / 1e9,
        kinds.join(",")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(plan: &Plan) -> (Vec<u8>, Summary) {
        let mut file = Vec::new();
        let summary = gencap::write(plan, &mut file).expect("a vector takes everything");
        (file, summary)
    }

    #[test]
    fn the_same_plan_gives_the_same_bytes() {
        for profile in [Profile::Web, Profile::Syn, Profile::Bulk] {
            let plan = Plan::new(profile, 300_000);
            let (file, summary) = capture(&plan);
            assert_eq!(file, capture(&plan).0, "{profile}");
            assert_ne!(file, capture(&Plan { seed: 2, ..plan }).0, "{profile}: the seed changes nothing");
            assert_eq!(file.len() as u64, summary.file_bytes);
            assert!((300_000..302_000).contains(&file.len()), "{profile}: {} bytes", file.len());
        }
    }

    #[test]
    fn formats_hold_the_same_packets() {
        let plan = Plan { flows: 50, ..Plan::new(Profile::Syn, u64::MAX) };
        let packets = |format| capture(&Plan { format, ..plan.clone() }).1.packets;
        assert_eq!(packets(Format::Pcap), packets(Format::PcapNs));
        assert_eq!(packets(Format::Pcap), packets(Format::Pcapng));
    }

    #[test]
    fn one_kind_alone_can_be_asked_for() {
        let plan = Plan { only: "halfclose".parse().ok(), flows: 3, ..Plan::new(Profile::Web, u64::MAX) };
        let (_, summary) = capture(&plan);
        assert_eq!(format!("{:?}", summary.kinds), "{HalfClose: 3}");
    }

    #[test]
    fn sizes_are_decimal() {
        assert_eq!(size("1.5M"), Ok(1_500_000));
        assert_eq!(size("4G"), Ok(4_000_000_000));
        assert_eq!(size("77"), Ok(77));
        assert!(size("1K").is_err());
    }
}
