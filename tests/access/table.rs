//! Each right against each command, from one table; and that what is refused changes nothing.

use crate::scene::Scene;
use crate::support::Conn;

/// The rights, in the order of the columns.
const RIGHTS: [&str; 6] = ["put", "reserve", "peek", "kick", "pause", "delete"];

/// A principal for each right alone, in the tube "yes"; one with all; and one with all in another tube.
fn principals() -> (String, Vec<String>) {
    let mut text = String::new();
    let mut names = Vec::new();
    for right in RIGHTS {
        text += &format!("[[principal]]\nname = \"{right}\"\n{right} = [\"yes\"]\n");
        names.push(right.to_owned());
    }
    for (name, tube) in [("all", "y*"), ("elsewhere", "else*")] {
        text += &format!("[[principal]]\nname = \"{name}\"\n");
        text.extend(RIGHTS.map(|right| format!("{right} = [\"{tube}\"]\n")));
        names.push(name.to_owned());
    }
    text += "[[principal]]\nname = \"none\"\n";
    names.push("none".to_owned());
    (text, names)
}

/// Each command, as it is asked in the tube "yes", which is used if that is possible; a mark for each right
/// that is enough alone; and how the reply begins then. `%R`, `%D` and `%B` are a ready, a delayed and a
/// buried job in that tube.
const TABLE: &[(&str, &str, &str)] = &[
    // put reserve peek kick pause delete
    ("put 0 0 60 1\r\nx", "x.....", "INSERTED"),
    ("use yes", "xxxxxx", "USING yes"),
    ("watch yes", ".x....", "WATCHING"),
    ("ignore default", "xxxxxx", ""),
    ("reserve-job %R", ".x....", "RESERVED"),
    ("delete %R", ".....x", "DELETED"),
    // Nobody has reserved it, which the queue says whoever asks.
    ("release %R 0 0", "xxxxxx", "NOT_FOUND"),
    ("bury %R 0", "xxxxxx", "NOT_FOUND"),
    ("touch %R", "xxxxxx", "NOT_FOUND"),
    ("peek %R", "..x...", "FOUND"),
    ("peek-ready", "..x...", "FOUND"),
    ("peek-delayed", "..x...", "FOUND"),
    ("peek-buried", "..x...", "FOUND"),
    ("kick 1", "...x..", "KICKED 1"),
    ("kick-job %B", "...x..", "KICKED"),
    ("kick-job %D", "...x..", "KICKED"),
    ("stats-job %R", "..x...", "OK"),
    ("stats-tube yes", "..x...", "OK"),
    ("pause-tube yes 0", "....x.", "PAUSED"),
    ("list-jobs yes any 0 10", "..x...", "OK"),
    ("list-jobs - any 0 10", "..x...", "OK"),
    ("clear-tube yes", ".....x", "CLEARED"),
    // It takes the job out of one tube and puts it into another.
    ("move %R yes2", "......", "MOVED"),
    ("list-tubes", "xxxxxx", "OK"),
    ("list-tube-used", "xxxxxx", "USING"),
    ("list-tubes-watched", "xxxxxx", "OK"),
    ("stats", "xxxxxx", "OK"),
    // That there is no such job may be known.
    ("delete 999999", "xxxxxx", "NOT_FOUND"),
    ("peek 999999", "xxxxxx", "NOT_FOUND"),
    ("kick-job 999999", "xxxxxx", "NOT_FOUND"),
    ("reserve-job 999999", "xxxxxx", "NOT_FOUND"),
    ("stats-job 999999", "xxxxxx", "NOT_FOUND"),
    // Who is known is told what is wrong.
    ("nonsense", "xxxxxx", "UNKNOWN_COMMAND"),
    ("peek x", "xxxxxx", "BAD_FORMAT"),
    ("put 0 0 60 x", "xxxxxx", "BAD_FORMAT"),
];

/// The same for commands that reserve: once they may, they watch only "yes".
const RESERVING: &[(&str, &str)] = &[
    ("reserve", "RESERVED"),
    ("reserve-with-timeout 0", "RESERVED"),
    ("batch-reserve 2 0", "BATCH 1"),
];

/// For a job that the connection has reserved: that right is enough for all of them.
const OWN: &[(&str, &str)] = &[
    ("delete %R", "DELETED"),
    ("release %R 0 0", "RELEASED"),
    ("bury %R 0", "BURIED"),
    ("touch %R", "TOUCHED"),
    ("peek %R", "FOUND"),
    ("stats-job %R", "OK"),
];

const REFUSED: &str = "INTERNAL_ERROR";

/// Puts the tube "yes" into a known state: a ready, a delayed and a buried job.
fn prepare(operator: &mut Conn) -> [String; 3] {
    for tube in ["yes", "yes2"] {
        operator.ask(format!("clear-tube {tube}"));
    }
    let put = |operator: &mut Conn, delay: u32| {
        operator.send(format!("put 5 {delay} 60 4\r\nbody\r\n"));
        let line = String::from_utf8_lossy(operator.reply().line()).into_owned();
        line.strip_prefix("INSERTED ").expect("it is put").to_owned()
    };
    operator.ask("use yes");
    let buried = put(operator, 0);
    operator.ask(format!("reserve-job {buried}"));
    operator.ask(format!("bury {buried} 5"));
    [put(operator, 0), put(operator, 3600), buried]
}

fn filled(command: &str, [ready, delayed, buried]: &[String; 3]) -> String {
    command.replace("%R", ready).replace("%D", delayed).replace("%B", buried)
}

/// All that can be seen of the queue, without what the looking itself counts and what time changes.
fn look(operator: &mut Conn) -> String {
    let mut all = operator.ask("list-tubes").to_string();
    for tube in ["default", "yes", "yes2"] {
        for command in [format!("list-jobs {tube} any 0 100"), format!("stats-tube {tube}")] {
            let reply = String::from_utf8_lossy(operator.ask(command).bytes()).into_owned();
            let lasting = |line: &&str| {
                !["age", "time-left", "OK ", "current-using", "current-watching"]
                    .iter()
                    .any(|passing| line.trim_start_matches([' ', '-']).starts_with(passing))
            };
            all.extend(reply.lines().filter(lasting).map(|line| format!("{line}\n")));
        }
    }
    all
}

fn line_of(reply: &crate::support::Reply) -> String {
    String::from_utf8_lossy(reply.line()).into_owned()
}

#[test]
fn each_right_allows_its_commands_and_no_others() {
    let (text, names) = principals();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let scene = Scene::start(&text, &names, &[]);
    let mut operator = scene.operator();
    for (command, marks, begins) in TABLE {
        for name in &names {
            let may = match *name {
                "all" => true,
                "elsewhere" | "none" => {
                    // What everybody may.
                    *marks == "xxxxxx" && *command != "use yes"
                }
                right => {
                    let column = RIGHTS.iter().position(|it| *it == right).expect("it is one");
                    marks.as_bytes()[column] == b'x'
                }
            };
            let jobs = prepare(&mut operator);
            let mut conn = scene.act_as(name);
            conn.ask("use yes");
            let before = look(&mut operator);
            let denied = scene.stat("denied-commands");
            let line = line_of(&conn.ask(filled(command, &jobs)));
            let expected = if may { begins } else { REFUSED };
            assert!(line.starts_with(expected), "{command} of {name}: {line}, not {expected}");
            if !may {
                assert_eq!(look(&mut operator), before, "{command} of {name} changes nothing");
                assert_eq!(scene.stat("denied-commands"), denied + 1, "{command} of {name}");
            }
            // The stream goes on with the next command, whatever became of this one.
            assert!(line_of(&conn.ask("list-tube-used")).starts_with("USING "), "{command}");
            conn.send("quit\r\n");
            conn.expect_closed();
        }
    }
}

#[test]
fn reserving_needs_the_right_in_all_watched_tubes() {
    let (text, names) = principals();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let scene = Scene::start(&text, &names, &[]);
    let mut operator = scene.operator();
    for (command, begins) in RESERVING {
        for name in &names {
            let may = ["reserve", "all"].contains(name);
            prepare(&mut operator);
            let mut conn = scene.act_as(name);
            // It watches the default tube as well.
            conn.ask("watch yes");
            assert_eq!(line_of(&conn.ask(command)), REFUSED, "{command} of {name}");
            conn.ask("ignore default");
            let line = line_of(&conn.ask(command));
            let expected = if may { begins } else { &REFUSED };
            assert!(line.starts_with(expected), "{command} of {name}: {line}, not {expected}");
            conn.send("quit\r\n");
            conn.expect_closed();
        }
    }
}

#[test]
fn who_has_reserved_a_job_may_do_with_it_what_is_to_be_done() {
    let (text, names) = principals();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let scene = Scene::start(&text, &names, &[]);
    let mut operator = scene.operator();
    for (command, begins) in OWN {
        let jobs = prepare(&mut operator);
        let mut conn = scene.act_as("reserve");
        conn.send("watch yes\r\nignore default\r\nreserve\r\n");
        conn.expect("WATCHING 2\r\nWATCHING 1\r\n");
        assert!(line_of(&conn.reply()).starts_with("RESERVED"));
        // Nobody else may.
        let mut other = scene.act_as("delete");
        let line = line_of(&other.ask(filled("delete %R", &jobs)));
        assert_eq!(line, "NOT_FOUND");
        // Whoever has no right there does not learn that it is reserved.
        let mut stranger = scene.act_as("none");
        let denied = scene.stat("denied-commands");
        assert_eq!(line_of(&stranger.ask(filled("delete %R", &jobs))), REFUSED);
        assert_eq!(scene.stat("denied-commands"), denied + 1);
        let line = line_of(&conn.ask(filled(command, &jobs)));
        assert!(line.starts_with(begins), "{command}: {line}");
    }
    // To move it away takes the right to put there.
    let jobs = prepare(&mut operator);
    let mut conn = scene.act_as("reserve");
    conn.send("watch yes\r\nignore default\r\nreserve\r\n");
    conn.expect("WATCHING 2\r\nWATCHING 1\r\n");
    conn.reply();
    assert_eq!(line_of(&conn.ask(filled("move %R yes", &jobs))), REFUSED);
    assert_eq!(line_of(&conn.ask(filled("move %R yes2", &jobs))), REFUSED);
    assert_eq!(line_of(&conn.ask(filled("release %R 0 0", &jobs))), "RELEASED");
}
