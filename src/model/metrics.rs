//! Measured values by name, in little memory: a report may have very many findings.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Index;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

/// Measured values, in order of their names.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "BTreeMap<String, Value>")]
pub struct Metrics(Vec<(Cow<'static, str>, Value)>);

impl Metrics {
    /// Sets a value.
    pub fn insert(&mut self, name: impl Into<Cow<'static, str>>, value: Value) {
        let name = name.into();
        match self.place(&name) {
            Ok(place) => self.0[place].1 = value,
            Err(place) => self.0.insert(place, (name, value)),
        }
    }

    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.place(name).ok().map(|place| &self.0[place].1)
    }

    /// Whether there is a value of this name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.place(name).is_ok()
    }

    /// All of them, in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// Frees memory that is not needed.
    pub fn shrink_to_fit(&mut self) {
        self.0.shrink_to_fit();
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.as_ref().cmp(name))
    }
}

impl Index<&str> for Metrics {
    type Output = Value;

    /// # Panics
    /// When there is no value of this name.
    fn index(&self, name: &str) -> &Value {
        self.get(name).unwrap_or_else(|| panic!("no metric '{name}'"))
    }
}

impl From<BTreeMap<String, Value>> for Metrics {
    fn from(values: BTreeMap<String, Value>) -> Metrics {
        Metrics(values.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_in_order_of_their_names_whatever_the_order_they_came_in() {
        let mut metrics = Metrics::default();
        for (name, value) in [("waited_s", 3), ("copies", 1), ("lost", 2), ("copies", 4)] {
            metrics.insert(name, value.into());
        }
        let text = serde_json::to_string(&metrics).unwrap();
        assert_eq!(text, r#"{"copies":4,"lost":2,"waited_s":3}"#);
        assert_eq!(serde_json::from_str::<Metrics>(&text).unwrap(), metrics);
        assert_eq!((metrics.get("lost"), metrics.get("found")), (Some(&Value::from(2)), None));
    }
}
