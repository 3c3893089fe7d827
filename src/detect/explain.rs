//! What each finding means, in the words of the detectors' own documentation.
//!
//! A detector's text is written once, as the doc comment inside `finding!`. rustdoc shows it on the detector's
//! type; `synscope explain` and `docs/findings.md` print the same words from [`all`].

use crate::detect::kinds;
use crate::model::Kind;

/// The documentation of one finding kind, lifted from the file that detects it.
#[derive(Clone, Copy, Debug)]
pub struct Explanation {
    /// The kind.
    pub kind: Kind,
    /// Its documentation in Markdown: a first paragraph, then `## ` sections. The lines keep the space that follows
    /// `///` in the source; [`lines`](Explanation::lines) takes it away.
    pub text: &'static str,
    /// The file that detects it.
    pub file: &'static str,
}

impl Explanation {
    /// The lines of the text, as Markdown.
    pub fn lines(&self) -> impl Iterator<Item = &'static str> {
        self.text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end())
    }

    /// The first sentence: what it is, in short.
    pub fn first_sentence(&self) -> String {
        let paragraph: Vec<_> =
            self.lines().skip_while(|line| line.is_empty()).take_while(|line| !line.is_empty()).collect();
        let paragraph = paragraph.join(" ");
        match paragraph.find(". ") {
            Some(end) => paragraph[..=end].to_owned(),
            None => paragraph,
        }
    }
}

/// Declares a detector's type and its explanation from one doc comment.
///
/// The comment is Markdown: first what it is in one sentence and a blank line, then `## ` sections of paragraphs,
/// `* ` lists and code between backticks. Use it at most once per module, it defines `EXPLANATION` there.
///
/// ```ignore
/// finding! {
///     /// The server goes on sending its SYN-ACK although the client has answered it.
///     ///
///     /// ## On the wire
///     /// ...
///     pub struct AcceptQueueOverflow = Kind::AcceptQueueOverflow
/// }
/// ```
macro_rules! finding {
    ($(#[doc = $line:literal])+ $visibility:vis struct $name:ident = $kind:expr) => {
        $(#[doc = $line])+
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        $visibility struct $name;

        /// What `synscope explain` says about it.
        pub const EXPLANATION: $crate::detect::explain::Explanation = $crate::detect::explain::Explanation {
            kind: $kind,
            text: concat!($($line, "\n"),+),
            file: file!(),
        };
    };
}
pub(crate) use finding;

/// One line per detector, in the order of [`Kind::ALL`].
static REGISTRY: &[&Explanation] = &[
    &kinds::accept_queue_overflow::EXPLANATION,
    &kinds::accept_queue_reset::EXPLANATION,
    &kinds::syn_drop_accept_queue::EXPLANATION,
    &kinds::syn_drop_syn_queue::EXPLANATION,
    &kinds::syn_drop_timestamp::EXPLANATION,
    &kinds::syn_unanswered::EXPLANATION,
    &kinds::syn_flood::EXPLANATION,
    &kinds::syncookies::EXPLANATION,
    &kinds::time_wait_collision::EXPLANATION,
    &kinds::connection_refused::EXPLANATION,
    &kinds::handshake_loss::EXPLANATION,
    &kinds::defer_accept::EXPLANATION,
    &kinds::fastopen_fallback::EXPLANATION,
    &kinds::listener_closed::EXPLANATION,
    &kinds::half_close::EXPLANATION,
    &kinds::fin_wait2_expired::EXPLANATION,
    &kinds::abortive_close::EXPLANATION,
    &kinds::fin_unacknowledged::EXPLANATION,
    &kinds::time_wait_pressure::EXPLANATION,
];

/// All explanations, in the order of [`Kind::ALL`]; a kind that is not detected yet has none.
pub fn all() -> &'static [&'static Explanation] {
    REGISTRY
}

/// The explanation of `kind`; `None` when this version does not detect it.
pub fn of(kind: Kind) -> Option<&'static Explanation> {
    all().iter().copied().find(|explanation| explanation.kind == kind)
}

/// All of `explanations` as one Markdown document, the text of `docs/findings.md`.
pub fn markdown(explanations: &[&Explanation]) -> String {
    let mut out = String::from(
        "# Findings\n\n\
         <!-- Written by the program from the detectors' own documentation. Do not edit; renew it with\n\
         `SYNSCOPE_UPDATE=1 cargo test docs_findings_is_fresh`. -->\n\n\
         What synscope can find, what the packets show, what the kernel did, and what looks alike.\n\
         `synscope explain KIND` prints the same text.\n\n\
         | kind | in short |\n| --- | --- |\n",
    );
    for kind in Kind::ALL {
        let row = match explanations.iter().find(|explanation| explanation.kind == kind) {
            Some(explanation) => {
                format!("| [`{kind}`](#{kind}) | {} |\n", explanation.first_sentence().replace('|', "\\|"))
            }
            None => format!("| `{kind}` | {NOT_DETECTED} |\n"),
        };
        out.push_str(&row);
    }
    for explanation in explanations {
        out.push_str(&format!("\n## {}\n\n", explanation.kind));
        let mut last = "";
        let mut in_code = false;
        for line in explanation.lines() {
            in_code ^= line.starts_with("```");
            // Sections lie below the kind, and Markdown wants a blank line before a heading and before a list.
            let heading = !in_code && line.starts_with('#');
            let list_begins = !in_code && is_item(line) && !is_item(last) && !last.starts_with(' ');
            if (heading || list_begins) && !last.is_empty() {
                out.push('\n');
            }
            if heading {
                out.push('#');
            }
            out.push_str(line);
            out.push('\n');
            last = line;
        }
        // The path may be written with the separators of the system that compiled it.
        out.push_str(&format!("\nDetected in `{}`.\n", explanation.file.replace('\\', "/")));
    }
    out
}

/// What is said of a kind that has a name but no detector.
pub const NOT_DETECTED: &str = "Not detected by this version.";

/// Whether a line of Markdown starts an item of a list.
pub fn is_item(line: &str) -> bool {
    line.starts_with("* ") || line.starts_with("- ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::{env, fs};

    mod example {
        use crate::model::Kind;

        crate::detect::explain::finding! {
            /// The server goes on sending its SYN-ACK although the client has answered it. So the client believes
            /// to be connected.
            ///
            /// ## On the wire
            /// SYN, SYN-ACK, final ACK; then the same SYN-ACK again after about 1 s.
            /// ## Looks alike
            /// * The final ACK was lost between this capture and the server. Told apart only at the
            ///   server's own interface.
            /// * `TCP_DEFER_ACCEPT`: silent client.
            /// ## Check next
            /// `ss -lnt` at the listener: Recv-Q above Send-Q means full now.
            pub struct AcceptQueueOverflow = Kind::AcceptQueueOverflow
        }
    }

    #[test]
    fn one_text_is_documentation_and_explanation() {
        let _ = example::AcceptQueueOverflow;
        let explanation = example::EXPLANATION;
        assert_eq!(explanation.kind, Kind::AcceptQueueOverflow);
        assert_eq!(explanation.file, file!());
        assert_eq!(
            explanation.first_sentence(),
            "The server goes on sending its SYN-ACK although the client has answered it."
        );
        let lines: Vec<_> = explanation.lines().collect();
        assert_eq!(lines[3], "## On the wire");
        assert_eq!(lines[7], "  server's own interface.", "the indentation inside a list stays");
    }

    #[test]
    fn the_document_nests_sections_below_their_kind() {
        let text = markdown(&[&example::EXPLANATION]);
        assert!(text.contains("\n## accept-queue-overflow\n\nThe server goes on"), "{text}");
        assert!(text.contains("after about 1 s.\n\n### Looks alike\n\n* The final ACK"), "{text}");
        assert!(text.contains("interface.\n* `TCP_DEFER_ACCEPT`"), "{text}");
        assert!(text.contains("| `half-close` | Not detected by this version. |"), "{text}");
        assert!(!text.contains("\n\n\n"), "{text}");
    }

    #[test]
    fn the_registry_is_in_order_and_well_formed() {
        let places: Vec<_> = all()
            .iter()
            .map(|explanation| Kind::ALL.iter().position(|&kind| kind == explanation.kind))
            .collect();
        assert!(places.is_sorted_by(|a, b| a < b), "REGISTRY must follow Kind::ALL, each kind once");
        for explanation in all() {
            let sentence = explanation.first_sentence();
            assert!(sentence.ends_with('.'), "{}: the first sentence is '{sentence}'", explanation.kind);
            assert!(explanation.text.contains("\n ## "), "{}: no sections", explanation.kind);
            assert_eq!(
                explanation.text.matches('`').count() % 2,
                0,
                "{}: a backtick is alone",
                explanation.kind
            );
        }
    }

    #[test]
    fn docs_findings_is_fresh() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/findings.md");
        let fresh = markdown(all());
        if env::var_os("SYNSCOPE_UPDATE").is_some() {
            fs::create_dir_all(path.parent().expect("the path has a folder")).unwrap();
            fs::write(&path, &fresh).unwrap();
        }
        let stored = fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
        assert!(
            stored == fresh,
            "docs/findings.md is stale: SYNSCOPE_UPDATE=1 cargo test docs_findings_is_fresh"
        );
    }
}
