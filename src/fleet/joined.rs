//! Data about a run of several points as a whole, which several stages need.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Error;
use super::rows::{ALL, FleetRow, RowKind, RowReader, RowWriter, pack, unpack};
use crate::pair::clock::ClockOffset;
use crate::pair::points::Points;
use crate::pair::trace::Request;

/// The clocks of all points.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Clocks {
    /// By the point's name; `None` for a point whose times stay as they are.
    points: BTreeMap<String, Option<ClockOffset>>,
}

impl Clocks {
    /// Those of these points.
    pub fn of(points: &Points) -> Clocks {
        let named = |(n, point): (usize, &crate::pair::points::Point)| {
            (point.name.clone().unwrap_or_default(), points.correction(n))
        };
        Clocks { points: points.all.iter().enumerate().map(named).collect() }
    }

    /// The clock by which the times of a point are brought to the reference, if they are to be.
    pub fn of_point(&self, name: &str) -> Option<ClockOffset> {
        self.points.get(name).copied().flatten()
    }

    /// How many points there are.
    pub fn count(&self) -> usize {
        self.points.len()
    }
}

/// The packets to search for at all points.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TraceRequest {
    /// The names of the points, in their order.
    pub names: Vec<String>,
    /// The connections and servers.
    pub request: Request,
}

/// Data that belongs to a run as a whole.
pub trait RunRow: Serialize + DeserializeOwned {
    /// The kind of its row.
    const KIND: RowKind;

    /// Reads the row of this kind from a stream. Rows of other kinds may stand beside it.
    ///
    /// # Errors
    /// A stream that is broken, or has no such row.
    fn read(stage: &'static str, from: impl Read) -> Result<Self, Error> {
        let mut rows = RowReader::new(stage, from)?;
        while let Some(row) = rows.next_row()? {
            if row.kind == Self::KIND {
                return unpack(&row.body);
            }
        }
        Err(Error::Schema { stage, what: format!("there is no row of kind {:?}", Self::KIND) })
    }

    /// Writes it as a row.
    ///
    /// # Errors
    /// It cannot be written.
    fn write(&self, rows: &mut RowWriter<impl Write>) -> Result<(), Error> {
        rows.write(FleetRow::of_point(&"".into(), ALL, Self::KIND, pack(self)?))
    }
}

impl RunRow for Clocks {
    const KIND: RowKind = RowKind::Clocks;
}

impl RunRow for Points {
    const KIND: RowKind = RowKind::Points;
}

impl RunRow for TraceRequest {
    const KIND: RowKind = RowKind::Request;
}
