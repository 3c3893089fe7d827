//! A judgement as a packet's comment in a pcapng file, and read back from there.
//!
//! One line: `synscope kernel: dropped TCP_LISTEN_OVERFLOW tcp_v4_rcv; accept-queue 129/128; syn-queue 3/128`.
//! The parts, divided by `; `, in any order, each at most once:
//!
//! | part | what it says |
//! | --- | --- |
//! | `dropped REASON FUNCTION` | the kernel dropped the packet there, for that reason |
//! | `reset REASON FUNCTION` | the kernel answered it with a RST |
//! | `sent REASON FUNCTION` | the packet is a RST that the kernel sent |
//! | `at FUNCTION` | a SYN or final ACK came to its listener there |
//! | `accept-queue N/LIMIT` | connections in the listener's accept queue then |
//! | `syn-queue N/LIMIT` | requests in its SYN queue then |
//! | `syncookies off` | a full SYN queue drops SYNs |
//!
//! `-` stands for a value that the kernel does not give.

use std::fmt::Write as _;

use super::verdict::{DropSite, Judgement, Name, Queues};

/// How such a comment begins.
pub const PREFIX: &str = "synscope kernel: ";

/// Bytes of a name of the kernel, at most.
const LONGEST_NAME: usize = 128;

/// Writes it down.
pub fn write(judgement: &Judgement) -> String {
    let mut parts: Vec<String> = Vec::new();
    let or_none = |name: &Option<Name>| name.as_deref().unwrap_or("-").to_owned();
    for (what, place) in
        [("dropped", &judgement.dropped), ("reset", &judgement.reset), ("sent", &judgement.sent)]
    {
        if let Some(DropSite { reason, function }) = place {
            parts.push(format!("{what} {} {}", or_none(reason), or_none(function)));
        }
    }
    if let Some(function) = &judgement.at_listener {
        parts.push(format!("at {function}"));
    }
    if let Some(Queues { accept, syn, limit, without_cookies }) = judgement.queues {
        parts.push(format!("accept-queue {accept}/{limit}"));
        parts.push(format!("syn-queue {syn}/{limit}"));
        if without_cookies {
            parts.push("syncookies off".to_owned());
        }
    }
    let mut text = PREFIX.to_owned();
    let _ = write!(text, "{}", parts.join("; "));
    text
}

/// Reads it; `None` where the text is another comment, or damaged.
pub fn read(text: &str) -> Option<Judgement> {
    let mut judgement = Judgement::default();
    let (mut accept, mut syn, mut without_cookies) = (None, None, false);
    for part in text.strip_prefix(PREFIX)?.trim_end().split("; ") {
        let words: Vec<&str> = part.split(' ').collect();
        match words[..] {
            ["dropped", reason, function] => judgement.dropped = Some(place(reason, function)?),
            ["reset", reason, function] => judgement.reset = Some(place(reason, function)?),
            ["sent", reason, function] => judgement.sent = Some(place(reason, function)?),
            ["at", function] => judgement.at_listener = Some(name(function)??),
            ["accept-queue", queue] => accept = Some(numbers(queue)?),
            ["syn-queue", queue] => syn = Some(numbers(queue)?),
            ["syncookies", "off"] => without_cookies = true,
            _ => return None,
        }
    }
    judgement.queues = match (accept, syn) {
        (Some((accept, limit)), Some((syn, same))) if limit == same => {
            Some(Queues { accept, syn, limit, without_cookies })
        }
        (None, None) => None,
        _ => return None,
    };
    (judgement != Judgement::default()).then_some(judgement)
}

fn place(reason: &str, function: &str) -> Option<DropSite> {
    Some(DropSite { reason: name(reason)?, function: name(function)? })
}

/// A name: `Some(None)` for `-`, `None` for a word that cannot be a name.
fn name(word: &str) -> Option<Option<Name>> {
    let is_name = |word: &str| {
        !word.is_empty()
            && word.len() <= LONGEST_NAME
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte))
    };
    match word {
        "-" => Some(None),
        word => is_name(word).then(|| Some(word.into())),
    }
}

fn numbers(queue: &str) -> Option<(u32, u32)> {
    let (n, limit) = queue.split_once('/')?;
    Some((n.parse().ok()?, limit.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judgement() -> Judgement {
        Judgement {
            dropped: Some(DropSite {
                reason: Some("TCP_LISTEN_OVERFLOW".into()),
                function: Some("tcp_v4_rcv".into()),
            }),
            reset: Some(DropSite { reason: None, function: None }),
            at_listener: Some("tcp_v4_syn_recv_sock".into()),
            queues: Some(Queues { accept: 129, syn: 3, limit: 128, without_cookies: true }),
            ..Judgement::default()
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = write(&judgement());
        assert_eq!(
            text,
            "synscope kernel: dropped TCP_LISTEN_OVERFLOW tcp_v4_rcv; reset - -; at tcp_v4_syn_recv_sock; \
             accept-queue 129/128; syn-queue 3/128; syncookies off"
        );
        assert_eq!(read(&text), Some(judgement()));
    }

    #[test]
    fn readers_of_captures_keep_such_comments() {
        assert!(PREFIX.starts_with(crate::capture::NOTE));
    }

    #[test]
    fn other_comments_and_damaged_ones_are_none() {
        for text in [
            "",
            "retransmission of #3",
            "synscope kernel: ",
            "synscope kernel: dropped",
            "synscope kernel: dropped A\x1b[2J b",
            "synscope kernel: accept-queue 1/2",
            "synscope kernel: accept-queue 1/2; syn-queue 1/3",
            "synscope kernel: accept-queue -1/2; syn-queue 1/2",
            "synscope kernel: dropped A b; praised C d",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
