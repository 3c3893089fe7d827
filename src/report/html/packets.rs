//! The packet ladder of the page: a list that reads as a list, drawn as two lanes by the style sheet.

use std::fmt::Write as _;

use super::escape::escape;
use crate::model::{Capture, Finding, PacketMark, Sender};
use crate::report::clock::TimeFormat;
use crate::report::ladder::{Gap, LadderLine, PacketLadder};
use crate::report::terminal::{counted, grouped};
use crate::report::words::{seen_elsewhere, sole_capture};

/// Packets of one ladder.
const PACKETS: usize = 24;
/// Height of the longest gap that is drawn in full, in pixels.
const TALLEST: f64 = 56.0;

/// How much of the ladder's meaning is explained.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Legend {
    /// All, with the first ladder of an incident.
    Full,
    /// The scale alone.
    Scale,
}

/// The evidence of `finding`. With several `captures` each packet is named with its own, unless all are in one of them. The
/// first one says how it is to be read.
pub(super) fn ladder(finding: &Finding, clock: TimeFormat, captures: &[Capture], legend: Legend) -> String {
    let ladder = PacketLadder::new(&finding.evidence, clock, PACKETS);
    let sole = sole_capture(finding, captures);
    let named = Some(captures).filter(|all| all.len() > 1 && sole.is_none());
    let (day, of) =
        (ladder.day.as_deref().unwrap_or_default(), sole.map(|path| format!("packets of {path}")));
    let mut out = format!(
        "<ol class=\"ladder\"><li class=\"heads\"{}><span class=\"t\">{}</span><i aria-hidden=\"true\">\
         <span>client</span><span>server</span></i><span class=\"faint\">{}</span></li>",
        // Screen readers then skip it.
        if day.is_empty() && of.is_none() { " aria-hidden=\"true\"" } else { "" },
        escape(day),
        escape(of.as_deref().unwrap_or_default())
    );
    for rung in &ladder.rungs {
        match rung {
            LadderLine::CountedOnly(n) => {
                break_row(&mut out, &format!("{} not drawn", counted(*n as u64, "packet")))
            }
            LadderLine::Packet { evidence, time, gap } => {
                let height = match gap {
                    Gap::Scaled(part) => (part * TALLEST).round() as u64,
                    Gap::Break(span) => {
                        break_row(&mut out, &format!("{span} later"));
                        0
                    }
                };
                let (lane, from) = match evidence.sender {
                    Some(Sender::Client) => ("c", "client to server: "),
                    Some(Sender::Server) => ("s", "server to client: "),
                    None => ("u", ""),
                };
                let marked = |mark| evidence.marks.contains(&mark);
                let mut class = lane.to_owned();
                let mut tags = String::new();
                for (mark, letter, word) in [
                    (PacketMark::Repeated, " r", "sent again"),
                    (PacketMark::Ignored, " x", "ignored"),
                    (PacketMark::Reset, " z", "reset"),
                ] {
                    if marked(mark) {
                        class.push_str(letter);
                        let _ = write!(tags, " <span class=\"tag {mark}\">{word}</span>");
                    }
                }
                let style = if height > 0 { format!(" style=\"--g:{height}\"") } else { String::new() };
                let _ = write!(
                    out,
                    "<li class=\"{class}\"{style}><span class=\"t\">{}</span><i aria-hidden=\"true\"></i>\
                     <span class=\"w\"><b>#{}</b> <span class=\"vh\">{from}</span>{}{}{tags}</span></li>",
                    escape(time),
                    evidence.packet,
                    escape(&evidence.text),
                    {
                        let place = seen_elsewhere(evidence, named);
                        match place.trim_start() {
                            "" => String::new(),
                            place => format!(" <span class=\"faint\">{}</span>", escape(place)),
                        }
                    },
                );
            }
        }
    }
    out.push_str("</ol>");
    if let Some(scale) = ladder.scale {
        let scale = escape(&scale.to_string());
        let _ = match legend {
            Legend::Full => write!(
                out,
                "<p class=\"faint legend\">Time runs downward, to scale up to {scale} between two packets; dotted lanes \
                 are a longer pause. Dashed: sent again. &#10005;: not taken by the other end.</p>"
            ),
            Legend::Scale => {
                write!(out, "<p class=\"faint legend\">To scale up to {scale} between two packets.</p>")
            }
        };
    }
    out
}

fn break_row(out: &mut String, text: &str) {
    let _ = write!(
        out,
        "<li class=\"brk\"><span></span><i aria-hidden=\"true\"></i><span class=\"w\">{}</span></li>",
        escape(text)
    );
}

/// Every number of `finding`: exact times, measured values, its id, its filters.
pub(super) fn numbers(finding: &Finding) -> String {
    let mut out = format!(
        "<details><summary>Every number of <span class=\"mono\">{}</span></summary>",
        escape(&finding.id)
    );
    if let Some(filters) = &finding.display_filters {
        out.push_str("<p>Wireshark display filters, for the connection and for the packets:</p>");
        let command = |filter: &str| format!("<pre class=\"cmd\"><code>{}</code></pre>", escape(filter));
        out.push_str(&command(&filters.connection));
        for filter in filters.packets.iter().chain(&filters.elsewhere) {
            if let Some(capture) = &filter.capture {
                let _ = write!(out, "<p class=\"faint\">In {}:</p>", escape(capture));
            }
            out.push_str(&command(&filter.filter));
        }
    }
    out.push_str(
        "<table class=\"small\"><thead><tr><th class=\"n\" scope=\"col\">Packet</th><th scope=\"col\">Time</th>\
         <th scope=\"col\">Sender</th></tr></thead><tbody>",
    );
    for evidence in finding.evidence.iter().take(PACKETS) {
        let _ = write!(
            out,
            "<tr><td class=\"n\">{}</td><td>{}</td><td>{}</td></tr>",
            grouped(evidence.packet),
            escape(&evidence.time.to_string()),
            evidence.sender.map(|sender| sender.to_string()).unwrap_or_default()
        );
    }
    out.push_str("</tbody></table><dl class=\"names\">");
    for (name, value) in finding.metrics.iter() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let _ = write!(out, "<dt><code>{}</code></dt><dd>{}</dd>", escape(name), escape(&value));
    }
    out.push_str("</dl></details>");
    out
}
