//! Connections that were only counted, assigned to incidents: an incident of a flood is larger than the connections
//! that were examined one by one.

use std::collections::BTreeMap;

use crate::decode::segment::PacketId;
use crate::diagnose::write::Written;
use crate::flow::key::Map;
use crate::history::remarkable::{CountedOnly, TriageClass};
use crate::model::{Incident, Unexamined};

/// Assigns each class of `left_out` to the incident to which most examined connections of that class belong. `classes`
/// are those of the examined connections. A class needs an examined connection with a finding to have an incident.
pub fn assign_to_incidents(
    incidents: &mut [Incident],
    written: &[Written],
    classes: &Map<PacketId, TriageClass>,
    left_out: &Map<TriageClass, CountedOnly>,
) {
    if left_out.is_empty() {
        return;
    }
    let places = incidents.iter().enumerate();
    let places: Map<&str, usize> =
        places.flat_map(|(n, incident)| incident.findings.iter().map(move |id| (id.as_str(), n))).collect();
    let mut examined: BTreeMap<TriageClass, BTreeMap<usize, u64>> = BTreeMap::new();
    for w in written {
        let class = w.outline.connection.and_then(|connection| classes.get(&connection));
        let class = class.filter(|class| left_out.contains_key(class));
        if let (Some(class), Some(place)) = (class, places.get(w.finding.id.as_str())) {
            *examined.entry(*class).or_default().entry(*place).or_default() += 1;
        }
    }
    let mut found: BTreeMap<usize, CountedOnly> = BTreeMap::new();
    for (class, places) in examined {
        // Of several incidents with equally many, the last: the first connections of a class are those that are
        // examined.
        if let Some((&place, _)) = places.iter().max_by_key(|(place, n)| (**n, incidents[**place].first)) {
            found.entry(place).or_default().add(left_out[&class]);
        }
    }
    for (place, CountedOnly { connections, last, .. }) in found {
        incidents[place].unexamined = Some(Unexamined { connections, last });
    }
}

#[cfg(test)]
mod tests {
    use crate::capture::MemorySource;
    use crate::engine::{self, AnalysisOptions};
    use crate::flow::wire::Wire;
    use crate::model::{Kind, Report};

    fn analyze(wire: &Wire, memory_limit: u64) -> Report {
        let options = AnalysisOptions { threads: 1, memory_limit, ..AnalysisOptions::default() };
        let source = MemorySource::new(wire.packets());
        engine::analyze_source(Box::new(source), &options, &mut |_| ()).expect("one thread starts").report
    }

    /// 200 clients whose handshake the listener ignores.
    fn crowd() -> Wire {
        let wire = Wire::at_server();
        for n in 0..200 {
            let (l, t) = (wire.ladder(n), f64::from(n) * 0.1);
            l.client.syn(t);
            l.server.syn_ack(t + 0.001);
            l.client.ack(t + 0.02);
            for wait in [1.0, 3.0, 7.0] {
                l.server.syn_ack(t + wait);
                l.client.ack(t + wait + 0.02);
            }
        }
        wire
    }

    #[test]
    fn what_was_only_counted_is_told_with_the_incident_that_it_belongs_to() {
        let (all, few) = (analyze(&crowd(), 1 << 30), analyze(&crowd(), 4 << 20));
        let [all, few] = [&all, &few].map(|report| {
            report.incidents.iter().find(|i| i.kind == Kind::AcceptQueueOverflow).expect("an overflow")
        });
        assert_eq!((all.connections, &all.unexamined), (200, &None));
        let unexamined = few.unexamined.as_ref().expect("more than are examined in 4 MiB");
        assert!(few.connections < 200, "{}", few.connections);
        assert_eq!(few.connections + unexamined.connections, 200);
        assert!(unexamined.last > few.last, "the first ones are examined");
    }
}
