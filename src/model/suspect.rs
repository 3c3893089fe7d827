//! Alternatives to the likely cause of a finding. Later stages decide by the variant; the text is made here.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::phrase::Phrase;

/// An alternative cause: one that could not be excluded, or one that another capture excludes.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(from = "String", into = "String", inline)]
pub enum Suspect {
    /// These packets were lost on the path.
    Lost(LostPackets),
    /// A firewall or the network dropped the SYN.
    SynFilteredOrLost,
    /// A firewall on the server dropped the SYN.
    SynFilteredAtServer,
    /// The network lost SYNs, or a queue was full.
    SynsLostOrQueueFull,
    /// A queue of the listener was full.
    QueueFull,
    /// The server's host dropped the SYN.
    DroppedByHost,
    /// The server's host or its listener dropped the SYN.
    DroppedByServer,
    /// A device between two captures sent the RST.
    ResetByDevice,
    /// The likely cause of a finding, in its words.
    Cause(Phrase),
    /// Another alternative, with the detector's text: no later stage depends on it.
    InWords(Phrase),
}

/// Packets that may have been lost on the path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LostPackets {
    /// SYNs, on the way to the server.
    Syns,
    /// The final ACK.
    FinalAck,
    /// The client's segments after the handshake.
    ClientData,
    /// Something, there or back.
    EitherWay,
}

impl Suspect {
    /// The alternative that is left once a capture shows that the packets arrived at the server's host; `None` if it
    /// said that they did not.
    pub fn after_arrival(self) -> Option<Suspect> {
        match self {
            Suspect::Lost(_) => None,
            Suspect::SynFilteredOrLost => Some(Suspect::SynFilteredAtServer),
            Suspect::SynsLostOrQueueFull => Some(Suspect::QueueFull),
            other => Some(other),
        }
    }

    /// Whether it says that packets did not arrive, and nothing else.
    pub fn is_loss(&self) -> bool {
        matches!(self, Suspect::Lost(_))
    }

    /// In words.
    pub fn text(&self) -> &str {
        match self {
            Suspect::Lost(LostPackets::Syns) => "The SYNs were lost on the way to the server.",
            Suspect::Lost(LostPackets::FinalAck) => "The final ACK was lost on the way to the server.",
            Suspect::Lost(LostPackets::ClientData) => {
                "The client's segments were lost on the way to the server."
            }
            Suspect::Lost(LostPackets::EitherWay) => "Packets were lost on the way there or back.",
            Suspect::SynFilteredOrLost => "A firewall dropped the SYN, or the network lost it.",
            Suspect::SynFilteredAtServer => "A firewall on the server dropped the SYN.",
            Suspect::SynsLostOrQueueFull => "The network lost the SYNs, or a queue was full.",
            Suspect::QueueFull => "A queue was full.",
            Suspect::DroppedByHost => "The server's host dropped the SYN.",
            Suspect::DroppedByServer => "The server or its listener dropped the SYN.",
            Suspect::ResetByDevice => "A device between the two captures sent the RST.",
            Suspect::Cause(words) | Suspect::InWords(words) => words,
        }
    }
}

impl fmt::Display for Suspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text())
    }
}

impl From<&'static str> for Suspect {
    fn from(words: &'static str) -> Suspect {
        Suspect::InWords(words.into())
    }
}

impl From<String> for Suspect {
    fn from(words: String) -> Suspect {
        Suspect::InWords(words.into())
    }
}

/// Two are the same if a report says the same of them: a report that was read has words only.
impl PartialEq for Suspect {
    fn eq(&self, other: &Suspect) -> bool {
        self.text() == other.text()
    }
}

impl Serialize for Suspect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text())
    }
}

impl<'de> Deserialize<'de> for Suspect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Suspect, D::Error> {
        String::deserialize(deserializer).map(Suspect::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_said_that_packets_were_lost_falls_once_they_arrived() {
        assert_eq!(Suspect::Lost(LostPackets::Syns).after_arrival(), None);
        assert_eq!(Suspect::SynFilteredOrLost.after_arrival(), Some(Suspect::SynFilteredAtServer));
        assert_eq!(Suspect::SynsLostOrQueueFull.after_arrival(), Some(Suspect::QueueFull));
        let other = Suspect::from("The listener uses TCP_DEFER_ACCEPT.");
        assert_eq!(other.clone().after_arrival(), Some(other));
    }

    #[test]
    fn a_report_that_was_read_says_the_same() {
        let written = serde_json::to_string(&Suspect::QueueFull).unwrap();
        assert_eq!(written, r#""A queue was full.""#);
        assert_eq!(serde_json::from_str::<Suspect>(&written).unwrap(), Suspect::QueueFull);
    }
}
