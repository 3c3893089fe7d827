//! No file and no function that has grown too long: it has more than one subject.

use crate::source::{Token, list, production, tokens, without_tests};

/// Lines of a file at most, tests left out.
const FILE: usize = 700;
/// Lines of a function at most.
const FUNCTION: usize = 80;

/// Functions that may be longer, their limits in lines, and the reasons.
const LONG_FUNCTIONS: &[(&str, &str, usize, &str)] =
    &[("capture/live.rs", "capture", 90, "one loop over what a capture handle says")];

#[test]
fn no_file_is_too_long() {
    let long: Vec<_> = production()
        .iter()
        .map(|(path, text)| (path.to_string_lossy().into_owned(), lines_of(text)))
        .filter(|(_, lines)| *lines > FILE)
        .map(|(path, lines)| format!("src/{path}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "longer than {FILE} lines{}", list(&long));
}

#[test]
fn no_function_is_too_long() {
    let mut long = Vec::new();
    for (path, text) in production() {
        let path = path.to_string_lossy();
        for (name, line, lines) in functions(&without_tests(tokens(&text))) {
            let known = LONG_FUNCTIONS.iter().find(|(file, function, ..)| *file == path && *function == name);
            if lines > known.map_or(FUNCTION, |(_, _, may, _)| *may) {
                long.push(format!("src/{path}:{line}: {name} has {lines} lines"));
            }
        }
    }
    assert!(long.is_empty(), "longer than {FUNCTION} lines{}", list(&long));
}

#[test]
fn an_exception_that_is_not_needed_any_more_goes() {
    let files = production();
    let text =
        |path: &str| files.iter().find(|(file, _)| file.to_string_lossy() == path).map(|(_, text)| text);
    let of_functions = LONG_FUNCTIONS.iter().filter(|(path, name, ..)| {
        text(path).is_none_or(|text| {
            let all = functions(&without_tests(tokens(text)));
            !all.iter().any(|(function, _, lines)| function == name && *lines > FUNCTION)
        })
    });
    let idle: Vec<_> = of_functions.map(|(path, name, ..)| format!("{path} {name}")).collect();
    assert!(idle.is_empty(), "exceptions that nothing needs{}", list(&idle));
}

/// Lines before the tests, which are the last item of a file.
fn lines_of(text: &str) -> usize {
    let tests = text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..tests].lines().count()
}

/// Name, first line and number of lines of every function with a body.
fn functions<'a>(tokens: &[Token<'a>]) -> Vec<(&'a str, usize, usize)> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let Some(name) = tokens.get(at + 1).filter(|_| token.text == "fn") else { continue };
        // The type `fn(A) -> B` has no name.
        if !name.text.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            continue;
        }
        let (mut round, mut curly, mut end) = (0usize, 0usize, None);
        for next in &tokens[at + 2..] {
            match next.text {
                "(" | "[" => round += 1,
                ")" | "]" => round = round.saturating_sub(1),
                ";" if round == 0 && curly == 0 => break,
                "{" => curly += 1,
                "}" => {
                    curly -= 1;
                    if curly == 0 {
                        end = Some(next.line);
                        break;
                    }
                }
                _ => {}
            }
        }
        found.extend(end.map(|end| (name.text, token.line, end - token.line + 1)));
    }
    found
}

#[test]
fn a_function_is_measured_from_its_name_to_its_closing_brace() {
    let text =
        "trait A {\n    fn b(&self);\n}\nfn c(f: fn(u8) -> [u8; 2]) {\n    if x { \"}\" }\n    // }\n}\n";
    assert_eq!(functions(&tokens(text)), [("c", 4, 4)]);
}
