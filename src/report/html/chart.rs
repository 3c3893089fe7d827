//! The charts of the page: how many findings began when, and when the incidents lay.

use std::fmt::Write as _;

use super::escape::escape;
use crate::model::{Finding, QueueHistory, QueueLengths, Severity};
use crate::report::clock::TimeFormat;
use crate::report::terminal::grouped;
use crate::time::{Span, Timestamp};

/// Bars of a chart at most.
const BARS: i64 = 60;
/// Its height in its own units; a bar is 10 wide.
const HEIGHT: u64 = 100;

/// The time that a bar may stand for.
const WIDTHS: [i64; 25] = [
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
    20_000_000_000,
    30_000_000_000,
    60_000_000_000,
    120_000_000_000,
    300_000_000_000,
    600_000_000_000,
    1_800_000_000_000,
    3_600_000_000_000,
    7_200_000_000_000,
    21_600_000_000_000,
    86_400_000_000_000,
    604_800_000_000_000,
];

/// The interval of time that a chart covers.
#[derive(Clone, Copy)]
pub(super) struct ChartInterval {
    from: Timestamp,
    to: Timestamp,
}

impl ChartInterval {
    /// From the first to the last of `times`; `None` without any, or if all are equal.
    pub fn of(times: impl Iterator<Item = Timestamp>) -> Option<ChartInterval> {
        let (from, to) = times.fold(None, |range: Option<(Timestamp, Timestamp)>, time| {
            let (from, to) = range.unwrap_or((time, time));
            Some((from.min(time), to.max(time)))
        })?;
        (to > from).then_some(ChartInterval { from, to })
    }

    /// The position of `time`, 0 to 100.
    fn percent(self, time: Timestamp) -> f64 {
        let part = time.since(self.from).0 as f64 / self.to.since(self.from).0 as f64;
        (part * 100.0).clamp(0.0, 100.0)
    }

    /// A bar from `first` to `last` as the style of an absolutely positioned box.
    pub fn bar(self, first: Timestamp, last: Timestamp) -> String {
        let (from, to) = (self.percent(first), self.percent(last));
        format!("left:{:.2}%;width:{:.2}%", from.min(99.5), (to - from).max(0.0))
    }

    /// The line below a chart: its first time, `middle`, its last time.
    pub fn axis(self, clock: TimeFormat, middle: &str) -> String {
        format!(
            "<span>{}</span><span>{middle}</span><span>{} UTC</span>",
            escape(&clock.second(self.from)),
            escape(&clock.second(self.to))
        )
    }

    /// How long a bar of the chart lasts.
    fn width(self) -> Span {
        let whole = self.to.since(self.from).0;
        Span(WIDTHS.into_iter().find(|width| whole / width < BARS).unwrap_or(whole / BARS + 1))
    }
}

/// Findings per interval of time as bars, coloured by severity; nothing where all began at one moment.
pub(super) fn rate(findings: &[&Finding], over: ChartInterval, clock: TimeFormat) -> String {
    let width = over.width();
    let bars = (over.to.since(over.from).0 / width.0 + 1) as usize;
    let mut counts = vec![[0u64; 3]; bars];
    for finding in findings {
        if let Ok(place) = usize::try_from(finding.first.since(over.from).0 / width.0)
            && let Some(bar) = counts.get_mut(place)
        {
            bar[finding.severity as usize] += 1;
        }
    }
    let most = counts.iter().map(|bar| bar.iter().sum::<u64>()).max().unwrap_or(0);
    // One bar shows nothing that a sentence does not say.
    if counts.iter().filter(|bar| bar.iter().sum::<u64>() > 0).count() < 2 {
        return String::new();
    }
    let label = format!(
        "Findings that began per {}: at most {}, from {} to {} UTC",
        spoken(width),
        grouped(most),
        clock.second(over.from),
        clock.second(over.to)
    );
    let mut svg = format!(
        "<svg class=\"chart\" role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {} {HEIGHT}\" \
         preserveAspectRatio=\"none\">",
        escape(&label),
        bars * 10
    );
    let mut below = vec![0u64; bars];
    for severity in [Severity::Critical, Severity::Warning, Severity::Info] {
        let mut path = String::new();
        for (place, bar) in counts.iter().enumerate() {
            let height = bar[severity as usize] * HEIGHT / most;
            // The smallest bar is still visible.
            let height = if bar[severity as usize] > 0 { height.max(2) } else { 0 };
            if height > 0 {
                let from = HEIGHT.saturating_sub(below[place]);
                let _ = write!(path, "M{} {from}v-{height}h9v{height}z", place * 10);
                below[place] += height;
            }
        }
        if !path.is_empty() {
            let _ = write!(svg, "<path class=\"{severity}\" d=\"{path}\"/>");
        }
    }
    let middle = format!("at most {} per {}", grouped(most), spoken(width));
    let _ = write!(svg, "</svg><p class=\"axis\">{}</p>", over.axis(clock, &middle));
    svg
}

/// The queues of a listener over time, with their limit as a line; nothing where all samples are of one moment.
pub(super) fn queues(history: &QueueHistory, clock: TimeFormat) -> String {
    let samples = &history.samples;
    let Some(over) = ChartInterval::of(samples.iter().map(|sample| sample.at)) else { return String::new() };
    let longest = |of: &dyn Fn(&QueueLengths) -> u64| samples.iter().map(of).max().unwrap_or(0);
    let (accept, requests) =
        (longest(&|sample| sample.accept_queue), longest(&|sample| sample.syn_queue.unwrap_or(0)));
    let most = accept.max(requests).max(history.limit.map_or(0, |limit| limit + 1)).max(1);
    let height = |length: u64| HEIGHT as f64 - (length * HEIGHT) as f64 / most as f64;
    let points = |of: &dyn Fn(&QueueLengths) -> u64| {
        let point = |sample: &QueueLengths| {
            format!("L{:.1} {:.1}", over.percent(sample.at) * 10.0, height(of(sample)))
        };
        samples.iter().map(point).collect::<String>()
    };
    let counted = samples.iter().any(|sample| sample.syn_queue.is_some());
    let mut of_accept = format!("accept queue, at most {}", grouped(accept));
    if let Some(limit) = history.limit {
        let _ = write!(of_accept, " of {} (dashed line)", grouped(limit));
    }
    let of_syn = format!("SYN queue, at most {}", grouped(requests));
    let of_both = if counted { format!("{of_accept}; {of_syn}") } else { of_accept.clone() };
    let label = format!(
        "Queues of the listener from {} to {} UTC: {of_both}",
        clock.second(over.from),
        clock.second(over.to)
    );
    let mut svg = format!(
        "<svg class=\"chart\" role=\"img\" aria-label=\"{}\" viewBox=\"0 0 1000 {HEIGHT}\" \
         preserveAspectRatio=\"none\"><path class=\"warning\" d=\"{}\"/>",
        escape(&label),
        format_args!("M0 {HEIGHT}{}L1000 {HEIGHT}z", points(&|sample| sample.accept_queue))
    );
    if counted {
        // A line: an area would hide the accept queue behind it.
        let line = points(&|sample| sample.syn_queue.unwrap_or(0)).replacen('L', "M", 1);
        let _ = write!(svg, "<path class=\"line\" d=\"{line}\" vector-effect=\"non-scaling-stroke\"/>");
    }
    if let Some(limit) = history.limit {
        let _ = write!(
            svg,
            "<path d=\"M0 {:.1}H1000\" fill=\"none\" stroke=\"currentColor\" stroke-dasharray=\"4\" \
             vector-effect=\"non-scaling-stroke\"/>",
            height(limit)
        );
    }
    let key = |class, text| format!("<span class=\"key {class}\">{text}</span>");
    let mut keys = key("area", of_accept);
    if counted {
        keys += &key("line", of_syn);
    }
    let _ = write!(svg, "</svg><p class=\"axis\">{}</p><p class=\"keys\">{keys}</p>", over.axis(clock, ""));
    svg
}

/// `1.00 s` as `1 s`.
fn spoken(span: Span) -> String {
    span.to_string().replace(".00 s", " s")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn the_bars_hold_all_findings_and_are_not_many() {
        let report = samples::mixture();
        let findings: Vec<_> = report.findings.iter().collect();
        let over =
            ChartInterval::of(report.captures.iter().flat_map(|c| [c.first, c.last]).flatten()).unwrap();
        assert_eq!(over.width(), Span::secs(20));
        let svg = rate(&findings, over, TimeFormat::new([]));
        assert!(svg.contains("per 20 s: at most"), "{svg}");
        assert!(svg.contains("class=\"critical\"") && svg.contains("class=\"info\""));
    }

    #[test]
    fn the_queues_are_drawn_against_their_limit() {
        let sample = |second: i64, accept_queue: u64, syn_queue| QueueLengths {
            at: Timestamp(0) + Span::secs(second),
            accept_queue,
            syn_queue,
            dropped: 0,
        };
        let samples = vec![sample(0, 0, None), sample(1, 16, Some(4)), sample(2, 33, Some(0))];
        let svg = queues(&QueueHistory { limit: Some(32), samples: samples.clone() }, TimeFormat::new([]));
        assert!(svg.contains("M0 100L0.0 100.0L500.0 51.5L1000.0 0.0L1000 100z"), "{svg}");
        assert!(svg.contains("accept queue, at most 33 of 32 (dashed line); SYN queue, at most 4"), "{svg}");
        assert!(svg.contains("class=\"line\" d=\"M0.0 100.0L500.0 87.9L1000.0 100.0\""), "{svg}");
        assert!(svg.contains("M0 3.0H1000"), "{svg}");
        assert_eq!(
            queues(&QueueHistory { limit: None, samples: samples[..1].to_vec() }, TimeFormat::new([])),
            ""
        );
    }

    #[test]
    fn a_moment_is_no_stretch() {
        let at = |second| Timestamp(0) + Span::secs(second);
        assert!(ChartInterval::of([at(7)].into_iter()).is_none());
        let over = ChartInterval::of([at(7), at(17)].into_iter()).unwrap();
        assert_eq!(over.bar(at(8), at(12)), "left:10.00%;width:40.00%");
        assert_eq!(over.bar(at(0), at(0)), "left:0.00%;width:0.00%");
    }
}
