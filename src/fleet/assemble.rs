//! `worker assemble`: everything that is known of a point to its report.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use super::Error;
use super::decode::RangeReport;
use super::rows::{Kind, RowReader, unpack};
use crate::capture::extent::{Chain, InputRange, common_silences, join};
use crate::capture::{Silence, Silences, Status};
use crate::decode::segment::PacketId;
use crate::engine::batch::Totals;
use crate::engine::stages::{self, EndedShard};
use crate::engine::{self, Analysis, Options};
use crate::flow::tracker::SHARDS;
use crate::history::tw_recycle::TwRecycleModel;
use crate::kernel::comment;
use crate::redact::source::leave_out_names;

/// Whether names are left out of a report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Names {
    /// They are in it.
    Kept,
    /// They are left out, as of redacted captures.
    LeftOut,
}

/// The status of the captures, and the times in which none of them had a packet.
type Inputs = (Vec<Status>, Vec<Silence>);

/// The results of one capture point.
#[derive(Default)]
pub struct Point {
    /// By capture and begin.
    readings: BTreeMap<(i32, i64), RangeReport>,
    shards: BTreeMap<i32, EndedShard>,
    models: BTreeMap<i32, TwRecycleModel>,
}

/// Reads everything that is known of each point.
///
/// # Errors
/// A stream that is broken, or has something twice.
pub fn read(from: impl Read) -> Result<BTreeMap<Arc<str>, Point>, Error> {
    let mut rows = RowReader::new("assemble", from)?;
    let mut points: BTreeMap<Arc<str>, Point> = BTreeMap::new();
    while let Some(row) = rows.next_row()? {
        let point = points.entry(Arc::clone(&row.point)).or_default();
        let twice = match row.kind {
            Kind::Reading => point.readings.insert((row.capture, row.begin), unpack(&row.body)?).is_some(),
            Kind::Shard => point.shards.insert(row.shard, unpack(&row.body)?).is_some(),
            Kind::Model => point.models.insert(row.shard, unpack(&row.body)?).is_some(),
            Kind::Table => false,
            Kind::Outline | Kind::Segments | Kind::Events => {
                let what = "there are rows of an earlier stage".to_owned();
                return Err(Error::Incomplete { point: row.point.to_string(), what });
            }
        };
        if twice {
            let what = format!("{:?} {} is there twice", row.kind, row.shard);
            return Err(Error::Incomplete { point: row.point.to_string(), what });
        }
    }
    Ok(points)
}

impl Point {
    /// The report on it.
    ///
    /// # Errors
    /// Something is missing, or nothing could be read.
    pub fn report(self, name: &str, options: &Options, names: Names) -> Result<Analysis, Error> {
        let missing: Vec<String> = (0..SHARDS as i32)
            .filter(|shard| !self.shards.contains_key(shard))
            .map(|shard| shard.to_string())
            .collect();
        if !missing.is_empty() {
            let what = format!("shards are missing: {}", missing.join(", "));
            return Err(Error::Incomplete { point: name.to_owned(), what });
        }
        let (totals, inputs) = self.inputs(names)?;
        let mut peers = stages::server_memory(options);
        self.models.into_values().for_each(|model| peers.merge(model));
        let shards = self.shards.into_values().collect();
        Ok(stages::conclude(shards, peers, totals, inputs, options)?)
    }

    /// The counts, and the status of the captures.
    fn inputs(&self, names: Names) -> Result<(Totals, Inputs), Error> {
        let mut by_capture: BTreeMap<i32, Vec<(i64, &RangeReport)>> = BTreeMap::new();
        for (&(capture, begin), reading) in &self.readings {
            by_capture.entry(capture).or_default().push((begin, reading));
        }
        let mut totals = Totals::default();
        let (mut statuses, mut silences) = (Vec::<Status>::new(), Vec::<Silences>::new());
        let mut refused = Vec::new();
        let mut faults = BTreeMap::new();
        for (capture, readings) in by_capture {
            let Some((_, first)) = readings.first() else { continue };
            let (path, input) = (first.path.clone(), capture as u16);
            let place = InputRange { path: path.clone(), input, size: first.size, from: 0, until: u64::MAX };
            let extents: Vec<_> = readings.iter().map(|(_, reading)| reading.extent.clone()).collect();
            let wrong = |_| Error::WrongGuess { path: path.clone(), from: 0 };
            let (status, quiet) = join(&place, &extents).map_err(wrong)?;
            if first.extent.is_refused() {
                refused.extend(status.damage.clone());
            }
            statuses.push(status);
            silences.push(quiet);
            let mut chain = Chain::default();
            for (_, reading) in readings {
                let Some(before) = chain.follow(&reading.extent.bounds()).map_err(wrong)? else { continue };
                totals.add_behind(&reading.totals, before.packets);
                let judged = reading.notes.iter().filter_map(|(number, note)| {
                    Some((PacketId::new(input, number + before.packets), comment::read(note)?))
                });
                totals.judged.extend(judged);
                if let Some((packet, fault, count)) = reading.faults.clone() {
                    let of_input = (packet + before.packets, fault, 0);
                    faults.entry(input).or_insert(of_input).2 += count;
                }
            }
        }
        if refused.len() == statuses.len() {
            return Err(engine::Error::NothingReadable(refused).into());
        }
        if names == Names::LeftOut {
            leave_out_names(&mut statuses, &faults);
        }
        Ok((totals, (statuses, common_silences(&silences))))
    }
}
