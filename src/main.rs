//! The program `alyx-registrar`: see [`alyx_registrar::cli`].

fn main() -> std::process::ExitCode {
    alyx_registrar::cli::main()
}
