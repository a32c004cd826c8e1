//! As much of the shell's grammar as the pages use.

use crate::markdown::{Block, Placed};

/// A simple command: no pipe, list or redirection is left in it.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    pub(crate) place: String,
    /// The program first. What stands before it, like `NAME=value`, is left out.
    pub(crate) words: Vec<String>,
}

impl Command {
    /// The file name of its program.
    pub(crate) fn program(&self) -> &str {
        self.words[0].rsplit('/').next().unwrap_or_default()
    }

    /// What the program is given.
    pub(crate) fn arguments(&self) -> &[String] {
        &self.words[1..]
    }
}

/// The commands of a block, lines that end with a backslash joined to the next.
pub(crate) fn commands(block: &Block) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut joined: Option<Placed> = None;
    for line in &block.lines {
        let line = match joined.take() {
            Some(start) => Placed { text: format!("{} {}", start.text, line.text), ..start },
            None => line.clone(),
        };
        match line.text.strip_suffix('\\') {
            Some(start) => joined = Some(Placed { text: start.to_owned(), ..line }),
            None => commands.extend(parse(&line)),
        }
    }
    assert!(joined.is_none(), "{}: the last line goes on", block.place());
    commands
}

/// The commands of one line.
pub(crate) fn parse(line: &Placed) -> Vec<Command> {
    let text = line.text.strip_prefix("$ ").unwrap_or(&line.text);
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                word.extend(chars.by_ref().take_while(|&other| other != c));
            }
            '#' if word.is_none() => break,
            ' ' | '&' | '|' | ';' => {
                let last = commands.last_mut().expect("there is a first one");
                last.extend(word.take());
                if c != ' ' {
                    commands.push(Vec::new());
                }
            }
            _ => word.get_or_insert_default().push(c),
        }
    }
    commands.last_mut().expect("there is a first one").extend(word);
    let is_setting = |word: &String| {
        let name = word.split_once('=').map_or("", |(name, _)| name);
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    };
    commands
        .into_iter()
        .map(|words: Vec<String>| without_redirections(words.into_iter().skip_while(is_setting)))
        .filter(|words| !words.is_empty())
        .map(|words| Command { place: line.place.clone(), words })
        .collect()
}

/// Without `> FILE` and its like.
fn without_redirections(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = words;
    while let Some(word) = words.next() {
        if [">", ">>", "<"].contains(&&*word) {
            words.next();
        } else {
            kept.push(word);
        }
    }
    kept
}

#[test]
fn a_line_is_split() {
    let split = |text: &str| {
        let line = Placed { place: "here".to_owned(), text: text.to_owned() };
        parse(&line).into_iter().map(|command| command.words).collect::<Vec<_>>()
    };
    assert_eq!(split("A_B=1 cargo x --y 'a b'c # no"), [vec!["cargo", "x", "--y", "a bc"]]);
    assert_eq!(split("a && b -p{port} &"), [vec!["a"], vec!["b", "-p{port}"]]);
    assert_eq!(split("$ printf 'x|y' | nc h 1"), [vec!["printf", "x|y"], vec!["nc", "h", "1"]]);
    assert_eq!(split("a b >> c d < e"), [vec!["a", "b", "d"]]);
    assert!(split("# nothing").is_empty());
}
