//! Capture points, paths and places as text that all renderings for people share.

use crate::model::{Incident, JoinedPoint, PathTaken, Report};
use crate::report::terminal::{counted, grouped};
use crate::report::words::shown_path;
use crate::time::Span;

/// Paths that a page shows.
pub(super) const PATHS: usize = 20;
/// Places of an incident that a page shows.
pub(super) const PLACES: usize = 3;
/// Points that a page shows.
pub(super) const POINTS: usize = 50;

/// Where an incident happened, one clause for each place: `lost between lb and web1: 412 of 412`.
pub(super) fn places(incident: &Incident) -> Vec<String> {
    let what = |place: &crate::model::IncidentPlace| match (
        &place.lost_between,
        &place.sent_between,
        &place.reached,
    ) {
        (Some([from, to]), _, _) => format!("lost between {from} and {to}"),
        (None, Some([from, to]), _) => format!("a RST was sent between {from} and {to}"),
        (None, None, reached) => {
            let reached = reached.as_deref().unwrap_or("the end");
            format!("came as far as {reached}, and was ignored there or behind it")
        }
    };
    let said = |place| format!("{}: {} of {}", what(place), grouped(place.findings), grouped(place.of));
    incident.places.iter().map(said).collect()
}

/// How many points there are, and whose clock is used.
pub(super) fn about_points(report: &Report) -> String {
    let reference = report.points.iter().find(|point| point.reference);
    let clock =
        reference.map_or(String::new(), |p| format!(" The times of findings are those of {}.", p.name));
    format!("{}, joined.{clock}", counted(report.points.len() as u64, "capture point"))
}

/// The headings for the cells of [`point_row`].
pub(super) const POINT_COLUMNS: [&str; 4] = ["Point", "Captures", "Connections", "Clock"];

/// The cells of a point's row.
pub(super) fn point_row(point: &JoinedPoint) -> [String; 4] {
    let captures = match &point.captures[..] {
        [] => String::new(),
        [one] => shown_path(one).to_string(),
        [first, rest @ ..] => format!("{} and {} more", shown_path(first), grouped(rest.len() as u64)),
    };
    [point.name.clone(), captures, grouped(point.connections), clock(point)]
}

/// How a point's clock differs from the reference.
fn clock(point: &JoinedPoint) -> String {
    let span = |seconds: f64| Span((seconds * 1e9).round() as i64);
    let Some(offset) = point.offset_s else {
        return "unknown: no connection links it to the others".to_owned();
    };
    if point.reference {
        return "the reference".to_owned();
    }
    let sure = point.uncertainty_s.map_or_else(String::new, |u| format!(" ±{}", span(u)));
    let drift = match point.drift_ppm {
        Some(ppm) if ppm != 0.0 => format!(", drifting by {ppm:.1} ppm"),
        _ => String::new(),
    };
    match point.uncertainty_s.is_some_and(|u| offset.abs() <= u) {
        true => format!("agrees{sure}{drift}"),
        false => {
            let way = if offset < 0.0 { "behind" } else { "ahead" };
            format!("{} {way}{sure}{drift}", span(offset.abs()))
        }
    }
}

/// The headings for the cells of [`path_row`].
pub(super) const PATH_COLUMNS: [&str; 3] = ["Path", "Connections", "Listeners"];

/// The cells of a path's row.
pub(super) fn path_row(path: &PathTaken) -> [String; 3] {
    let mut listeners: Vec<String> =
        path.top_listeners.iter().map(|share| share.listener.to_string()).collect();
    if let Some(rest) = path.listeners.checked_sub(listeners.len() as u64).filter(|rest| *rest > 0) {
        listeners.push(format!("{} more", grouped(rest)));
    }
    [path.points.join(" → "), grouped(path.connections), listeners.join(", ")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ListenerShare;

    #[test]
    fn a_path_with_thousands_of_listeners_is_one_short_row() {
        let share = |port| ListenerShare { listener: ([192, 0, 2, 1], port).into(), connections: 9 };
        let path = PathTaken {
            points: vec!["client".to_owned(), "lb".to_owned()],
            connections: 70_000,
            listeners: 4_003,
            top_listeners: vec![share(80), share(81)],
        };
        let row = path_row(&path);
        assert_eq!(row[0], "client → lb");
        assert!(row[2].starts_with("192.0.2.1:80, 192.0.2.1:81, ") && row[2].ends_with(" more"), "{row:?}");
    }

    #[test]
    fn a_clock_is_told_with_its_uncertainty() {
        let point = JoinedPoint {
            offset_s: Some(-3.2),
            drift_ppm: Some(40.0),
            uncertainty_s: Some(0.0001),
            ..JoinedPoint::default()
        };
        assert_eq!(clock(&point), "3.20 s behind ±100 µs, drifting by 40.0 ppm");
        assert!(clock(&JoinedPoint::default()).starts_with("unknown"));
    }
}
