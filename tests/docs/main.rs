//! The documentation says what is true: links lead somewhere, the tables of flags are those of
//! `--help`, command lines are accepted by the programs that they start, and what can be run on any
//! machine is run.
//!
//! Every Markdown file of the project is read. In a code block labelled `sh`, each line must be a
//! command that is known here; in other blocks, lines that start one of our programs are checked.

#[path = "../support/certificates.rs"]
mod certificates;
#[path = "../support/mod.rs"]
mod support;

mod cargo;
mod commands;
mod examples;
mod flags;
mod links;
mod markdown;
mod numbers;
mod packaging;
mod programs;
mod promises;
mod sessions;
mod shell;
