//! The end of the page: findings without a section, settings, capture quality, how to read it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::escape::{code, escape, rich};
use super::{HtmlPage, JSON, NOTES, SECTIONS, VERSION};
use crate::report::terminal::counted;
use crate::report::words::{
    captured_at, contents, filters, more, omitted, quality, setting_value, settings_title, shown_path,
    time_range, timed, trust,
};

impl HtmlPage<'_> {
    /// The limits of the report, each once.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for capture in &self.report.captures {
            for warning in &capture.warnings {
                let named = warning.starts_with(&format!("{}:", capture.path));
                lines.push(if named {
                    warning.clone()
                } else {
                    format!("{}: {warning}", shown_path(&capture.path))
                });
            }
        }
        lines.extend(self.report.warnings.iter().cloned());
        let mut seen = std::collections::HashSet::new();
        lines.retain(|line| seen.insert(line.clone()));
        lines
    }

    /// The rest: settings, capture quality, how to read it.
    pub(super) fn foot(&mut self) -> String {
        let report = self.report;
        let mut out = String::new();
        if let Some(rest) = omitted(report.incidents.len(), SECTIONS) {
            let _ = writeln!(
                out,
                "<p class=\"faint\">{} without a section here ({JSON})</p>",
                more(rest, "incident")
            );
        }
        let claimed: usize = report.incidents.iter().map(|incident| incident.findings.len()).sum();
        if let Some(rest) = omitted(report.findings.len(), claimed) {
            let _ = writeln!(
                out,
                "<p class=\"faint\">{} outside these incidents ({JSON})</p>",
                more(rest, "finding")
            );
        }
        self.settings(&mut out);
        self.quality(&mut out);
        let _ = write!(
            out,
            "<section id=\"reading\">\n<h2>How to read this</h2>\n<dl class=\"names\">\
             <dt><b>confirmed</b></dt><dd>the packets admit no other cause, or the host's own counters agree</dd>\
             <dt><b>probable</b></dt><dd>the best of several causes; the others are named</dd>\
             <dt><b>possible</b></dt><dd>seen, but this capture cannot tell it from the others</dd>\
             <dt><b>#27</b></dt><dd>packet 27 of the capture, as Wireshark numbers it</dd>\
             <dt><b>client, server</b></dt><dd>who asked for the connection, and who listened</dd></dl>\n</section>\n\
             </main>\n<footer>\n<p>Written by synscope {VERSION}. This page needs no network and contains no script. \
             <span class=\"paper\">Sections folded on the screen are not printed.</span> ",
        );
        let _ = write!(
            out,
            "Schema of the JSON report: {}.</p>\n</footer>\n</div>\n</body>\n</html>\n",
            code(&report.schema)
        );
        out
    }

    fn settings(&mut self, out: &mut String) {
        let inferred = &self.report.inferred;
        if inferred.is_empty() {
            return;
        }
        let _ = writeln!(
            out,
            "<section id=\"settings\">\n<h2>{}</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" \
             aria-label=\"Settings\"><table class=\"stack\">\n<thead><tr><th scope=\"col\">Host</th><th scope=\"col\">Setting</th>\
             <th scope=\"col\">Value</th><th scope=\"col\">Read from</th></tr></thead><tbody>",
            settings_title(inferred).replacen("Settings", "Kernel settings", 1)
        );
        for setting in inferred.iter().take(NOTES) {
            let (_, value) = setting_value(&setting.value);
            let names = [setting.setting.as_str(), &value, &setting.from];
            let meaning = self.explained.kernel_in(names.into_iter());
            let meaning: String = meaning
                .into_iter()
                .map(|(_, meaning)| format!("<span class=\"faint note\">{}</span>", escape(meaning)))
                .collect();
            let _ = writeln!(
                out,
                "<tr><td class=\"mono\">{}</td><td>{}{meaning}</td><td>{}</td><td>{}</td></tr>",
                escape(&setting.host.to_string()),
                code(&setting.setting),
                code(&value),
                rich(&setting.from)
            );
        }
        out.push_str("</tbody></table></div>\n");
        if let Some(rest) = omitted(inferred.len(), NOTES) {
            let _ = writeln!(out, "<p class=\"faint\">{} ({JSON})</p>", more(rest, "setting"));
        }
        out.push_str("</section>\n");
    }

    fn quality(&self, out: &mut String) {
        let report = self.report;
        out.push_str("<section id=\"quality\">\n<h2>Capture quality</h2>\n<ul>\n");
        for capture in report.captures.iter().take(NOTES) {
            let _ =
                writeln!(out, "<li>{}: {}</li>", code(shown_path(&capture.path)), escape(&contents(capture)));
        }
        if let Some(time) = time_range(&timed(report)) {
            let _ = writeln!(out, "<li>{}</li>", escape(&time));
        }
        if let Some(filters) = filters(report) {
            let _ = writeln!(out, "<li>{}</li>", escape(&filters.replace('`', "")));
        }
        let mut vantages: BTreeMap<_, usize> = BTreeMap::new();
        report.findings.iter().for_each(|finding| *vantages.entry(finding.vantage).or_default() += 1);
        for (vantage, n) in vantages {
            let _ = writeln!(out, "<li>{}: {}</li>", captured_at(vantage), counted(n as u64, "finding"));
        }
        for fact in quality(&report.quality) {
            let _ = writeln!(out, "<li>{}</li>", escape(&fact));
        }
        out.push_str("</ul>\n");
        if report.quality.damaged {
            let _ = writeln!(out, "<p>{}</p>", trust(&report.quality).trim_start());
        }
        let warnings = self.warnings();
        if warnings.is_empty() {
            out.push_str("<p>Nothing limits the report as far as the captures tell.</p>\n");
        }
        for warning in warnings.iter().take(NOTES) {
            let _ = writeln!(out, "<p class=\"warn\">{}</p>", rich(warning));
        }
        if let Some(rest) = omitted(warnings.len(), NOTES) {
            let _ = writeln!(out, "<p class=\"faint\">{} ({JSON})</p>", more(rest, "warning"));
        }
        out.push_str("</section>\n");
    }
}
