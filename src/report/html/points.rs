//! The capture points, and which connections passed which of them.

use std::fmt::Write as _;

use super::{HtmlPage, JSON, escape};
use crate::report::route::{PATH_COLUMNS, PATHS, POINT_COLUMNS, POINTS, about_points, path_row, point_row};
use crate::report::words::{more, omitted};

impl HtmlPage<'_> {
    /// A section with both, where points have names.
    pub(super) fn points(&self, out: &mut String) {
        let report = self.report;
        if report.points.is_empty() {
            return;
        }
        let _ = writeln!(
            out,
            "<section id=\"points\">\n<h2>Capture points</h2>\n<p>{}</p>",
            escape(&about_points(report))
        );
        let points = report.points.iter().take(POINTS).map(point_row);
        table(out, "Capture points", &POINT_COLUMNS, points);
        if let Some(rest) = omitted(report.points.len(), POINTS) {
            let _ = writeln!(out, "<p class=\"faint\">{} ({JSON})</p>", more(rest, "point"));
        }
        if !report.paths.is_empty() {
            table(out, "Paths", &PATH_COLUMNS, report.paths.iter().take(PATHS).map(path_row));
            if let Some(rest) = omitted(report.paths.len(), PATHS) {
                let _ = writeln!(out, "<p class=\"faint\">{} ({JSON})</p>", more(rest, "path"));
            }
        }
        out.push_str("</section>\n");
    }
}

fn table<const N: usize>(
    out: &mut String,
    label: &str,
    columns: &[&str; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    let _ = write!(
        out,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{label}\">\n<table><thead><tr>"
    );
    columns.iter().for_each(|title| {
        let _ = write!(out, "<th scope=\"col\">{title}</th>");
    });
    out.push_str("</tr></thead><tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        row.iter().for_each(|cell| {
            let _ = write!(out, "<td>{}</td>", escape(cell));
        });
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table>\n</div>\n");
}
