//! Real processes: that they run as told, that they end as told, and that nothing of them is left.

#[allow(dead_code, reason = "nothing here plays against beanstalkd")]
#[path = "../../../tests/support/peer.rs"]
mod peer;

mod cgroup;
mod ending;
mod input_output;
mod keeper;
mod limits;
mod load;
mod persistent;
mod starting;
mod support;
mod survivors;
