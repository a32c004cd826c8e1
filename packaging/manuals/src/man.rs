//! A manual page: one for each program, its subcommands included.

use clap::{Arg, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use crate::facts::Facts;
use crate::tidy;

/// The page.
pub(crate) fn page(command: &Command, facts: &Facts) -> String {
    // Its subcommands have `help` of their own, which says nothing that is not here.
    let mut command = command.clone().disable_help_subcommand(true);
    // What it derives for its subcommands, such as their full names.
    command.build();
    let name = command.get_name();
    let version = format!("{name} {}", command.get_version().unwrap_or_default());
    // No date: the same sources make the same page on any day.
    let mut page = format!(".TH {name} 1 \"\" \"{version}\" \"User Commands\"\n");
    let man = Man::new(command.clone());
    let mut text = Vec::new();
    man.render_name_section(&mut text).expect("a vector can be written");
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    for (at, usage) in usages(&command).iter().enumerate() {
        if at > 0 {
            roff.control("br", []);
        }
        roff.text([bold(usage)]);
    }
    text.extend_from_slice(roff.to_roff().as_bytes());
    man.render_description_section(&mut text).expect("a vector can be written");
    page.push_str(&String::from_utf8(text).expect("roff is text"));
    let mut roff = Roff::new();
    roff.control("SH", ["OPTIONS"]);
    command.get_arguments().for_each(|arg| option(&mut roff, arg));
    page.push_str(&roff.to_roff());
    page.push_str(&commands(&command));
    page.push_str(&facts_of(&command, facts));
    tidy(&page)
}

/// The ways in which it is called. A way that takes several lines goes on with something else than the name.
fn usages(command: &Command) -> Vec<String> {
    let usage = command.clone().render_usage().to_string();
    let mut ways: Vec<String> = Vec::new();
    for line in usage.trim_start_matches("Usage: ").lines() {
        let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
        match ways.last_mut() {
            Some(way) if !words.starts_with(command.get_name()) => {
                way.push(' ');
                way.push_str(&words);
            }
            _ => ways.push(words),
        }
    }
    ways
}

/// How it is called, on one line.
fn usage(command: &Command) -> String {
    usages(command).join(" ")
}

/// The subcommands, each with its own options.
fn commands(command: &Command) -> String {
    let mut roff = Roff::new();
    let shown: Vec<_> = command.get_subcommands().filter(|it| !it.is_hide_set()).collect();
    if shown.is_empty() {
        return String::new();
    }
    roff.control("SH", ["COMMANDS"]);
    for sub in shown {
        roff.control("SS", [usage(sub).as_str()]);
        let about = sub.get_long_about().or_else(|| sub.get_about()).map(ToString::to_string);
        roff.text([roman(sentence(&about.unwrap_or_default()))]);
        // What every command has is above.
        let own = |arg: &&Arg| !arg.is_global_set() && arg.get_id() != "help";
        sub.get_arguments().filter(own).for_each(|arg| option(&mut roff, arg));
    }
    roff.to_roff()
}

/// An option or an argument, unless there is nothing to say of it.
fn option(roff: &mut Roff, arg: &Arg) {
    let help = help(arg);
    if arg.is_hide_set() || help.is_empty() {
        return;
    }
    roff.control("TP", []);
    roff.text(title(arg));
    roff.text([roman(help)]);
}

/// `-s`, `--long` and the value of an argument, as a line.
fn title(arg: &Arg) -> Vec<Inline> {
    let mut line = Vec::new();
    let mut names: Vec<String> = arg.get_short().map(|it| format!("-{it}")).into_iter().collect();
    names.extend(arg.get_long().map(|it| format!("--{it}")));
    for name in names {
        if !line.is_empty() {
            line.push(roman(", "));
        }
        line.push(bold(name));
    }
    if arg.get_action().takes_values() {
        let id = arg.get_id().as_str().to_uppercase();
        let values = arg.get_value_names().map_or_else(
            || id.clone(),
            |names| names.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(" "),
        );
        if !line.is_empty() {
            line.push(roman(" "));
        }
        line.push(italic(values));
    }
    line
}

/// What an argument means, with its values and its default.
fn help(arg: &Arg) -> String {
    let help = arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string);
    let mut text = sentence(&help.unwrap_or_default());
    let values: Vec<String> =
        arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    let is_flag = !arg.get_action().takes_values();
    if !values.is_empty() && !is_flag {
        text.push_str(&format!(" One of: {}.", values.join(", ")));
    }
    let defaults: Vec<_> =
        arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if !defaults.is_empty() && !is_flag {
        text.push_str(&format!(" Default: {}.", defaults.join(", ")));
    }
    text.trim().to_owned()
}

/// With a full stop.
fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() || text.ends_with(['.', ':', ']']) {
        text.to_owned()
    } else {
        format!("{text}.")
    }
}

/// The sections that clap knows nothing of.
fn facts_of(command: &Command, facts: &Facts) -> String {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in &facts.statuses {
        entry(&mut roff, &status.to_string(), meaning);
    }
    let of_arguments = command.get_arguments().filter_map(|arg| {
        let name = arg.get_env()?.to_string_lossy().into_owned();
        Some((name, format!("Instead of --{}.", arg.get_long()?)))
    });
    let others = facts.environment.iter().map(|(name, it)| ((*name).to_owned(), (*it).to_owned()));
    let environment: Vec<(String, String)> = of_arguments.chain(others).collect();
    roff.control("SH", ["ENVIRONMENT"]);
    for (name, meaning) in &environment {
        entry(&mut roff, name, meaning);
    }
    for (section, entries) in [("FILES", &facts.files), ("SIGNALS", &facts.signals)] {
        if entries.is_empty() {
            continue;
        }
        roff.control("SH", [section]);
        for (name, meaning) in entries {
            entry(&mut roff, name, meaning);
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    let others = facts.see_also.iter().enumerate();
    let line = others.flat_map(|(at, name)| {
        let end = if at + 1 == facts.see_also.len() { "(1)" } else { "(1), " };
        [bold(*name), roman(end)]
    });
    roff.text(line.collect::<Vec<_>>());
    roff.to_roff()
}

fn entry(roff: &mut Roff, name: &str, meaning: &str) {
    roff.control("TP", []);
    roff.text([bold(name)]);
    roff.text([roman(meaning)]);
}
