//! Segments as columns: the body of a row is an Arrow IPC stream of one batch, 63 bytes a segment and the schema.
//!
//! | column | type | meaning |
//! | --- | --- | --- |
//! | `time` | int64 | nanoseconds since 1970 |
//! | `number` | uint32 | which packet of the range, from 1 |
//! | `src`, `dst` | uint32 | the last four bytes of the addresses: all of an IPv4 address |
//! | `src_net`, `dst_net` | dictionary of uint16 | the first twelve bytes: of IPv4 always `::ffff:0:0/96` |
//! | `src_port`, `dst_port`, `seq`, `ack`, `payload`, `window`, `ip_id`, `tsval`, `tsecr`, `mss`, `traits`, `neighbours`, `flags`, `options`, `window_scale`, `ttl`, `tos` | unsigned | as in [`Segment`] |
//! | `latest` | int64 | where the clock of the capture stepped back: the latest time up to the packet; else missing |

use std::sync::Arc;

use arrow_array::builder::FixedSizeBinaryBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt8Type, UInt16Type, UInt32Type};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, DictionaryArray, PrimitiveArray, RecordBatch};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema};

use super::Error;
use crate::decode::segment::{Address, Flags, PacketId, Segment, TcpOptions, Traits, flow_hash};
use crate::flow::key::Map;
use crate::seq::Seq;
use crate::time::Timestamp;

/// Segments of one row, at most: few enough for the numbers of their networks to take 16 bits.
pub const MOST: usize = 1 << 14;

/// A segment and where it belongs in a stream of several captures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ordered {
    /// The segment; its packet is numbered within its range.
    pub segment: Segment,
    /// The latest time in its capture's range, up to this segment.
    pub latest: Timestamp,
}

const NUMBERS: [&str; 17] = [
    "src_port",
    "dst_port",
    "seq",
    "ack",
    "payload",
    "window",
    "ip_id",
    "tsval",
    "tsecr",
    "mss",
    "traits",
    "neighbours",
    "flags",
    "options",
    "window_scale",
    "ttl",
    "tos",
];

fn net() -> DataType {
    DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::FixedSizeBinary(12)))
}

/// The columns of every batch.
fn fields(numbers: &[ArrayRef]) -> Vec<Field> {
    let mut fields = vec![
        Field::new("time", DataType::Int64, false),
        Field::new("number", DataType::UInt32, false),
        Field::new("src", DataType::UInt32, false),
        Field::new("dst", DataType::UInt32, false),
        Field::new("src_net", net(), false),
        Field::new("dst_net", net(), false),
    ];
    let typed = |(name, column): (&&str, &ArrayRef)| Field::new(*name, column.data_type().clone(), false);
    fields.extend(NUMBERS.iter().zip(numbers).map(typed));
    fields
}

/// The networks of some addresses, and which of them each has.
#[derive(Clone, Debug, Default)]
struct Networks {
    known: Map<[u8; 12], u16>,
    values: Vec<[u8; 12]>,
    /// The last network and its key: most often the next address has the same.
    last: Option<([u8; 12], u16)>,
    keys: Vec<u16>,
}

impl Networks {
    fn add(&mut self, address: Address) {
        let (net, _) = split(address);
        let key = match self.last {
            Some((last, key)) if last == net => key,
            _ => {
                let next = self.values.len() as u16;
                let key = *self.known.entry(net).or_insert(next);
                if key == next {
                    self.values.push(net);
                }
                self.last = Some((net, key));
                key
            }
        };
        self.keys.push(key);
    }

    /// Moves out the column; the builder is empty then.
    fn column(&mut self) -> Result<ArrayRef, Error> {
        let Networks { values, keys, .. } = std::mem::take(self);
        let mut nets = FixedSizeBinaryBuilder::new(12);
        values.iter().try_for_each(|net| nets.append_value(net))?;
        let keys = PrimitiveArray::<UInt16Type>::from(keys);
        Ok(Arc::new(DictionaryArray::try_new(keys, Arc::new(nets.finish()))?))
    }
}

/// Makes the body of a row: columns that grow by some segments at a time.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    time: Vec<i64>,
    number: Vec<u32>,
    hosts: [Vec<u32>; 2],
    nets: [Networks; 2],
    wide: [Vec<u32>; 5],
    middle: [Vec<u16>; 7],
    narrow: [Vec<u8>; 5],
    latest: Vec<i64>,
    has_latest: bool,
}

impl Builder {
    /// How many segments there are.
    pub fn len(&self) -> usize {
        self.time.len()
    }

    /// Whether the batch has no segment.
    pub fn is_empty(&self) -> bool {
        self.time.is_empty()
    }

    /// The time of the first segment.
    pub fn first_time(&self) -> Option<Timestamp> {
        self.time.first().copied().map(Timestamp)
    }

    /// Adds segments. It is fastest with so few that they fit into the nearest cache: each column goes over all of
    /// them.
    pub fn add(&mut self, some: &[Ordered]) {
        fn extend<T>(column: &mut Vec<T>, some: &[Ordered], of: impl Fn(&Segment) -> T) {
            column.extend(some.iter().map(|ordered| of(&ordered.segment)));
        }
        extend(&mut self.time, some, |s| s.time.0);
        extend(&mut self.number, some, |s| s.packet.number() as u32);
        let [src, dst] = &mut self.hosts;
        extend(src, some, |s| split(s.src).1);
        extend(dst, some, |s| split(s.dst).1);
        let [src, dst] = &mut self.nets;
        some.iter().for_each(|ordered| src.add(ordered.segment.src));
        some.iter().for_each(|ordered| dst.add(ordered.segment.dst));
        let [seq, ack, payload, tsval, tsecr] = &mut self.wide;
        extend(seq, some, |s| s.seq.0);
        extend(ack, some, |s| s.ack.0);
        extend(payload, some, |s| s.payload);
        extend(tsval, some, |s| s.tsval);
        extend(tsecr, some, |s| s.tsecr);
        let [src_port, dst_port, window, ip_id, mss, traits, neighbours] = &mut self.middle;
        extend(src_port, some, |s| s.src_port);
        extend(dst_port, some, |s| s.dst_port);
        extend(window, some, |s| s.window);
        extend(ip_id, some, |s| s.ip_id);
        extend(mss, some, |s| s.mss);
        extend(traits, some, |s| s.traits.0);
        extend(neighbours, some, |s| s.neighbours);
        let [flags, options, window_scale, ttl, tos] = &mut self.narrow;
        extend(flags, some, |s| s.flags.0);
        extend(options, some, |s| s.options.0);
        extend(window_scale, some, |s| s.window_scale);
        extend(ttl, some, |s| s.ttl);
        extend(tos, some, |s| s.tos);
        self.latest.extend(some.iter().map(|ordered| ordered.latest.0));
        self.has_latest |= some.iter().any(|ordered| ordered.latest != ordered.segment.time);
    }

    /// The body of a row with all segments so far, at most [`MOST`]. None are left.
    ///
    /// # Errors
    /// Arrow refuses them.
    pub fn write(&mut self) -> Result<Vec<u8>, Error> {
        fn column<T: ArrowPrimitiveType>(values: Vec<T::Native>) -> ArrayRef {
            Arc::new(PrimitiveArray::<T>::new(values.into(), None))
        }
        let Builder { time, number, hosts, nets, wide, middle, narrow, latest, has_latest } =
            std::mem::take(self);
        let count = time.len();
        let [seq, ack, payload, tsval, tsecr] = wide.map(column::<UInt32Type>);
        let [src_port, dst_port, window, ip_id, mss, traits, neighbours] = middle.map(column::<UInt16Type>);
        let [flags, options, window_scale, ttl, tos] = narrow.map(column::<UInt8Type>);
        // In the order of NUMBERS.
        let numbers = vec![
            src_port,
            dst_port,
            seq,
            ack,
            payload,
            window,
            ip_id,
            tsval,
            tsecr,
            mss,
            traits,
            neighbours,
            flags,
            options,
            window_scale,
            ttl,
            tos,
        ];
        let mut fields = fields(&numbers);
        let [src, dst] = hosts.map(column::<UInt32Type>);
        let [mut src_nets, mut dst_nets] = nets;
        let mut columns = vec![
            column::<Int64Type>(time),
            column::<UInt32Type>(number),
            src,
            dst,
            src_nets.column()?,
            dst_nets.column()?,
        ];
        columns.extend(numbers);
        if has_latest {
            fields.push(Field::new("latest", DataType::Int64, false));
            columns.push(column::<Int64Type>(latest));
        }
        let schema = Arc::new(Schema::new(fields));
        let mut body = Vec::with_capacity(count * 72 + 4096);
        let mut stream = StreamWriter::try_new(&mut body, &schema)?;
        stream.write(&RecordBatch::try_new(schema, columns)?)?;
        stream.finish()?;
        drop(stream);
        Ok(body)
    }
}

/// The first twelve bytes of an address, and the others.
fn split(Address([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]): Address) -> ([u8; 12], u32) {
    ([a, b, c, d, e, f, g, h, i, j, k, l], u32::from_be_bytes([m, n, o, p]))
}

fn join(net: &[u8], host: u32) -> Address {
    let mut address = Address::default();
    let (first, last) = address.0.split_at_mut(12);
    first.iter_mut().zip(net).for_each(|(to, from)| *to = *from);
    last.copy_from_slice(&host.to_be_bytes());
    address
}

/// Reads the segments of a body back: of capture `capture`, with `before` added to their numbers.
///
/// # Errors
/// The body holds other columns.
pub fn read(body: &[u8], capture: u16, before: u64) -> Result<Vec<Ordered>, Error> {
    let mut all = Vec::new();
    read_into(body, capture, before, &mut all)?;
    Ok(all)
}

/// The same, into `all`, whose memory is used again.
///
/// # Errors
/// The body holds other columns.
pub fn read_into(body: &[u8], capture: u16, before: u64, all: &mut Vec<Ordered>) -> Result<(), Error> {
    all.clear();
    for batch in StreamReader::try_new(body, None)? {
        let batch = batch?;
        all.reserve(batch.num_rows());
        let columns = SegmentColumns::of(&batch)?;
        all.extend((0..batch.num_rows()).map(|at| columns.ordered(at, capture, before)));
    }
    Ok(())
}

/// The time of the first segment of a body; 0 if it has none.
///
/// # Errors
/// The body holds other columns.
pub fn first_time(body: &[u8]) -> Result<i64, Error> {
    let Some(batch) = StreamReader::try_new(body, None)?.next() else { return Ok(0) };
    Ok(SegmentColumns::of(&batch?)?.time.first().copied().unwrap_or_default())
}

/// The columns of a batch, each of the right type.
struct SegmentColumns<'b> {
    time: &'b [i64],
    latest: Option<&'b [i64]>,
    number: &'b [u32],
    hosts: [&'b [u32]; 2],
    nets: [(&'b [u16], &'b dyn Array); 2],
    wide: [&'b [u32]; 5],
    middle: [&'b [u16]; 7],
    narrow: [&'b [u8]; 5],
}

impl<'b> SegmentColumns<'b> {
    fn of(batch: &'b RecordBatch) -> Result<SegmentColumns<'b>, Error> {
        let named = |name: &str| {
            let missing = || Error::Schema {
                stage: "track",
                what: format!("segments have no column {name} as this version has it"),
            };
            batch.column_by_name(name).ok_or_else(missing)
        };
        fn typed<'b, T: ArrowPrimitiveType>(
            named: &impl Fn(&str) -> Result<&'b ArrayRef, Error>,
            name: &str,
        ) -> Result<&'b [T::Native], Error> {
            let what = || format!("the column {name} of segments has another type than in this version");
            let column = named(name)?.as_primitive_opt::<T>();
            let column = column.ok_or_else(|| Error::Schema { stage: "track", what: what() })?;
            Ok(column.values())
        }
        let net = |name: &str| -> Result<(&'b [u16], &'b dyn Array), Error> {
            let what = || format!("the column {name} of segments has another type than in this version");
            let column = named(name)?.as_dictionary_opt::<UInt16Type>();
            let column = column.ok_or_else(|| Error::Schema { stage: "track", what: what() })?;
            Ok((column.keys().values(), &**column.values()))
        };
        let wide = |name| typed::<UInt32Type>(&named, name);
        let middle = |name| typed::<UInt16Type>(&named, name);
        let narrow = |name| typed::<UInt8Type>(&named, name);
        let has_latest = batch.column_by_name("latest").is_some();
        Ok(SegmentColumns {
            time: typed::<Int64Type>(&named, "time")?,
            latest: has_latest.then(|| typed::<Int64Type>(&named, "latest")).transpose()?,
            number: wide("number")?,
            hosts: [wide("src")?, wide("dst")?],
            nets: [net("src_net")?, net("dst_net")?],
            wide: [wide("seq")?, wide("ack")?, wide("payload")?, wide("tsval")?, wide("tsecr")?],
            middle: [
                middle("src_port")?,
                middle("dst_port")?,
                middle("window")?,
                middle("ip_id")?,
                middle("mss")?,
                middle("traits")?,
                middle("neighbours")?,
            ],
            narrow: [
                narrow("flags")?,
                narrow("options")?,
                narrow("window_scale")?,
                narrow("ttl")?,
                narrow("tos")?,
            ],
        })
    }

    fn address(&self, end: usize, at: usize) -> Address {
        let (keys, values) = self.nets[end];
        let net = values.as_fixed_size_binary().value(usize::from(keys[at]));
        join(net, self.hosts[end][at])
    }

    fn ordered(&self, at: usize, capture: u16, before: u64) -> Ordered {
        let [seq, ack, payload, tsval, tsecr] = self.wide.map(|column| column[at]);
        let [src_port, dst_port, window, ip_id, mss, traits, neighbours] =
            self.middle.map(|column| column[at]);
        let [flags, options, window_scale, ttl, tos] = self.narrow.map(|column| column[at]);
        let (src, dst) = (self.address(0, at), self.address(1, at));
        let time = Timestamp(self.time[at]);
        let segment = Segment {
            time,
            packet: PacketId::new(capture, u64::from(self.number[at]) + before),
            hash: flow_hash(src, src_port, dst, dst_port),
            src,
            dst,
            src_port,
            dst_port,
            seq: Seq(seq),
            ack: Seq(ack),
            payload,
            window,
            ip_id,
            tsval,
            tsecr,
            mss,
            traits: Traits(traits),
            neighbours,
            flags: Flags(flags),
            options: TcpOptions(options),
            window_scale,
            ttl,
            tos,
        };
        Ordered { segment, latest: self.latest.map_or(time, |latest| Timestamp(latest[at])) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(all: &[Ordered]) -> Result<Vec<u8>, Error> {
        let mut builder = Builder::default();
        all.chunks(100).for_each(|some| builder.add(some));
        let body = builder.write();
        assert!(builder.is_empty());
        body
    }

    fn some(count: u32, v6: bool) -> Vec<Ordered> {
        let address = |n: u32| match v6 {
            true => join(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, (n % 7) as u8, 0, 0, 0, 0], n),
            false => Address::v4(n.to_be_bytes()),
        };
        let one = |n: u32| {
            let (src, dst) = (address(n), address(n.wrapping_mul(77)));
            let segment = Segment {
                time: Timestamp(i64::from(n) * 1_000),
                packet: PacketId::new(3, u64::from(n) + 1),
                hash: flow_hash(src, n as u16, dst, 443),
                src,
                dst,
                src_port: n as u16,
                dst_port: 443,
                seq: Seq(n.wrapping_mul(1 << 20)),
                ack: Seq(n),
                payload: n * 3,
                window: n as u16,
                ip_id: n as u16 ^ 1,
                tsval: n,
                tsecr: n + 1,
                mss: 1460,
                traits: Traits(n as u16 & 0x3fff),
                neighbours: n as u16,
                flags: Flags(n as u8),
                options: TcpOptions(n as u8 ^ 3),
                window_scale: 7,
                ttl: 64,
                tos: 1,
            };
            Ordered { segment, latest: segment.time }
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn segments_come_back_as_they_were() {
        for (count, v6) in [(0, false), (1, false), (5_000, false), (300, true), (MOST as u32, true)] {
            let all = some(count, v6);
            assert_eq!(read(&write(&all).unwrap(), 3, 0).unwrap(), all, "{count} {v6}");
        }
        let moved = read(&write(&some(2, false)).unwrap(), 9, 100).unwrap();
        assert_eq!(moved[1].segment.packet, PacketId::new(9, 102));
    }

    #[test]
    fn a_clock_that_steps_back_is_kept() {
        let mut all = some(10, false);
        all[7].latest = Timestamp(1 << 40);
        assert_eq!(read(&write(&all).unwrap(), 3, 0).unwrap(), all);
    }

    #[test]
    fn a_segment_takes_64_bytes_at_most() {
        let body = write(&some(MOST as u32, false)).unwrap();
        assert!(body.len() <= 64 * MOST, "{} bytes a segment", body.len() as f64 / MOST as f64);
    }

    #[test]
    fn other_columns_are_refused() {
        let schema = Arc::new(Schema::new(vec![Field::new("time", DataType::Int64, false)]));
        let column: ArrayRef = Arc::new(PrimitiveArray::<Int64Type>::from(vec![1]));
        let mut body = Vec::new();
        let mut stream = StreamWriter::try_new(&mut body, &schema).unwrap();
        stream.write(&RecordBatch::try_new(schema, vec![column]).unwrap()).unwrap();
        stream.finish().unwrap();
        drop(stream);
        let refused = read(&body, 0, 0).unwrap_err().to_string();
        assert!(refused.contains("no column"), "{refused}");
    }
}
