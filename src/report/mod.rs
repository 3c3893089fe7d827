//! One model, many renderings. A renderer computes nothing.

pub mod model;
