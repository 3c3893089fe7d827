//! One finding a line: for `jq`, `grep` and log collectors. Each line is a finding as the JSON report has it, with the
//! incident that it belongs to beside it.

use std::collections::HashMap;
use std::io;

use serde::Serialize;

use super::json::Escaping;
use crate::model::{Finding, Report};

/// A line.
#[derive(Serialize)]
struct JsonLine<'r> {
    /// The incident's id; null for a finding that no incident claims.
    incident: Option<&'r str>,
    #[serde(flatten)]
    finding: &'r Finding,
}

/// Writes the findings of `report`, in order of time. A report without findings gives no line.
///
/// # Errors
/// The writer's error.
pub fn write(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    let incidents: HashMap<&str, &str> = report
        .incidents
        .iter()
        .flat_map(|incident| incident.findings.iter().map(|id| (id.as_str(), incident.id.as_str())))
        .collect();
    for finding in &report.findings {
        let line = JsonLine { incident: incidents.get(finding.id.as_str()).copied(), finding };
        let mut serializer = serde_json::Serializer::with_formatter(&mut *out, Escaping::compact());
        line.serialize(&mut serializer).map_err(io::Error::from)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;
    use crate::report::terminal::is_hostile;

    fn rendered(report: &Report) -> String {
        let mut out = Vec::new();
        write(report, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_line_is_a_finding_with_its_incident() {
        for (name, report) in samples::all() {
            let text = rendered(&report);
            assert_eq!(text.lines().count(), report.findings.len(), "{name}");
            for (line, finding) in text.lines().zip(&report.findings) {
                assert_eq!(&serde_json::from_str::<Finding>(line).unwrap(), finding, "{name}");
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                assert!(value["incident"].is_string(), "{name}: {line}");
            }
            assert!(!text.chars().any(|c| c != '\n' && is_hostile(c)), "{name}");
        }
    }

    #[test]
    fn golden_line() {
        let text = rendered(&samples::overflow());
        insta::assert_snapshot!(text.lines().next().unwrap());
    }
}
