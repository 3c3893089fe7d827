//! How bad an incident is: by the share of connections that were lost and for how long, not by its kind alone.
//!
//! A detector says how one connection ended: lost (critical), delayed (warning), or unharmed (info). One lost
//! connection of many is an everyday event; half of them for ten seconds is an outage.

use crate::detect::registry;
use crate::detect::spec::Property;
use crate::diagnose::write::Written;
use crate::model::{Kind, Severity};
use crate::time::Span;

/// This many lost connections are not chance.
const SEVERAL: u64 = 3;
/// This many answers without a connection are more than a few, even at once.
const NOT_A_FEW: u64 = 5;
/// A share of connections that users notice, in per cent.
const NOTICED: u64 = 10;
/// A share of connections that makes a service useless to its users, in per cent.
const MOST: u64 = 50;
/// A share that is below notice unless many connections are lost, in per cent.
const FEW: u64 = 1;
/// This many lost connections are an outage for some users, whatever their share.
const MANY: u64 = 10;
/// A disturbance that lasts this long can still be going on when somebody looks.
const LASTING: Span = Span::secs(10);

/// The effect of an incident on its clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Impact {
    /// Connections that were lost.
    pub lost: u64,
    /// Connections that were delayed or otherwise impaired.
    pub impaired: u64,
    /// Connections attempted at the same place in that time, all of these included.
    pub attempts: u64,
    /// From the first to the last of them.
    pub lasted: Span,
}

impl Impact {
    /// Adds up the findings of one incident, which lasted this long; `attempts` if they are known.
    pub fn of(found: &[&Written], attempts: Option<u64>, lasted: Span) -> Impact {
        let count = |such: fn(&Written) -> bool| found.iter().filter(|w| such(w)).count() as u64;
        let (lost, impaired) = (count(is_lost), count(|w| w.outline.harm == Severity::Warning));
        let attempts = attempts.unwrap_or(0).max(found.len() as u64);
        Impact { lost, impaired, attempts, lasted }
    }

    /// Whether at least `percent` of the attempts were `part`.
    fn reaches(&self, part: u64, percent: u64) -> bool {
        part * 100 >= self.attempts * percent
    }
}

/// How bad it is.
pub fn of(kind: Kind, toll: &Impact) -> Severity {
    let several = toll.lost >= SEVERAL;
    let noticed = several && toll.reaches(toll.lost, NOTICED);
    let lasting = toll.lasted >= LASTING;
    let spec = registry::spec(kind);
    // A handshake that was never completed is no everyday loss.
    if spec.has(Property::IsAnswered) || (spec.has(Property::IsMadeUpFor) && toll.lost == 0) {
        // A refusal or a reset is an answer: clients go on at once, and a few of them are intended.
        let noticed = noticed && (toll.lost >= NOT_A_FEW || lasting);
        return match () {
            () if noticed && toll.lost >= MANY && lasting && toll.reaches(toll.lost, MOST) => {
                Severity::Critical
            }
            () if noticed => Severity::Warning,
            () if toll.impaired >= SEVERAL && toll.reaches(toll.impaired, NOTICED) => Severity::Warning,
            () => Severity::Info,
        };
    }
    if spec.has(Property::EndsConnection) {
        let outage = lasting && (noticed || toll.lost >= MANY && toll.reaches(toll.lost, FEW));
        return match () {
            () if outage => Severity::Critical,
            () if several || toll.impaired >= SEVERAL => Severity::Warning,
            () if toll.lost + toll.impaired > 0 && toll.reaches(toll.lost + toll.impaired, FEW) => {
                Severity::Warning
            }
            () => Severity::Info,
        };
    }
    match () {
        () if noticed => Severity::Critical,
        // An address of which nothing was heard may be one dead peer of many.
        () if toll.lost > 0 && toll.reaches(toll.lost, MOST) && !spec.has(Property::MayBeScan) => {
            Severity::Critical
        }
        () if toll.lost >= MANY && lasting && toll.reaches(toll.lost, FEW) => Severity::Critical,
        // One or two of many connections that were set up late: packets are lost every day.
        () if toll.lost == 0
            && spec.has(Property::MayBeScan)
            && toll.impaired < SEVERAL
            && !toll.reaches(toll.impaired, NOTICED) =>
        {
            Severity::Info
        }
        () if toll.lost > 0 || toll.impaired > 0 => Severity::Warning,
        () => Severity::Info,
    }
}

/// Whether the connection failed.
fn is_lost(w: &Written) -> bool {
    w.outline.harm == Severity::Critical
}

/// A finding's severity within its incident: never above it. A lost connection of an everyday kind has the incident's
/// severity.
pub fn within(incident: Severity, w: &Written) -> Severity {
    if is_lost(w) { incident } else { incident.min(w.outline.harm) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toll(lost: u64, attempts: u64, seconds: i64) -> Impact {
        Impact { lost, impaired: 0, attempts, lasted: Span::secs(seconds) }
    }

    #[test]
    fn a_connection_that_dies_is_a_warning_and_an_outage_is_critical() {
        for kind in
            [Kind::DataUnacknowledged, Kind::IdleFlowDropped, Kind::InjectedReset, Kind::StaleConnection]
        {
            assert_eq!(of(kind, &toll(1, 1, 60)), Severity::Warning);
            assert_eq!(of(kind, &toll(1, 1_000, 60)), Severity::Info);
            assert_eq!(of(kind, &toll(5, 5, 40)), Severity::Critical);
            assert_eq!(of(kind, &toll(5, 5, 1)), Severity::Warning);
            assert_eq!(of(kind, &toll(5, 1_000, 60)), Severity::Warning);
            assert_eq!(of(kind, &toll(20, 1_000, 60)), Severity::Critical);
        }
    }

    #[test]
    fn refusals_of_all_connections_are_no_small_thing() {
        assert_eq!(of(Kind::ConnectionRefused, &toll(7, 7, 1)), Severity::Warning);
        assert_eq!(of(Kind::ConnectionRefused, &toll(40, 40, 30)), Severity::Critical);
        assert_eq!(of(Kind::ConnectionRefused, &toll(4, 4, 1)), Severity::Info);
        assert_eq!(of(Kind::ConnectionRefused, &toll(4, 4, 18)), Severity::Warning);
        assert_eq!(of(Kind::ConnectionRefused, &toll(5, 1_000, 60)), Severity::Info);
    }

    #[test]
    fn one_dead_peer_is_no_outage() {
        assert_eq!(of(Kind::SynUnanswered, &toll(1, 1, 7)), Severity::Warning);
        assert_eq!(of(Kind::SynUnanswered, &toll(3, 3, 7)), Severity::Critical);
        assert_eq!(of(Kind::AcceptQueueOverflow, &toll(1, 1, 7)), Severity::Critical);
        assert_eq!(of(Kind::AcceptQueueOverflow, &toll(1, 200, 7)), Severity::Warning);
    }

    #[test]
    fn one_late_connection_of_many_is_no_warning() {
        let late = |impaired, attempts| Impact { impaired, lost: 0, ..toll(0, attempts, 3) };
        assert_eq!(of(Kind::SynUnanswered, &late(1, 60)), Severity::Info);
        assert_eq!(of(Kind::SynUnanswered, &late(1, 5)), Severity::Warning);
        assert_eq!(of(Kind::SynUnanswered, &late(3, 60)), Severity::Warning);
        assert_eq!(of(Kind::SynDropAcceptQueue, &late(1, 60)), Severity::Warning);
    }

    #[test]
    fn a_small_share_that_lasts_is_an_outage_for_many() {
        assert_eq!(of(Kind::AcceptQueueOverflow, &toll(41, 1_000, 45)), Severity::Critical);
        assert_eq!(of(Kind::AcceptQueueOverflow, &toll(41, 100_000, 45)), Severity::Warning);
        assert_eq!(of(Kind::AcceptQueueOverflow, &toll(4, 1_000, 45)), Severity::Warning);
    }

    #[test]
    fn what_was_only_delayed_is_never_critical() {
        let delayed = Impact { lost: 0, impaired: 500, attempts: 500, lasted: Span::secs(100) };
        assert_eq!(of(Kind::AcceptQueueOverflow, &delayed), Severity::Warning);
        assert_eq!(of(Kind::HandshakeLoss, &Impact { impaired: 0, ..delayed }), Severity::Info);
    }

    #[test]
    fn every_kind_rises_with_its_toll() {
        for kind in Kind::ALL {
            assert!(of(kind, &toll(100, 100, 60)) == Severity::Critical, "{kind}");
            assert!(of(kind, &toll(100, 100, 60)) >= of(kind, &toll(100, 10_000, 60)), "{kind}");
            assert_eq!(of(kind, &toll(0, 100, 60)), Severity::Info, "{kind}");
        }
    }
}
