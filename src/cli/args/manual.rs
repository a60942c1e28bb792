//! The arguments of `completions` and `man`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

const COMPLETIONS_HELP: &str = "\
Examples:
  alyx-registrar completions bash > ~/.local/share/bash-completion/completions/alyx-registrar
  alyx-registrar completions zsh > ~/.zfunc/_alyx-registrar
  alyx-registrar completions fish > ~/.config/fish/completions/alyx-registrar.fish";

/// `completions`: a completion script for a shell.
#[derive(Args, Clone, Debug)]
#[command(after_help = COMPLETIONS_HELP)]
pub struct CompletionsArgs {
    /// Shell: bash, zsh or fish
    #[arg(value_enum, hide_possible_values = true)]
    pub shell: ShellChoice,
}

/// The supported shells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ShellChoice {
    /// Bash.
    Bash,
    /// Zsh.
    Zsh,
    /// Fish.
    Fish,
}

const MAN_HELP: &str = "\
Examples:
  alyx-registrar man | man -l -
  alyx-registrar man water | man -l -
  alyx-registrar man --dir /usr/local/share/man/man1";

/// `man`: the manual page.
#[derive(Args, Clone, Debug)]
#[command(after_help = MAN_HELP)]
pub struct ManArgs {
    /// Command whose page is printed [default: the page of the whole program]
    pub command: Option<String>,

    /// Write the pages of the program and of every command into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub dir: Option<PathBuf>,
}
