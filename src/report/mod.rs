//! One model, many renderings. A renderer computes nothing: it groups and counts for display, no more.

pub mod clock;
pub mod filter;
pub mod json;
pub mod model;
pub mod schema;
pub mod terminal;
pub mod text;

#[cfg(test)]
pub(crate) mod samples;
