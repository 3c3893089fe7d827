//! The text format of the metrics: OpenMetrics, in an order that never changes.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::book::{MetricValues, OTHER};
use crate::live::state::ListenerState;

/// The page.
pub(super) fn page(book: &MetricValues) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(MetricsPage(book.clone())));
    let mut text = String::new();
    // Writing to a `String` does not fail.
    let _ = encode(&mut text, &registry);
    text
}

#[derive(Debug)]
struct MetricsPage(MetricValues);

/// Names and values of labels.
type Labels<'l> = Vec<(&'static str, &'l str)>;

struct MetricsWriter<'e>(DescriptorEncoder<'e>);

impl MetricsWriter<'_> {
    /// A counter; `name` without `_total`.
    fn counters<'l, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<'l>, V)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            if labels.is_empty() {
                metric.encode_counter::<NoLabelSet, V, u64>(&value, None)?;
            } else {
                metric.encode_family(&labels)?.encode_counter::<NoLabelSet, V, u64>(&value, None)?;
            }
        }
        Ok(())
    }

    /// A gauge; `name` without its unit.
    fn gauges<'l, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        values: impl IntoIterator<Item = (Labels<'l>, V)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        for (labels, value) in values {
            if labels.is_empty() {
                metric.encode_gauge(&value)?;
            } else {
                metric.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}

impl Collector for MetricsPage {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = MetricsWriter(encoder);
        let state = &self.0.state;
        out.0
            .encode_descriptor("synscope_build", "The program that is watching.", None, MetricType::Info)?
            .encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        out.gauges(
            "synscope_start_time",
            "When the watch began.",
            Some(Unit::Seconds),
            [(vec![], seconds(state.began.0))],
        )?;
        let interfaces = || state.interfaces.iter().map(|i| (vec![("interface", i.name.as_str())], i));
        out.gauges(
            "synscope_interface_up",
            "Whether packets can come from the interface.",
            None,
            interfaces().map(|(labels, interface)| (labels, u64::from(interface.up))),
        )?;
        out.counters(
            "synscope_packets",
            "Packets taken in.",
            interfaces().map(|(labels, interface)| (labels, interface.packets)),
        )?;
        let dropped = state.interfaces.iter().flat_map(|interface| {
            [("buffer", interface.dropped_by_kernel), ("interface", interface.dropped_by_interface)].map(
                |(place, dropped)| (vec![("interface", interface.name.as_str()), ("place", place)], dropped),
            )
        });
        out.counters(
            "synscope_dropped_packets",
            "Packets that never came here: no room in the kernel's capture buffer, or dropped by interface or driver.",
            dropped,
        )?;
        self.connections(&mut out)?;
        self.findings(&mut out)?;
        self.listeners(&mut out)?;
        out.counters(
            "synscope_kernel_counter_rise",
            "How much counters of the kernel have risen since the watch began, by their names in nstat.",
            state.counters.iter().map(|(name, rose)| (vec![("counter", name.as_str())], *rose)),
        )?;
        out.counters(
            "synscope_unexplained_counter_rise",
            "The part of that rise that no captured packet explains.",
            self.0.unexplained.iter().map(|(name, rose)| (vec![("counter", name.as_str())], *rose)),
        )?;
        out.counters(
            "synscope_warnings",
            "Warnings about what limits the watch.",
            [(vec![], self.0.warnings)],
        )?;
        out.gauges(
            "synscope_lag",
            "How far the analysis is behind the newest packet.",
            Some(Unit::Seconds),
            [(vec![], seconds(state.lag.0))],
        )?;
        self.memory(&mut out)
    }
}

impl MetricsPage {
    fn connections(&self, out: &mut MetricsWriter<'_>) -> fmt::Result {
        let state = &self.0.state;
        out.counters("synscope_segments", "TCP segments taken in.", [(vec![], state.total.segments)])?;
        out.counters(
            "synscope_connection_attempts",
            "Connections tried: SYNs, repetitions not counted.",
            [(vec![], state.total.attempts)],
        )?;
        out.counters("synscope_handshakes", "Handshakes completed.", [(vec![], state.total.completed)])?;
        out.gauges(
            "synscope_tracked_connections",
            "Connections in the tables.",
            None,
            [(vec![], state.tracked)],
        )
    }

    fn findings(&self, out: &mut MetricsWriter<'_>) -> fmt::Result {
        let by_kind_and_listener = self.0.findings.iter().map(|((kind, listener), count)| {
            (vec![("kind", kind.name()), ("listener", listener.as_str())], *count)
        });
        out.counters(
            "synscope_findings",
            "Findings issued, by the kind that each had then and the listening socket.",
            by_kind_and_listener,
        )?;
        out.counters(
            "synscope_withdrawn_findings",
            "Findings taken back: later packets disproved them.",
            [(vec![], self.0.withdrawn)],
        )?;
        let mut open: BTreeMap<(&'static str, String, &'static str), u64> = BTreeMap::new();
        for watched in self.0.state.incidents.iter().filter(|watched| watched.open) {
            let listener = self.0.label(watched.incident.listener);
            let place = (watched.incident.kind.name(), listener, watched.phase.name());
            *open.entry(place).or_default() += 1;
        }
        out.gauges(
            "synscope_open_incidents",
            "Open incidents, by phase: growing, steady, recovering.",
            None,
            open.iter().map(|((kind, listener, phase), count)| {
                (vec![("kind", *kind), ("listener", listener.as_str()), ("state", *phase)], *count)
            }),
        )?;
        out.counters(
            "synscope_closed_incidents",
            "Incidents that have ended.",
            self.0.closed.iter().map(|(kind, count)| (vec![("kind", kind.name())], *count)),
        )
    }

    fn listeners(&self, out: &mut MetricsWriter<'_>) -> fmt::Result {
        let listeners = &self.0.state.listeners;
        out.gauges("synscope_listeners", "Listeners known.", None, [(vec![], listeners.len() as u64)])?;
        for (name, help, pick) in [
            (
                "synscope_accept_queue_length",
                "Connections that wait to be accepted.",
                (|listener| listener.queue) as fn(&ListenerState) -> Option<u32>,
            ),
            ("synscope_accept_queue_limit", "How many may wait; one more fits.", |listener| listener.limit),
            (
                "synscope_accept_queue_longest",
                "The most that have waited since the watch began.",
                |listener| listener.longest,
            ),
        ] {
            // The queues of several listeners have no meaningful sum: those without a label of their own are left out.
            let own: BTreeMap<(String, String), u32> = listeners
                .iter()
                .filter_map(|listener| {
                    let label = self.0.listener(Some(listener.address));
                    Some(((label, socket(listener)), pick(listener)?))
                })
                .filter(|((label, _), _)| label != OTHER)
                .collect();
            let values = own.iter().map(|((label, socket), value)| {
                let mut labels = vec![("listener", label.as_str())];
                labels.extend((!socket.is_empty()).then_some(("socket", socket.as_str())));
                (labels, *value)
            });
            out.gauges(name, help, None, values)?;
        }
        out.counters(
            "synscope_listener_drops",
            "Segments that the kernel dropped at listening sockets.",
            self.0.drops.iter().map(|(label, dropped)| (vec![("listener", label.as_str())], *dropped)),
        )?;
        self.states(out)
    }

    /// The states of each listener's sockets.
    fn states(&self, out: &mut MetricsWriter<'_>) -> fmt::Result {
        let own: BTreeMap<String, &ListenerState> = self
            .0
            .state
            .listeners
            .iter()
            .filter(|listener| listener.of_several.is_none_or(|(n, _)| n == 1))
            .map(|listener| (self.0.listener(Some(listener.address)), listener))
            .filter(|(label, _)| label != OTHER)
            .collect();
        let states = own.iter().filter_map(|(label, listener)| Some((label, listener.states?)));
        let values = states.flat_map(|(label, states)| {
            let all = [
                ("close-wait", Some(states.close_wait)),
                ("syn-recv", Some(states.syn_recv)),
                ("time-wait", states.time_wait),
            ];
            all.into_iter().filter_map(move |(state, n)| {
                Some((vec![("listener", label.as_str()), ("state", state)], n?))
            })
        });
        out.gauges(
            "synscope_listener_sockets",
            "Sockets of the listener's connections, in states that tell of trouble.",
            None,
            values,
        )?;
        out.gauges(
            "synscope_listener_accepted",
            "About how many connections the application accepted in the last second.",
            None,
            own.iter().filter_map(|(label, listener)| {
                Some((vec![("listener", label.as_str())], listener.accepted?))
            }),
        )
    }

    fn memory(&self, out: &mut MetricsWriter<'_>) -> fmt::Result {
        let (used, budget) = self.0.state.memory;
        out.gauges("synscope_tables", "Memory of the tables.", Some(Unit::Bytes), [(vec![], used)])?;
        out.gauges(
            "synscope_tables_limit",
            "Memory that the tables may take.",
            Some(Unit::Bytes),
            [(vec![], budget)],
        )?;
        out.gauges(
            "process_resident_memory",
            "Resident memory of the program.",
            Some(Unit::Bytes),
            resident().map(|bytes| (vec![], bytes)),
        )
    }
}

/// The label of one of several sockets that share an address by `SO_REUSEPORT`, the worst first; empty for a single
/// socket.
fn socket(listener: &ListenerState) -> String {
    listener.of_several.map(|(n, _)| n.to_string()).unwrap_or_default()
}

fn seconds(nanoseconds: i64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// Resident memory of this process, bytes, where the system tells (proc(5), `VmRSS`).
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
