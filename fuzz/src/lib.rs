//! What the fuzz targets do with their input, apart from libFuzzer.
//!
//! Each target is a plain function, so that the ordinary tests of the crates can
//! include it and replay the corpus on any machine.

pub mod access;
pub mod corpus;
pub mod decoder;
pub mod engine_ops;
pub mod job;
pub mod journal;
pub mod packs;
pub mod replay;
pub mod result;
