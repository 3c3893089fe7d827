//! One model, many renderings. A renderer computes nothing: it groups and counts for display, no more.

pub mod clock;
pub mod diff;
pub mod glossary;
pub mod html;
pub mod json;
pub mod jsonl;
pub(crate) mod ladder;
pub mod markdown;
mod markup;
pub mod pcapng;
mod route;
pub mod schema;
pub mod step;
mod summary;
pub mod terminal;
pub mod text;
pub(crate) mod words;

#[cfg(test)]
pub(crate) mod samples;
