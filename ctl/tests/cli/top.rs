//! `top`, in a pseudo-terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use nix::pty::{Winsize, openpty};
use serde_json::json;

use crate::each_server;
use crate::rig::Ctl;
use crate::support::{comes_true, eventually};

each_server!(tubes_are_shown_and_acted_on, a_wrong_address_leaves_the_terminal_alone);

/// The program in a terminal of its own.
struct Terminal {
    child: Child,
    keys: File,
    /// What is on the screen.
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Terminal {
    fn of(ctl: &Ctl, args: &[&str]) -> Self {
        let (rows, columns) =
            (const { NonZero::new(24).unwrap() }, const { NonZero::new(140).unwrap() });
        let size =
            Winsize { ws_row: rows.get(), ws_col: columns.get(), ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).expect("there are pseudo-terminals");
        let end = |fd: &OwnedFd| Stdio::from(fd.try_clone().expect("it can be duplicated"));
        let mut command = ctl.command(args);
        command.env("TERM", "xterm").env_remove("NO_COLOR");
        command.stdin(end(&pty.slave)).stdout(end(&pty.slave)).stderr(end(&pty.slave));
        let child = command.spawn().expect("the program is there");
        drop(pty.slave);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let (mut output, keys) =
            (File::from(pty.master.try_clone().unwrap()), File::from(pty.master));
        let seen = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // The terminal is gone with the program: an error, then.
            while let Ok(count @ 1..) = output.read(&mut piece) {
                seen.lock().unwrap().process(&piece[..count]);
            }
        });
        Self { child, keys, screen }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn shows(&self, text: &str) {
        eventually(&format!("{text:?} is on the screen"), || {
            self.screen.lock().unwrap().screen().contents().contains(text)
        });
    }

    fn end(mut self) -> i32 {
        self.child.wait().unwrap().code().expect("no signal")
    }
}

fn tubes_are_shown_and_acted_on(ctl: &Ctl) {
    ctl.ok(&["put", "mail", "a-body-to-see"]);
    ctl.ok(&["bury", "1"]);
    let mut top = Terminal::of(ctl, &["top"]);
    top.shows("mail");
    // The selected one is the first, which is the one that has trouble.
    top.shows("buried jobs");
    top.press("\r");
    top.shows("first buried: job 1, 13 bytes");
    top.shows("a-body-to-see");
    top.press("q");
    top.press("k");
    top.shows("Kick all buried");
    top.press("n");
    top.shows("nothing was done");
    assert_eq!(ctl.json(&["job", "1"])["state"], json!("buried"));
    top.press("ky");
    assert!(comes_true(|| ctl.json(&["job", "1"])["state"] == json!("ready")));
    top.press("py");
    assert!(comes_true(|| ctl.json(&["tube", "mail"])["pause"] == json!(60)));
    top.press("ry");
    assert!(comes_true(|| ctl.json(&["tube", "mail"])["pause"] == json!(0)));
    top.press("q");
    assert_eq!(top.end(), 0);
}

fn a_wrong_address_leaves_the_terminal_alone(_: &Ctl) {
    let top = Terminal::of(&Ctl::to("127.0.0.1:1"), &["top"]);
    top.shows("cannot connect to 127.0.0.1:1");
    assert!(!top.screen.lock().unwrap().screen().alternate_screen());
    assert_eq!(top.end(), 6);
}

#[test]
fn it_needs_a_terminal() {
    let said = Ctl::to("127.0.0.1:1").run(&["top"]);
    assert_eq!(said.status, 5, "{said:?}");
}
