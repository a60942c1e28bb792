//! `completions` and `man`, generated from the definition of the command line.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::io::Write;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::cli::args::{Cli, CompletionsArgs, ManArgs, ShellChoice};
use crate::cli::exit::Exit;
use crate::cli::output::report_error;

/// Prints the completions of a shell.
pub(crate) fn completions(args: &CompletionsArgs) -> Exit {
    let shell = match args.shell {
        ShellChoice::Bash => Shell::Bash,
        ShellChoice::Zsh => Shell::Zsh,
        ShellChoice::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "alyx-registrar", &mut script);
    if shell == Shell::Bash {
        // clap_complete (clap-rs/clap#6421) spells the dash in the program's name in two ways, so that bash completes
        // no option of a command. Once that is fixed, this replacement has no effect.
        let text = String::from_utf8_lossy(&script).replace("alyx__subcmd__registrar", "alyx__registrar");
        script = text.into_bytes();
    }
    print(&script)
}

/// Prints a page, or writes all of them into a folder.
pub(crate) fn man(args: &ManArgs) -> Exit {
    let mut whole = Cli::command().disable_help_subcommand(true);
    whole.build();
    if let Some(folder) = &args.dir {
        return write_all(whole, folder);
    }
    let page = match &args.command {
        None => Some(&whole),
        Some(name) => whole.find_subcommand(name),
    };
    let Some(page) = page else {
        report_error(format_args!(
            "there is no command {:?}; see alyx-registrar --help",
            args.command.as_deref().unwrap_or_default()
        ));
        return Exit::Usage;
    };
    let mut roff = Vec::new();
    match clap_mangen::Man::new(page.clone()).render(&mut roff) {
        Ok(()) => print(&roff),
        Err(error) => failed(&error),
    }
}

fn write_all(whole: Command, folder: &Path) -> Exit {
    match std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(whole, folder)) {
        Ok(()) => Exit::Success,
        Err(error) => {
            report_error(format_args!("the pages cannot be written to {folder:?}: {error}"));
            Exit::Io
        }
    }
}

fn failed(error: &std::io::Error) -> Exit {
    report_error(format_args!("the manual page cannot be generated: {error}"));
    Exit::Io
}

/// Prints to standard output. Ignores a closed pipe.
fn print(bytes: &[u8]) -> Exit {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
    Exit::Success
}
