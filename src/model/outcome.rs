//! Outcomes in the form of a report: by their names.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Outcome;

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Outcome, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        let named = Outcome::ALL.into_iter().find(|outcome| outcome.name() == name);
        named.ok_or_else(|| serde::de::Error::custom(format!("{name:?} is no outcome of a connection")))
    }
}

/// Counts in order of the names, as reports have had them from the beginning.
pub(super) fn by_name<S: Serializer>(
    counts: &BTreeMap<Outcome, u64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let sorted: BTreeMap<&str, u64> = counts.iter().map(|(outcome, n)| (outcome.name(), *n)).collect();
    serializer.collect_map(sorted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_read_as_they_are_written() {
        for outcome in Outcome::ALL {
            let json = serde_json::to_string(&outcome).unwrap();
            assert_eq!(serde_json::from_str::<Outcome>(&json).unwrap(), outcome);
        }
        assert!(serde_json::from_str::<Outcome>("\"vanished\"").is_err());
    }
}
