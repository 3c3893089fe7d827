//! Next steps: the part that is a command to be copied.

/// A next step, split for the layout. In the model it is one text, which a shell would accept if it is a command.
#[derive(Debug, PartialEq, Eq)]
pub enum NextStep<'a> {
    /// `command   # remark`, or a command alone between backticks.
    Command {
        /// What a shell runs.
        command: &'a str,
        /// What to look for.
        remark: &'a str,
    },
    /// ``text: `command` ``.
    Ending {
        /// Its purpose.
        text: &'a str,
        /// What a shell runs.
        command: &'a str,
    },
    /// Anything else.
    Words(&'a str),
}

impl NextStep<'_> {
    /// Reads one.
    pub fn read(step: &str) -> NextStep<'_> {
        let step = step.trim();
        if let Some((command, remark)) = step.split_once("  # ") {
            return NextStep::Command { command: command.trim_end(), remark: remark.trim_start() };
        }
        let ending = step.trim_end_matches('.').strip_suffix('`').and_then(|step| step.rsplit_once('`'));
        match ending.map(|(text, command)| (text.trim_end(), command)) {
            Some(("", command)) => NextStep::Command { command, remark: "" },
            // A single word between backticks is a name, not a command.
            Some((text, command)) if text.ends_with(':') && !text.contains('`') && command.contains(' ') => {
                NextStep::Ending { text, command }
            }
            _ => NextStep::Words(step),
        }
    }

    /// The first command among `steps`.
    pub fn first_command(steps: &[String]) -> Option<&str> {
        steps.iter().find_map(|step| match NextStep::read(step) {
            NextStep::Command { command, .. } | NextStep::Ending { command, .. } => Some(command),
            NextStep::Words(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_known_by_their_form() {
        let command = |command, remark| NextStep::Command { command, remark };
        assert_eq!(
            NextStep::read("ss -lnt   # on 10.0.0.5: full now?"),
            command("ss -lnt", "on 10.0.0.5: full now?")
        );
        assert_eq!(NextStep::read("`ss -lnt`"), command("ss -lnt", ""));
        assert_eq!(
            NextStep::read("Look: `ss -lnt`."),
            NextStep::Ending { text: "Look:", command: "ss -lnt" }
        );
        for words in
            ["raise `net.core.somaxconn`", "Raise: `net.core.somaxconn`", "see issue # 4", "accept()"]
        {
            assert_eq!(NextStep::read(words), NextStep::Words(words));
        }
    }
}
