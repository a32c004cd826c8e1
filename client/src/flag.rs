//! Servers on a command line.

use std::ffi::OsStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

use crate::endpoint::Endpoint;

/// Reads the value of a flag as an [`Endpoint`]. Other parsers have clap show a value that is wrong, with the
/// token in it; this one does not.
#[derive(Debug, Clone, Copy, Default)]
pub struct EndpointParser;

impl TypedValueParser for EndpointParser {
    type Value = Endpoint;

    fn parse_ref(
        &self,
        command: &Command,
        flag: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Endpoint, Error> {
        value.to_string_lossy().parse().map_err(|error| {
            let flag = flag.map_or_else(|| "...".to_owned(), ToString::to_string);
            let text = format!("invalid value for '{flag}': {error}\n");
            Error::raw(ErrorKind::ValueValidation, text).with_cmd(command)
        })
    }
}
