//! One file per finding kind, each a pure function of the facts and of what surrounds them.

pub mod abortive_close;
pub mod accept_queue_overflow;
pub mod accept_queue_reset;
pub mod connection_refused;
pub mod defer_accept;
pub mod fastopen_fallback;
pub mod fin_unacknowledged;
pub mod fin_wait2_expired;
pub mod half_close;
pub mod handshake_loss;
pub mod listener_closed;
pub mod syn_drop_accept_queue;
pub mod syn_drop_syn_queue;
pub mod syn_drop_timestamp;
pub mod syn_flood;
pub mod syn_unanswered;
pub mod syncookies;
pub mod time_wait_collision;
pub mod time_wait_pressure;
