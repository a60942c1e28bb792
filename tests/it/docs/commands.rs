//! Commands in the manuals can be typed as printed.

use alyx_registrar::cli::args::Cli;
use clap::CommandFactory;
use clap::error::ErrorKind;

use super::{lines, manuals, quoted};

/// The calls of the program in a shell line, split into words.
fn calls(line: &str) -> Vec<Vec<String>> {
    let line = line.split(" #").next().unwrap_or_default();
    let pieces = line.split(['|', '>', ';', '&', '(', ')']);
    pieces.map(words).filter_map(call).collect()
}

/// Splits like the shell, without redirected input.
fn words(piece: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in piece.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c.is_whitespace() => words.push(String::new()),
            _ => words.last_mut().expect("never empty").push(c),
        }
    }
    words.retain(|word| !word.is_empty() && !word.starts_with('<'));
    words
}

/// From the name of the program on, after `sudo -u …` and variables; after `--` for `cargo run`.
fn call(words: Vec<String>) -> Option<Vec<String>> {
    let mut rest = words.as_slice();
    loop {
        rest = match rest {
            [sudo, user, _, more @ ..] if sudo == "sudo" && user == "-u" => more,
            [sudo, more @ ..] if sudo == "sudo" => more,
            [variable, more @ ..] if variable.contains('=') && !variable.starts_with('-') => more,
            [cargo, run, more @ ..] if cargo == "cargo" && run == "run" => {
                let at = more.iter().position(|word| word == "--")?;
                let typed = more[at + 1..].iter().cloned();
                return Some(std::iter::once("alyx-registrar".to_owned()).chain(typed).collect());
            }
            [program, more @ ..] if program.rsplit('/').next() == Some("alyx-registrar") => {
                let of_a_form = more.first().is_none_or(|word| {
                    word.chars().all(char::is_uppercase) || ["…", "="].contains(&word.as_str())
                });
                return (!of_a_form).then(|| rest.to_vec());
            }
            _ => return None,
        }
    }
}

#[test]
fn every_command_in_the_manuals_can_be_typed() {
    let mut typed = 0;
    for (manual, text) in manuals() {
        for (block, line) in lines(&text) {
            let in_line: Vec<&str> = match block {
                Some("sh") => vec![line],
                None => {
                    let is_call =
                        |code: &&str| code.starts_with("alyx-registrar ") || code.starts_with("sudo ");
                    quoted(line).filter(is_call).collect()
                }
                Some(_) => vec![],
            };
            for call in in_line.into_iter().flat_map(calls) {
                if let Err(error) = Cli::parse_words(&call) {
                    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
                    assert!(asked, "{}: {line}\n{error}", manual.display());
                }
                typed += 1;
            }
        }
    }
    assert!(typed > 20, "{typed}");
}

#[test]
fn every_command_has_its_row() {
    let manual = std::fs::read_to_string(super::root().join("docs/commands.md")).unwrap();
    let rows: Vec<&str> = manual.lines().filter(|line| line.starts_with("| `")).collect();
    let is_there = |name: &str| {
        let names = rows.iter().flat_map(|row| quoted(row.split(" | ").next().unwrap_or_default()));
        names.filter_map(|code| code.split(' ').next()).any(|word| word == name)
    };
    let names: Vec<String> =
        Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        assert!(is_there(&name), "docs/commands.md has no row for {name}");
    }
}

#[test]
fn a_call_is_found_anywhere_in_a_line() {
    let found = |line: &str| calls(line).into_iter().map(|call| call.join(" ")).collect::<Vec<_>>();
    assert_eq!(
        found("sudo -u me /usr/bin/alyx-registrar check --json | jq ."),
        ["/usr/bin/alyx-registrar check --json"]
    );
    assert_eq!(
        found("ALYX_PASSWORD=x alyx-registrar exists \"users\" me   # yes?"),
        ["alyx-registrar exists users me"]
    );
    assert_eq!(found("cargo run --release -- demo"), ["alyx-registrar demo"]);
    assert_eq!(found("sudo systemctl restart alyx-registrar && alyx-registrar COMMAND --help"), [""; 0]);
}
