//! The real binary on a real terminal, that of script(1), watching the loopback interface: how it is left, and how the
//! terminal is then. Not tested where that is not permitted; the reason is printed.
#![cfg(all(feature = "live", target_os = "linux"))]

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";
const SHOW_CURSOR: &str = "\u{1b}[?25h";

/// A watch on a terminal.
struct Session {
    script: Child,
    folder: tempfile::TempDir,
}

impl Session {
    /// Begins one whose report goes to the terminal; `None` without permission or without script(1).
    fn begin() -> Option<Session> {
        Session::begin_with(|_| String::new())
    }

    /// Begins one with more options; they may name files in the folder of the session.
    fn begin_with(options: impl FnOnce(&Path) -> String) -> Option<Session> {
        let folder = tempfile::tempdir().unwrap();
        let typescript = folder.path().join("typescript");
        let pid = folder.path().join("pid");
        let command = format!(
            "stty rows 24 cols 80; echo $$ > '{}'; TERM=xterm exec '{}' live -i lo --color never {}",
            pid.display(),
            env!("CARGO_BIN_EXE_synscope"),
            options(folder.path())
        );
        let script = Command::new("script")
            .args(["-qefc", &command])
            .arg(&typescript)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        let Ok(script) = script else {
            eprintln!("script(1) is not there: not tested");
            return None;
        };
        let mut session = Session { script, folder };
        let begun = session.until(&["Listeners", "lacks CAP_NET_RAW", "not permitted"]);
        if !begun.contains("Listeners") {
            eprintln!("not tested: {begun}");
            return None;
        }
        Some(session)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the terminal was told until it has one of these in it.
    fn until(&mut self, any: &[&str]) -> String {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let mut bytes = Vec::new();
            let _ = fs::File::open(self.path("typescript")).and_then(|mut file| file.read_to_end(&mut bytes));
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if any.iter().any(|one| text.contains(one)) {
                return text;
            }
            assert!(Instant::now() < until, "none of {any:?} in {text:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn press(&mut self, keys: &str) {
        let stdin = self.script.stdin.as_mut().unwrap();
        stdin.write_all(keys.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    fn signal(&self, name: &str) {
        let pid = fs::read_to_string(self.path("pid")).unwrap();
        let sent = Command::new("kill").args([&format!("-{name}"), pid.trim()]).status().unwrap();
        assert!(sent.success());
    }

    /// Everything that was written, and the exit code of the watch.
    fn end(mut self) -> (String, Option<i32>) {
        let until = Instant::now() + Duration::from_secs(20);
        let status = loop {
            if let Some(status) = self.script.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "it did not end");
            std::thread::sleep(Duration::from_millis(50));
        };
        (self.until(&[ENTER]), status.code())
    }
}

/// The terminal was given back before the report was written on it.
fn restored(text: &str) {
    let place = |what: &str| text.rfind(what).unwrap_or_else(|| panic!("no {what:?} in {text:?}"));
    assert!(place(ENTER) < place(LEAVE), "{text:?}");
    assert!(place(LEAVE) < place("TCP connection"), "the report comes after the screen: {text:?}");
    assert!(text[place(LEAVE)..].contains(SHOW_CURSOR), "{text:?}");
}

#[test]
fn q_ends_the_watch_with_the_report() {
    let Some(mut session) = Session::begin() else { return };
    session.press("?");
    session.until(&["Shift-Tab"]);
    session.press("qq");
    let (text, code) = session.end();
    assert_eq!(code, Some(0), "{text:?}");
    restored(&text);
}

#[test]
fn signals_give_the_terminal_back() {
    for signal in ["TERM", "INT"] {
        let Some(session) = Session::begin() else { return };
        session.signal(signal);
        let (text, code) = session.end();
        assert_eq!(code, Some(0), "{text:?}");
        restored(&text);
    }
}

/// The window of the terminal is closed while the screen is drawn.
#[test]
fn a_terminal_that_is_gone_ends_the_watch_with_the_report() {
    let report = |folder: &Path| format!("--report 'json={}'", folder.join("report.json").display());
    let Some(mut session) = Session::begin_with(report) else { return };
    let pid = fs::read_to_string(session.path("pid")).unwrap();
    let is_running = || fs::exists(format!("/proc/{}", pid.trim())).unwrap();
    session.script.kill().unwrap();
    session.script.wait().unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while is_running() {
        assert!(Instant::now() < until, "it did not end");
        std::thread::sleep(Duration::from_millis(50));
    }
    let report = fs::read_to_string(session.path("report.json")).unwrap();
    assert!(report.contains("synscope.report/1"), "{report}");
}

#[test]
fn no_colour_is_written_where_none_is_wanted() {
    let Some(mut session) = Session::begin() else { return };
    session.press("q");
    let (text, _) = session.end();
    let coloured = text.split("\u{1b}[").skip(1).find(|rest| {
        let code = rest.split(|c: char| !c.is_ascii_digit() && c != ';').next().unwrap_or_default();
        let sgr = rest[code.len()..].starts_with('m');
        sgr && code
            .split(';')
            .any(|n| n.parse::<u8>().is_ok_and(|n| (30..=38).contains(&n) || (40..=48).contains(&n)))
    });
    assert_eq!(coloured, None);
}
