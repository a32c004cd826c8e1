//! The real programs together: a queue, workers, their processes, and a website that gives inputs
//! and takes results. What is promised of a job is looked at from outside, against our queue and
//! against stock beanstalkd alike.
//!
//! Every scenario ends by counting the processes that its jobs have left, which must be none.

#[path = "../../../tests/support/certificates.rs"]
mod certificates;
#[path = "../../../tests/support/gate.rs"]
mod gate;
#[path = "../../../tests/support/mod.rs"]
mod support;

mod artifacts;
mod callbacks;
mod cancel;
mod chains;
mod clock;
mod commands;
mod concurrency;
mod control;
mod crash;
mod credentials;
mod destinations;
mod http;
mod injected;
mod input;
mod many;
mod outcomes;
mod outputs;
mod poison;
mod proxy;
mod publish;
mod queue;
mod queue_lost;
mod refused;
mod reload;
mod rig;
mod s3;
mod same_id;
mod schedules;
mod secure;
mod settings;
mod several;
mod shared;
mod sick;
mod site;
mod start;
mod startup;
mod suspended;
mod together;
mod user;
mod watching;
mod why;

/// Makes two tests of each scenario: with our queue, and with beanstalkd.
macro_rules! each_queue {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            use crate::queue::Kind;

            #[test]
            fn jq_server() {
                super::$name(Kind::Jq);
            }

            #[test]
            fn beanstalkd() {
                if Kind::Beanstalkd.is_here(stringify!($name)) {
                    super::$name(Kind::Beanstalkd);
                }
            }
        }
    )+};
}
pub(crate) use each_queue;
