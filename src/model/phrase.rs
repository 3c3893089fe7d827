//! Text that is created once, or is part of the program.

use std::borrow::Cow;

/// Text of a finding: nearly all of it is part of the program, and the same in very many findings.
pub type Phrase = Cow<'static, str>;
