//! The format of the log: written as it is documented, read whatever the bytes are.

mod corpus;
mod golden;
mod round_trip;
