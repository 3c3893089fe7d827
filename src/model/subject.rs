//! The host or listener that a setting belongs to.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A host or a listener.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, JsonSchema)]
#[schemars(from = "String", into = "String", inline)]
pub enum Subject {
    /// A host by its address.
    Host(IpAddr),
    /// A listener.
    Listener(SocketAddr),
    /// A host by its name.
    Named(String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Host(address) => address.fmt(f),
            Subject::Listener(address) => address.fmt(f),
            Subject::Named(name) => name.fmt(f),
        }
    }
}

impl From<IpAddr> for Subject {
    fn from(address: IpAddr) -> Subject {
        Subject::Host(address)
    }
}

impl From<SocketAddr> for Subject {
    fn from(address: SocketAddr) -> Subject {
        Subject::Listener(address)
    }
}

/// A text that parses as an address is an address.
impl From<String> for Subject {
    fn from(text: String) -> Subject {
        let host = text.parse().map(Subject::Host);
        host.or_else(|_| text.parse().map(Subject::Listener)).unwrap_or(Subject::Named(text))
    }
}

impl Serialize for Subject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Subject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Subject, D::Error> {
        String::deserialize(deserializer).map(Subject::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_read_as_it_is_written() {
        for text in ["192.0.2.1", "2001:db8::1", "192.0.2.1:80", "[2001:db8::1]:80", "web1"] {
            let subject = Subject::from(text.to_owned());
            assert_eq!(subject.to_string(), text);
            assert_eq!(matches!(subject, Subject::Named(_)), text == "web1");
        }
    }
}
