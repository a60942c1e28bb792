//! The exit codes: a contract with systemd and scripts.

use std::process::ExitCode;

/// The exit code of a command. The numbers above 64 are those of `sysexits.h`.
///
/// | code | name | meaning | next step |
/// |---|---|---|---|
/// | 0 | [`Exit::Success`] | success; for `run`, it was asked to stop | |
/// | 1 | [`Exit::Incomplete`] | something was not registered, or a check was negative: a name is not on Alyx (`exists`), a file is protected (`check-protected`) | read the lines above; run again |
/// | 2 | [`Exit::Usage`] | the command line is invalid | `--help` |
/// | 69 | [`Exit::Unavailable`] | the server cannot be reached, the address to listen on cannot be used, or (`status`) no daemon runs | network, `alyx.url`, `systemctl start` |
/// | 74 | [`Exit::Io`] | a folder or file of the program itself cannot be used, such as `state_dir` | disk, rights |
/// | 77 | [`Exit::Refused`] | the server does not accept the user, password or token, or there is none | credentials |
/// | 78 | [`Exit::Config`] | the configuration is invalid; nothing was started | fix the file |
/// | 130 | [`Exit::Interrupted`] | stopped by Ctrl-C or SIGTERM before a one-shot command was done | run again |
///
/// ```
/// use alyx_registrar::cli::exit::Exit;
/// assert_eq!(Exit::Config.code(), 78);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// Success.
    Success,
    /// Something was not registered, or a check was negative.
    Incomplete,
    /// The command line is invalid; clap ends the program with the same number.
    Usage,
    /// The server, or the daemon, cannot be reached.
    Unavailable,
    /// A folder or file of the program itself cannot be used.
    Io,
    /// The server does not accept the credentials.
    Refused,
    /// The configuration is invalid. systemd does not restart after it.
    Config,
    /// Stopped before the command was done.
    Interrupted,
}

impl Exit {
    /// All exit codes, for the help and the tests.
    pub const ALL: [Exit; 8] = [
        Exit::Success,
        Exit::Incomplete,
        Exit::Usage,
        Exit::Unavailable,
        Exit::Io,
        Exit::Refused,
        Exit::Config,
        Exit::Interrupted,
    ];

    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Incomplete => 1,
            Exit::Usage => 2,
            Exit::Unavailable => 69,
            Exit::Io => 74,
            Exit::Refused => 77,
            Exit::Config => 78,
            Exit::Interrupted => 130,
        }
    }

    /// The description in the help.
    pub const fn meaning(self) -> &'static str {
        match self {
            Exit::Success => "success",
            Exit::Incomplete => "something was not registered, or a check was negative",
            Exit::Usage => "the command line is invalid",
            Exit::Unavailable => "the server, or the daemon, cannot be reached",
            Exit::Io => "a folder or file of the program cannot be used",
            Exit::Refused => "the server refuses the user, password or token",
            Exit::Config => "the configuration is invalid",
            Exit::Interrupted => "stopped before it was done",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_exit_codes_have_the_same_number() {
        let codes: std::collections::HashSet<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert_eq!(codes.len(), Exit::ALL.len());
    }
}
