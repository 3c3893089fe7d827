//! One row for each finding about a connection: `point` and `uid` as in the table of connections, `id`, `kind`, `severity` and
//! `certainty` as in the report.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;

use super::{TableFolder, created, properties, uid};
use crate::decode::segment::PacketId;
use crate::model::Report;

/// The point of a packet, where captures of several points are joined.
fn point_of(report: &Report, packet: PacketId) -> Option<String> {
    let path = &report.captures.get(usize::from(packet.capture()))?.path;
    let named = report.points.iter().find(|point| point.captures.contains(path));
    let side = |[near, far]: [&Vec<String>; 2]| {
        [near, far].iter().position(|paths| paths.contains(path)).and_then(TableFolder::name_of_side)
    };
    let sides = report.pairs.first().map(|pair| [&pair.client_side, &pair.server_side]);
    named.map(|point| point.name.clone()).or_else(|| Some(sides.and_then(side)?.to_owned()))
}

/// Writes the findings of `report` whose connections begin at the packets of `connections`, by the finding's id.
///
/// # Errors
/// A row that could not be written.
pub fn write(
    folder: &TableFolder,
    report: &Report,
    connections: &[(String, PacketId)],
) -> Result<(), String> {
    let names = ["point", "uid", "id", "kind", "severity", "certainty"];
    let fields: Vec<Field> = names.iter().map(|name| Field::new(*name, DataType::Utf8, false)).collect();
    let schema = Arc::new(Schema::new(fields));
    let mut columns: [StringBuilder; 6] = Default::default();
    for finding in &report.findings {
        let Some((_, first)) = connections.iter().find(|(id, _)| *id == finding.id) else { continue };
        let texts = [
            point_of(report, *first).unwrap_or_else(|| folder.point.clone()),
            uid(*first),
            finding.id.clone(),
            finding.kind.to_string(),
            finding.severity.to_string(),
            finding.certainty.to_string(),
        ];
        columns.iter_mut().zip(texts).for_each(|(column, text)| column.append_value(text));
    }
    let columns = columns.each_mut().map(|column| -> ArrayRef { Arc::new(column.finish()) });
    let written = || -> parquet::errors::Result<()> {
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns.to_vec())?;
        let file = created(&folder.findings())?;
        let mut writer = ArrowWriter::try_new(file, schema, Some(properties()))?;
        writer.write(&batch)?;
        writer.close().map(|_| ())
    };
    written().map_err(|error| error.to_string())
}
