//! Text that is made once, or was written into the program.

use std::borrow::Cow;

/// Words of a finding: nearly all are the program's own, and stand in very many findings.
pub type Phrase = Cow<'static, str>;
