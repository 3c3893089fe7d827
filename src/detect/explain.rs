//! What each finding means, in the words of the detectors' own documentation.

use crate::report::model::Kind;

/// The documentation of one finding kind, lifted from the file that detects it.
#[derive(Clone, Copy, Debug)]
pub struct Explanation {
    /// The kind.
    pub kind: Kind,
    /// Its documentation in Markdown: a first paragraph, then `## ` sections.
    pub text: &'static str,
    /// The file that detects it.
    pub file: &'static str,
}

/// All explanations, in the order of [`Kind::ALL`]; a kind that is not detected yet has none.
pub fn all() -> &'static [Explanation] {
    &[]
}

macro_rules! finding {
    ($(#[doc = $doc:literal])* pub struct $name:ident = $kind:expr) => {
        $(#[doc = $doc])*
        pub struct $name;
    };
}
pub(crate) use finding;
