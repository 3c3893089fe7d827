//! The finding kinds, one file each, and their list in the order of [`Kind::ALL`](crate::model::Kind::ALL).

use crate::detect::spec::KindSpec;

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
pub mod zero_window_stall;

/// All kinds.
pub const ALL: &[&KindSpec] = &[
    &accept_queue_overflow::SPEC,
    &accept_queue_reset::SPEC,
    &syn_drop_accept_queue::SPEC,
    &syn_drop_syn_queue::SPEC,
    &syn_drop_timestamp::SPEC,
    &syn_unanswered::SPEC,
    &syn_flood::SPEC,
    &syncookies::SPEC,
    &time_wait_collision::SPEC,
    &connection_refused::SPEC,
    &handshake_loss::SPEC,
    &defer_accept::SPEC,
    &fastopen_fallback::SPEC,
    &listener_closed::SPEC,
    &half_close::SPEC,
    &fin_wait2_expired::SPEC,
    &abortive_close::SPEC,
    &fin_unacknowledged::SPEC,
    &time_wait_pressure::SPEC,
    &syn_ack_unanswered::SPEC,
    &data_unacknowledged::SPEC,
    &path_mtu_blackhole::SPEC,
    &idle_flow_dropped::SPEC,
    &injected_reset::SPEC,
    &idle_close_race::SPEC,
    &zero_window_stall::SPEC,
    &stale_connection::SPEC,
    #[cfg(test)]
    &exercise::SPEC,
];
