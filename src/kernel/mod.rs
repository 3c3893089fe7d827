//! The running kernel's statements about single packets: that it dropped one, why, where, and how full the queues were.
//!
//! ```text
//!  bpf  ->  statements  ->  join (with the segments of a capture)  ->  judgements by packet  ->  diagnose
//!  recording  ->                        comments of a pcapng file  ->
//! ```
//!
//! * [`verdict`]: statements, and judgements of single packets.
//! * [`join`]: which packet of the capture a statement is about.
//! * [`trust`]: what a judgement proves.
//! * [`comment`]: a judgement as the comment of a packet.
//! * [`recording`]: statements as lines of a file, for a capture that another program writes.
//! * [`table`]: the judgements of a capture.
//! * `bpf` (Linux): the programs that ask the kernel.

#[cfg(target_os = "linux")]
pub mod bpf;
pub mod comment;
pub mod join;
pub mod recording;
pub mod table;
pub mod trust;
pub mod verdict;
