//! Opens the inputs as one stream in time order.

use std::path::PathBuf;

use super::Source;
use super::input::{MOST_INPUTS, OpenError, is_standard_input, open_one};
use super::order::MergedInputs;
use super::stop::StopRequest;

/// What [`open`] has opened.
pub struct OpenedInputs {
    /// The packets of all inputs that could be opened, as one stream in time order.
    pub source: Box<dyn Source>,
    /// Why the others could not. The same messages stand as damage in [`Source::status`].
    pub errors: Vec<OpenError>,
}

/// Opens `inputs` (`-` is standard input) as one stream of packets in time order.
///
/// Waits until the first bytes of each input are there; with several inputs, until each one's first packet is. Inputs
/// that cannot be opened or recognised are left out and reported, as long as another can.
///
/// # Errors
/// When not one input can be opened and recognised, or they are too many: one message each.
pub fn open(inputs: &[PathBuf]) -> Result<OpenedInputs, Vec<OpenError>> {
    open_some(inputs, &vec![true; inputs.len()])
}

/// The same of those `inputs` that are `wanted`, place by place: the others keep their places, unread.
///
/// # Errors
/// As [`open`].
pub fn open_some(inputs: &[PathBuf], wanted: &[bool]) -> Result<OpenedInputs, Vec<OpenError>> {
    open_until(inputs, wanted, &StopRequest::default())
}

/// The same; pipes among the inputs end soon after `stop` was asked for. A reader of files must check `stop` itself.
///
/// # Errors
/// As [`open`].
pub fn open_until(
    inputs: &[PathBuf],
    wanted: &[bool],
    stop: &StopRequest,
) -> Result<OpenedInputs, Vec<OpenError>> {
    if inputs.is_empty() {
        return Err(vec![OpenError::NoInput]);
    }
    if inputs.len() > MOST_INPUTS {
        return Err(vec![OpenError::TooMany(inputs.len())]);
    }
    let mut merged = MergedInputs::default();
    let mut errors = Vec::new();
    let mut standard_input = false;
    let many = wanted.iter().filter(|&&wanted| wanted).count();
    for (place, path) in inputs.iter().enumerate() {
        if !wanted.get(place).is_some_and(|&wanted| wanted) {
            merged.add_unread(path);
            continue;
        }
        let again = is_standard_input(path) && std::mem::replace(&mut standard_input, true);
        let reader =
            if again { Err(OpenError::StandardInputTwice) } else { open_one(path, place as u16, stop) };
        match reader {
            Ok(reader) if many == 1 => merged.add_only(path, reader),
            Ok(reader) => merged.add(path, reader),
            Err(error) => {
                merged.add_failed(path, &error);
                errors.push(error);
            }
        }
    }
    if errors.len() == many {
        return Err(errors);
    }
    Ok(OpenedInputs { source: Box::new(merged), errors })
}
