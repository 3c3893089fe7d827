//! The JSON Schema of the report, made from the types that are written.

use std::io;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::json;

use super::json::write_document;
use crate::model::{Report, SCHEMA};

/// The schema (draft 2020-12) of what `--format json` writes.
///
/// Fields that stand in every document are required; others may stand beside the known ones.
pub fn schema() -> Schema {
    let mut schema = schema_of::<Report>("urn:synscope:report:1", "synscope report, version 1");
    if let Some(name) = schema.pointer_mut("/properties/schema").and_then(|name| name.as_object_mut()) {
        name.insert("const".to_owned(), json!(SCHEMA));
    }
    // schemars does not know that the keys of this map are kinds.
    if let Some(counts) =
        schema.pointer_mut("/$defs/Summary/properties/findings").and_then(|map| map.as_object_mut())
    {
        counts.insert("propertyNames".to_owned(), json!({ "$ref": "#/$defs/Kind" }));
    }
    schema
}

/// The schema of the JSON form of a `T`.
pub fn schema_of<T: JsonSchema>(id: &str, title: &str) -> Schema {
    // "For serialize": a field that is always written is required, even where it may be null.
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.insert("$id".to_owned(), json!(id));
    schema.insert("title".to_owned(), json!(title));
    schema
}

/// Writes a schema as indented JSON with a newline at the end.
///
/// # Errors
/// The writer's error.
pub fn write(schema: &Schema, out: &mut dyn io::Write) -> io::Result<()> {
    write_document(schema, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;
    use serde_json::Value;

    /// The fields that the contract fixes, by the place of their object in the schema.
    const FIXED: [(&str, &[&str]); 9] = [
        ("", &["schema", "captures", "summary", "incidents", "findings", "inferred", "warnings"]),
        ("/$defs/Capture", &["path", "format", "packets", "tcp_segments", "first", "last", "warnings"]),
        (
            "/$defs/Summary",
            &[
                "packets",
                "tcp_segments",
                "connections",
                "findings",
                "outcomes",
                "failed",
                "failed_unexplained",
            ],
        ),
        (
            "/$defs/Incident",
            &[
                "id",
                "kind",
                "severity",
                "certainty",
                "listener",
                "cause",
                "first",
                "last",
                "connections",
                "clients",
                "findings",
                "next_steps",
            ],
        ),
        (
            "/$defs/Finding",
            &[
                "id",
                "kind",
                "severity",
                "certainty",
                "client",
                "server",
                "vantage",
                "summary",
                "cause",
                "alternatives",
                "evidence",
                "first",
                "last",
                "metrics",
            ],
        ),
        ("/$defs/Cause", &["text", "kernel_functions", "counters", "sysctls"]),
        ("/$defs/Alternative", &["text", "why_less_likely"]),
        ("/$defs/Evidence", &["capture", "packet", "time", "text"]),
        ("/$defs/Inferred", &["host", "setting", "value", "from"]),
    ];

    #[test]
    fn every_fixed_field_is_required() {
        let schema = schema().to_value();
        for (place, fields) in FIXED {
            let object = schema.pointer(place).unwrap_or_else(|| panic!("no {place} in the schema"));
            let required =
                object["required"].as_array().unwrap_or_else(|| panic!("{place} requires nothing"));
            for field in fields {
                assert!(required.contains(&json!(field)), "{place}: {field} is not required");
                assert!(object["properties"].get(field).is_some(), "{place}: {field} is not described");
            }
        }
    }

    #[test]
    fn it_says_what_it_is() {
        let schema = schema().to_value();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert_eq!(schema["$id"], "urn:synscope:report:1");
        assert!(jsonschema::meta::is_valid(&schema));
    }

    #[test]
    fn every_rendered_document_is_valid() {
        let validator = jsonschema::validator_for(&schema().to_value()).unwrap();
        for (name, report) in samples::all() {
            let mut out = Vec::new();
            crate::report::json::write(&report, &mut out).unwrap();
            let document: Value = serde_json::from_slice(&out).unwrap();
            let complaints: Vec<_> = validator.iter_errors(&document).map(|e| e.to_string()).collect();
            assert!(complaints.is_empty(), "{name}: {complaints:?}");
        }
    }

    #[test]
    fn a_document_that_breaks_the_contract_is_refused() {
        let validator = jsonschema::validator_for(&schema().to_value()).unwrap();
        let good = serde_json::to_value(samples::overflow()).unwrap();
        let broken = |change: &dyn Fn(&mut Value)| {
            let mut document = good.clone();
            change(&mut document);
            !validator.is_valid(&document)
        };
        assert!(!broken(&|_| ()));
        assert!(
            !broken(&|d| d["findings"][0]["extra"] = json!(1)),
            "more fields may stand beside the fixed ones"
        );
        assert!(broken(&|d| d["schema"] = json!("synscope.report/2")));
        assert!(broken(&|d| d["incidents"][0]["kind"] = json!("bad-luck")));
        assert!(broken(&|d| d["findings"][0]["severity"] = json!("Critical")));
        assert!(broken(&|d| drop(d["findings"][0].as_object_mut().unwrap().remove("client"))));
        assert!(broken(&|d| d["summary"]["findings"]["bad-luck"] = json!(1)));
    }
}
