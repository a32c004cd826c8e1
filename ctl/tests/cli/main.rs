//! The real program, against our server and against beanstalkd.

#[path = "../../../tests/support/certificates.rs"]
mod certificates;
#[path = "../../../tests/support/gate.rs"]
mod gate;
#[path = "../../../tests/support/mod.rs"]
mod support;

mod http;
mod import;
mod queue;
mod rig;
mod secure;
mod settings;
mod top;

/// Makes two tests of each: with our server, and with beanstalkd.
macro_rules! each_server {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[test]
            fn jq_server() {
                let server = crate::support::Server::jq(&[] as &[&str]);
                super::$name(&crate::rig::Ctl::of(&server));
            }

            #[test]
            fn beanstalkd() {
                let Some(program) = crate::support::beanstalkd(stringify!($name)) else { return };
                let server = crate::support::Server::start(&program, &[] as &[&str]);
                super::$name(&crate::rig::Ctl::of(&server));
            }
        }
    )+};
}
pub(crate) use each_server;
