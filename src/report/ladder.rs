//! The packets of one example as a ladder: two lanes, time downward, to scale where that is readable.
//!
//! Gaps longer than the scale are drawn as breaks. The rendering decides how many pixels or characters that takes.

use super::clock::TimeFormat;
use crate::model::{Evidence, PacketMark, Sender};
use crate::time::Span;

/// Steps of the scale: possible lengths of the longest gap that is drawn in full.
const SCALES: [i64; 17] = [
    1_000,
    10_000,
    100_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
    60_000_000_000,
];

/// A ladder, laid out.
pub(crate) struct PacketLadder<'r> {
    /// From top to bottom.
    pub rungs: Vec<LadderLine<'r>>,
    /// The longest gap that is drawn in full; `None` where there is no gap at all.
    pub scale: Option<Span>,
    /// The date of the first packet, where the report spans days.
    pub day: Option<String>,
}

/// A line of a ladder.
pub(crate) enum LadderLine<'r> {
    /// A packet.
    Packet {
        /// The packet.
        evidence: &'r Evidence,
        /// `14:03:07.001` of the first packet, `+40 ms` of those after it.
        time: String,
        /// The space above it.
        gap: Gap,
    },
    /// This many packets are not shown.
    CountedOnly(usize),
}

/// The time between a packet and the one before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Gap {
    /// Drawn to scale: as a part, 0 to 1, of the longest gap that is drawn in full.
    Scaled(f64),
    /// Longer than that: drawn as a break, this long.
    Break(Span),
}

impl<'r> PacketLadder<'r> {
    /// Lays out `evidence`, at most `most` packets of it: the first ones and the last.
    pub fn new(evidence: &'r [Evidence], clock: TimeFormat, most: usize) -> PacketLadder<'r> {
        let left_out = evidence.len().checked_sub(most).filter(|&n| n > 0);
        let head = if left_out.is_some() { most - 1 } else { evidence.len() };
        let shown: Vec<&Evidence> = evidence[..head].iter().chain(evidence[head..].last()).collect();
        let gaps: Vec<Span> = shown.windows(2).map(|pair| pair[1].time - pair[0].time).collect();
        let scale = scale_of(&gaps);
        let (day, clock) = clock.without_date(shown.first().map(|first| first.time));
        let mut rungs = Vec::new();
        for (i, evidence) in shown.iter().enumerate() {
            if let Some(left_out) = left_out.filter(|_| i == head) {
                rungs.push(LadderLine::CountedOnly(left_out));
            }
            let span = i.checked_sub(1).map_or(Span::ZERO, |before| gaps[before]);
            let gap = match scale {
                Some(scale) if span > scale => Gap::Break(span),
                Some(scale) => Gap::Scaled(span.0.max(0) as f64 / scale.0 as f64),
                None => Gap::Scaled(0.0),
            };
            let since = evidence.time - shown[0].time;
            let time = match i {
                0 => clock.milli(evidence.time),
                _ => format!("{}{since}", if since.0 < 0 { "" } else { "+" }),
            };
            rungs.push(LadderLine::Packet { evidence, time, gap });
        }
        PacketLadder { rungs, scale, day }
    }
}

/// The smallest step that holds at least two of three gaps.
fn scale_of(gaps: &[Span]) -> Option<Span> {
    if gaps.iter().all(|gap| gap.0 <= 0) {
        return None;
    }
    let holds = |scale: &&i64| gaps.iter().filter(|gap| gap.0 <= **scale).count() * 3 >= gaps.len() * 2;
    SCALES.iter().find(holds).or(SCALES.last()).map(|&scale| Span(scale))
}

/// Columns of an arrow between the lanes.
pub(crate) const ARROW: usize = 14;

/// The ladder as fixed-width text. `named` prints the capture behind each packet.
pub(crate) fn text(
    evidence: &[Evidence],
    clock: TimeFormat,
    most: usize,
    named: impl Fn(&Evidence) -> String,
) -> String {
    let ladder = PacketLadder::new(evidence, clock, most);
    let width = |pick: &dyn Fn(&LadderLine<'_>) -> usize| ladder.rungs.iter().map(pick).max().unwrap_or(0);
    let times = width(&|rung| match rung {
        LadderLine::Packet { time, .. } => time.chars().count(),
        LadderLine::CountedOnly(_) => 0,
    });
    let day = ladder.day.as_deref().unwrap_or_default();
    let times = times.max(day.len());
    let numbers = width(&|rung| match rung {
        LadderLine::Packet { evidence, .. } => evidence.packet.to_string().len() + 1,
        LadderLine::CountedOnly(_) => 0,
    });
    let mut out = format!("{day:>times$}  client {:pad$} server\n", "", pad = ARROW - 10);
    for rung in &ladder.rungs {
        match rung {
            LadderLine::CountedOnly(n) => {
                out.push_str(&format!("{:times$}  :{:ARROW$}:  ({n} more packets)\n", "", ""));
            }
            LadderLine::Packet { evidence, time, gap } => {
                if let Gap::Break(_) = gap {
                    out.push_str(&format!("{:times$}  :{:ARROW$}:\n", "", ""));
                }
                let number = format!("#{}", evidence.packet);
                let line = format!(
                    "{time:>times$}  |{}|  {number:numbers$}  {}{}",
                    arrow(evidence),
                    flat(&evidence.text),
                    flat(&named(evidence))
                );
                out.push_str(line.trim_end());
                out.push('\n');
            }
        }
    }
    out
}

/// On one line, whatever text a capture has.
fn flat(text: &str) -> String {
    text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).collect()
}

/// `------------->`, dashed where it is sent again, ended by an X where it is ignored.
pub(crate) fn arrow(evidence: &Evidence) -> String {
    let marked = |mark| evidence.marks.contains(&mark);
    let ignored = marked(PacketMark::Ignored);
    let unit = if marked(PacketMark::Repeated) { "- " } else { "--" };
    let shaft = |n: usize| unit.repeat(n / 2 + 1).chars().take(n).collect::<String>();
    match evidence.sender {
        Some(Sender::Client) if ignored => format!("{}X ", shaft(ARROW - 2)),
        Some(Sender::Server) if ignored => format!(" X{}", shaft(ARROW - 2)),
        Some(Sender::Client) => format!("{}>", shaft(ARROW - 1)),
        Some(Sender::Server) => format!("<{}", shaft(ARROW - 1)),
        None => format!("{:^ARROW$}", "?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;
    use crate::time::Timestamp;

    #[test]
    fn the_scale_holds_most_gaps_and_breaks_the_others() {
        let report = samples::overflow();
        let evidence = &report.findings[0].evidence;
        let ladder = PacketLadder::new(evidence, TimeFormat::new([]), 20);
        assert_eq!(ladder.scale, Some(Span::millis(1000)));
        let gaps: Vec<_> = ladder
            .rungs
            .iter()
            .filter_map(|rung| match rung {
                LadderLine::Packet { gap, .. } => Some(*gap),
                LadderLine::CountedOnly(_) => None,
            })
            .collect();
        assert_eq!(gaps[5], Gap::Break(Span::millis(2050)));
        assert_eq!(gaps[4], Gap::Scaled(0.999));
        assert_eq!(gaps[0], Gap::Scaled(0.0));
    }

    #[test]
    fn golden_ladder() {
        let report = samples::overflow();
        insta::assert_snapshot!(text(
            &report.findings[0].evidence,
            TimeFormat::new([]),
            20,
            |_| String::new()
        ));
        insta::assert_snapshot!(
            "long",
            text(&samples::mixture().findings[2].evidence, TimeFormat::new([]), 4, |_| String::new())
        );
    }

    #[test]
    fn where_there_are_several_days_the_date_stands_at_the_head() {
        let report = samples::overflow();
        let clock = TimeFormat::new([Timestamp(0), report.findings[0].first]);
        let text = text(&report.findings[0].evidence, clock, 20, |_| String::new());
        let lines: Vec<_> = text.lines().take(3).map(str::trim_end).collect();
        assert_eq!(lines[0], "  2026-11-22  client      server");
        assert!(lines[1].starts_with("14:03:07.001  |"), "{text}");
        assert!(lines[2].starts_with("       +0 ns  |"), "{text}");
    }

    #[test]
    fn packets_at_one_moment_need_no_scale() {
        let report = samples::mixture();
        let refused = report.findings.iter().find(|f| f.kind.name() == "connection-refused").unwrap();
        assert_eq!(PacketLadder::new(&refused.evidence, TimeFormat::new([]), 9).scale, None);
    }
}
