//! `--help` of the program and of every command.

use crate::compatibility::recorded;
use crate::program::{output, program};

fn help(words: &[&str]) -> String {
    let said = output(program().args(words));
    assert_eq!(said.status.code(), Some(0), "{words:?}");
    String::from_utf8(said.stdout).unwrap()
}

/// The commands that the help of the program lists.
fn commands(help: &str) -> Vec<&str> {
    let list = help.split("\nCommands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    list.lines().filter_map(|line| line.split_whitespace().next()).collect()
}

#[test]
fn the_help_of_the_program_and_of_every_command_is_as_recorded() {
    let whole = help(&["--help"]);
    let names = commands(&whole);
    assert!(names.len() > 20, "{names:?}");
    let mut text = format!("# alyx-registrar --help\n{whole}");
    for name in names.iter().filter(|name| **name != "help") {
        for flag in ["-h", "--help"] {
            text += &format!("\n# alyx-registrar {name} {flag}\n{}", help(&[name, flag]));
        }
    }
    recorded::compare("help.txt", &text);
}

#[test]
fn the_completions_and_the_manual_page_are_made_for_every_command() {
    let mut text = String::new();
    let manual = help(&["man"]);
    for name in commands(&help(&["--help"])) {
        let words =
            [help(&["completions", "bash"]), help(&["completions", "zsh"]), help(&["completions", "fish"])];
        let known: Vec<bool> = words.iter().map(|words| words.contains(name)).collect();
        text += &format!(
            "{name}: completed {known:?}, in the manual {}\n",
            manual.contains(&name.replace('-', "\\-"))
        );
    }
    recorded::compare("completions-and-manual.txt", &text);
}
