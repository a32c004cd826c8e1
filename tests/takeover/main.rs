//! Coming from the real beanstalkd and going back to it, with the real programs: what each of them
//! told of every job, the other one tells too.

#[path = "../support/mod.rs"]
mod support;

mod back;
mod buried;
mod five;
mod import;
mod load;
mod lock;
mod peer;
mod refuse;
mod told;
