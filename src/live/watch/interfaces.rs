//! Events about the interfaces, their dropped packets, and the clock that stamps packets.

use super::{DROPS, Watch};
use crate::capture::feed::Interface;
use crate::live::event::LiveEvent;
use crate::report::terminal::counted;
use crate::time::{Span, Timestamp};

/// Smaller steps of the clock are not reported.
const CLOCK_STEP: Span = Span::millis(250);

impl Watch {
    /// Adds events for interfaces that went down, came back or dropped packets.
    pub(super) fn notice(&mut self, now: Timestamp, interfaces: &[Interface], events: &mut Vec<LiveEvent>) {
        let mut dropped = 0;
        let mut lines = Vec::new();
        for (n, is) in interfaces.iter().enumerate() {
            let was = self.interfaces.get(n);
            let rise = |of: fn(&Interface) -> u64| of(is).saturating_sub(was.map_or(0, of));
            dropped += rise(|i| i.dropped_by_kernel) + rise(|i| i.dropped_by_interface);
            match (was.is_none_or(|was| was.up), is.up) {
                (true, false) => {
                    let why = is.trouble.clone().unwrap_or_else(|| "it went away".to_owned());
                    lines.push(format!("{}: {why}; nothing can be captured there until it returns", is.name));
                }
                (false, true) => lines.push(format!("{}: it is back", is.name)),
                _ => {}
            }
        }
        lines.extend(self.describe_clock(interfaces));
        self.interfaces = interfaces.to_vec();
        for line in lines {
            self.warn(now, line, events);
        }
        if dropped > 0 {
            self.drops.push_back((self.read, now, dropped));
            if self.drops.len() > DROPS {
                self.drops.pop_front();
            }
            self.second(now).dropped += dropped;
            let total: u64 = interfaces.iter().map(|i| i.dropped_by_kernel + i.dropped_by_interface).sum();
            let (packets, were) = (counted(total, "packet"), if total == 1 { "was" } else { "were" });
            let text = format!(
                "{packets} {were} dropped before this program got them: findings from that time are less certain; a larger \
                 buffer (-B) or a filter (--filter) helps"
            );
            self.warn_now_and_then("drops", now, text, events);
        }
        self.read = now;
        if let Some(text) = self.engine.given_up() {
            self.warn_now_and_then("evicted", now, text, events);
        }
    }

    /// A message if the clock was set since the last call.
    fn describe_clock(&mut self, interfaces: &[Interface]) -> Option<String> {
        let is_other = |(n, is): &(usize, &Interface)| {
            let was = self.interfaces.get(*n).map_or(Span::ZERO, |was| was.clock_offset);
            is.clock_offset != was
        };
        let offset = interfaces.iter().enumerate().find(is_other)?.1.clock_offset;
        let since = Span(offset.0.saturating_sub(self.clock_offset.0));
        // Each interface reports the step, and measures it by itself.
        if since.0.unsigned_abs() < CLOCK_STEP.0.unsigned_abs() {
            return None;
        }
        self.clock_offset = offset;
        let how = if since.0 > 0 { "back" } else { "forward" };
        let differ = match offset.0.unsigned_abs() < CLOCK_STEP.0.unsigned_abs() {
            true => "the times of this watch agree with it again".to_owned(),
            false => {
                let side = if offset.0 > 0 { "ahead of" } else { "behind" };
                let by = Span(offset.0.saturating_abs());
                format!("the times of this watch ignore the change and are {by} {side} it")
            }
        };
        Some(format!("the clock of this host was set {how} by {}; {differ}", Span(since.0.saturating_abs())))
    }
}
