//! The finding kinds, one file each. A new one needs one line here.

use crate::detect::spec::KindSpec;
use crate::model::each_kind;

pub mod abortive_close;
pub mod accept_queue_overflow;
pub mod accept_queue_reset;
pub mod connection_refused;
pub mod data_unacknowledged;
pub mod defer_accept;
#[cfg(test)]
pub mod exercise;
pub mod fastopen_fallback;
pub mod fin_unacknowledged;
pub mod fin_wait2_expired;
pub mod half_close;
pub mod handshake_loss;
pub mod idle_close_race;
pub mod idle_flow_dropped;
pub mod injected_reset;
pub mod listener_closed;
pub mod path_mtu_blackhole;
pub mod stale_connection;
pub mod syn_ack_unanswered;
pub mod syn_drop_accept_queue;
pub mod syn_drop_syn_queue;
pub mod syn_drop_timestamp;
pub mod syn_flood;
pub mod syn_unanswered;
pub mod syncookies;
pub mod time_wait_collision;
pub mod time_wait_pressure;
pub mod untranslated_segment;
pub mod zero_window_stall;

/// Lists the kinds, in the order of [`Kind::ALL`](crate::model::Kind::ALL).
macro_rules! list_kinds {
    ($($(#[doc = $doc:literal])+ $(#[cfg($cfg:meta)])? $kind:ident $file:ident $name:literal,)+) => {
        /// All kinds.
        pub const ALL: &[&KindSpec] = &[$($(#[cfg($cfg)])? &$file::SPEC),+];
    };
}
each_kind!(list_kinds);
