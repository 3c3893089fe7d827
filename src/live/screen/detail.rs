//! One incident in full: the kernel's evidence, the packets of an example as a ladder, the next steps.

use ratatui::style::Style;
use ratatui::text::{Line, Span as Text};

use super::cells::{clean, columns};
use super::palette::{BOLD, FAINT, PLAIN, Palette};
use crate::live::state::WatchedIncident;
use crate::model::{Evidence, Finding, PacketMark};
use crate::report::clock::TimeFormat;
use crate::report::ladder::{ARROW, Gap, LadderLine, PacketLadder, arrow};
use crate::report::terminal::{counted, wrap};
use crate::report::words;

/// Columns for the text of a packet at least.
const NARROWEST: usize = 20;
/// A ladder of more packets than this cannot be read on a screen.
const MOST_PACKETS: usize = 24;

/// `CRITICAL accept-queue-overflow, confirmed, at 10.0.0.5:8080`.
pub(super) fn heading(watched: &WatchedIncident, palette: Palette) -> Vec<Text<'static>> {
    let incident = &watched.incident;
    let badge = format!(" {} ", incident.severity.to_string().to_uppercase());
    let place = incident.listener.map_or(String::new(), |at| format!(", at {at}"));
    vec![
        Text::styled(badge, palette.severity(incident.severity)),
        Text::raw(" "),
        Text::styled(incident.kind.to_string(), BOLD),
        Text::styled(format!(", {}", incident.certainty), palette.certainty(incident.certainty)),
        Text::raw(place),
    ]
}

/// Lines being written for one width.
struct DetailLines {
    lines: Vec<Line<'static>>,
    width: usize,
    palette: Palette,
}

/// The lines about `watched`, with its `example`th example, in `width` columns.
pub(super) fn lines(
    watched: &WatchedIncident,
    example: usize,
    palette: Palette,
    width: usize,
) -> Vec<Line<'static>> {
    let mut sheet = DetailLines { lines: Vec::new(), width: width.max(20), palette };
    let incident = &watched.incident;
    let example = example.min(watched.examples.len().saturating_sub(1));
    let finding = watched.examples.get(example);
    let interval = TimeFormat::new([incident.first, incident.last]).interval(incident.first, incident.last);
    let mut extent = format!("{}, {interval}", words::extent(incident));
    if let Some(attempts) = incident.attempts {
        extent.push_str(&format!(", of {} tried", counted(attempts, "connection")));
    }
    extent.push_str(if watched.open { "; still open" } else { "; closed" });
    sheet.prose(FAINT, "", PLAIN, &extent);
    sheet.prose(PLAIN, "", PLAIN, &words::ended(&incident.cause));
    if let Some(kernel) = &watched.corroboration {
        sheet.prose(palette.good().patch(BOLD), "Kernel: ", PLAIN, &words::ended(kernel));
    }
    // The kernel's evidence is often the reason itself.
    let told = |reason: &&str| watched.corroboration.as_deref() != Some(*reason);
    if let Some(reason) = finding.and_then(words::certainty_reason).filter(told) {
        let mut certainty = incident.certainty.to_string();
        certainty[..1].make_ascii_uppercase();
        sheet.prose(BOLD, &format!("{certainty}: "), PLAIN, &words::ended(reason));
    }
    if let Some(finding) = finding {
        sheet.blank();
        sheet.example(finding, example, watched.examples.len());
    }
    let all: Vec<&Finding> = watched.examples.iter().collect();
    let alternatives = words::alternatives(&all);
    if !alternatives.is_empty() {
        sheet.blank();
        sheet.heading("Less likely");
        for alternative in alternatives {
            let what = alternative.suspect.text().trim_end().trim_end_matches('.');
            let text = words::ended(&format!("{what}: {}", alternative.why_less_likely));
            sheet.prose(PLAIN, "- ", PLAIN, &text);
        }
    }
    if !incident.next_steps.is_empty() {
        sheet.blank();
        sheet.heading("Next");
        for step in &incident.next_steps {
            sheet.prose(PLAIN, "- ", PLAIN, step);
        }
    }
    sheet.kernel(&all);
    sheet.blank();
    sheet.prose(FAINT, "", FAINT, &incident.id);
    sheet.lines
}

impl DetailLines {
    fn blank(&mut self) {
        self.lines.push(Line::default());
    }

    fn heading(&mut self, text: &str) {
        self.lines.push(Line::styled(text.to_owned(), BOLD));
    }

    /// A wrapped paragraph; `lead` begins its first line, the others are indented by two.
    fn prose(&mut self, lead_style: Style, lead: &str, style: Style, text: &str) {
        let indent = if lead.is_empty() { 0 } else { 2 };
        let text = clean(text);
        // The first line is shorter by the lead: the lead is wrapped with it and removed afterwards.
        let joined = format!("{lead}{text}");
        let wrapped = wrap(&joined, self.width - indent);
        let mut first = true;
        for line in wrapped.iter().flat_map(|line| pieces(line, self.width - indent)) {
            let mut parts = Vec::new();
            let mut rest = line.as_str();
            if first {
                if let Some(behind) = rest.strip_prefix(lead.trim_end()) {
                    parts.push(Text::styled(lead.trim_end().to_owned(), lead_style));
                    rest = behind;
                }
            } else {
                parts.push(Text::raw(" ".repeat(indent)));
            }
            first = false;
            self.code_spans(style, rest, &mut parts);
            self.lines.push(Line::from(parts));
        }
    }

    /// Text with `code` in it, coloured instead of the backticks where both ends are on this line.
    fn code_spans(&self, style: Style, line: &str, parts: &mut Vec<Text<'static>>) {
        if !line.matches('`').count().is_multiple_of(2) {
            parts.push(Text::styled(line.to_owned(), style));
            return;
        }
        for (i, piece) in line.split('`').enumerate() {
            let style = if i % 2 == 1 { self.palette.code() } else { style };
            parts.push(Text::styled(piece.to_owned(), style));
        }
    }

    fn example(&mut self, finding: &Finding, example: usize, of: usize) {
        let title = match of {
            1 => "Example".to_owned(),
            of => format!("Example {} of {of}", example + 1),
        };
        let turn = if of > 1 { "  (←→ for another)" } else { "" };
        self.lines.push(Line::from(vec![
            Text::styled(title, BOLD),
            Text::raw(format!("  {}", clean(&words::endpoints(finding)))),
            Text::styled(turn, FAINT),
        ]));
        self.prose(PLAIN, "", PLAIN, &words::ended(&finding.summary));
        self.ladder(&finding.evidence);
    }

    fn ladder(&mut self, evidence: &[Evidence]) {
        let ladder = PacketLadder::new(evidence, TimeFormat::new([]), MOST_PACKETS);
        let (mut times, mut numbers) = (0, 0);
        for rung in &ladder.rungs {
            if let LadderLine::Packet { evidence, time, .. } = rung {
                times = times.max(columns(time));
                numbers = numbers.max(evidence.packet.to_string().len() + 1);
            }
        }
        // The space to the left of a packet's text. Text that is too long goes on below.
        let left = times + 2 + 1 + ARROW + 3 + numbers + 2;
        let room = self.width.saturating_sub(left).max(NARROWEST);
        let head = format!("{:times$}  client {:pad$} server", "", "", pad = ARROW - 10);
        self.lines.push(Line::styled(head, FAINT));
        for rung in &ladder.rungs {
            match rung {
                LadderLine::CountedOnly(n) => {
                    let text =
                        format!("{:times$}  :{:ARROW$}:  ({} more)", "", "", counted(*n as u64, "packet"));
                    self.lines.push(Line::styled(text, FAINT));
                }
                LadderLine::Packet { evidence, time, gap } => {
                    if let Gap::Break(_) = gap {
                        self.lines.push(Line::styled(format!("{:times$}  :{:ARROW$}:", "", ""), FAINT));
                    }
                    let number = format!("#{}", evidence.packet);
                    let mut text = wrap(&clean(&evidence.text), room).into_iter();
                    self.lines.push(Line::from(vec![
                        Text::styled(format!("{time:>times$}  "), FAINT),
                        Text::styled("|", FAINT),
                        Text::styled(arrow(evidence), self.arrow_style(evidence)),
                        Text::styled("|  ", FAINT),
                        Text::styled(format!("{number:numbers$}  "), FAINT),
                        Text::raw(text.next().unwrap_or_default()),
                    ]));
                    for more in text {
                        let lanes = format!("{:times$}  |{:ARROW$}|  {:numbers$}  ", "", "", "");
                        self.lines.push(Line::from(vec![Text::styled(lanes, FAINT), Text::raw(more)]));
                    }
                }
            }
        }
    }

    fn arrow_style(&self, evidence: &Evidence) -> Style {
        let marked = |mark| evidence.marks.contains(&mark);
        if marked(PacketMark::Reset) || marked(PacketMark::Ignored) {
            self.palette.bad()
        } else if marked(PacketMark::Repeated) {
            self.palette.watch()
        } else {
            self.palette.good()
        }
    }

    /// The kernel's functions and counters to look at.
    fn kernel(&mut self, findings: &[&Finding]) {
        let mut any = false;
        for (title, names) in [
            ("functions", words::union(findings, |finding| &finding.cause.kernel_functions)),
            ("counters ", words::union(findings, |finding| &finding.cause.counters)),
            ("settings ", words::union(findings, |finding| &finding.cause.sysctls)),
        ] {
            if names.is_empty() {
                continue;
            }
            if !any {
                self.blank();
                self.heading("In the kernel");
                any = true;
            }
            self.prose(FAINT, &format!("{title} "), PLAIN, &names.join(", "));
        }
    }
}

/// `line` in pieces of at most `width` columns: long words are broken.
fn pieces(line: &str, width: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut used = 0;
    for c in line.chars() {
        let columns = columns(c.encode_utf8(&mut [0; 4]));
        if used + columns > width && used > 0 {
            pieces.push(String::new());
            used = 0;
        }
        used += columns;
        pieces.last_mut().expect("the list starts with one").push(c);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_wrapped_is_broken() {
        assert_eq!(pieces("abcdefg", 3), ["abc", "def", "g"]);
        assert_eq!(pieces("監視監", 4), ["監視", "監"]);
        assert_eq!(pieces("", 4), [""]);
    }
}
