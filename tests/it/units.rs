//! The systemd units: both are consistent, and match the program's promises. `.ci/run` checks that systemd can parse
//! them.

use std::collections::BTreeSet;

const UNIT: &str = include_str!("../../systemd/alyx-registrar.service");
const INSTANCES: &str = include_str!("../../systemd/alyx-registrar@.service");

/// The significant lines.
fn settings(unit: &str) -> BTreeSet<String> {
    unit.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn an_instance_is_the_service_with_its_own_configuration_state_and_password() {
    let own: BTreeSet<String> = settings(INSTANCES).difference(&settings(UNIT)).cloned().collect();
    let expected = [
        "Description=Registers finished experiments on Alyx (%i)",
        "ExecStart=/usr/bin/alyx-registrar run --config /etc/alyx-registrar/%i.yaml",
        "LoadCredential=alyx-password:/etc/alyx-registrar/%i.password",
        "StateDirectory=alyx-registrar/%i",
    ];
    assert_eq!(own, expected.map(str::to_owned).into());
    assert_eq!(settings(UNIT).len(), settings(INSTANCES).len());
}

#[test]
fn errors_that_a_restart_cannot_fix_cause_no_restart() {
    use alyx_registrar::cli::exit::Exit;
    let codes = [Exit::Usage, Exit::Refused, Exit::Config].map(|exit| exit.code().to_string());
    let line = format!("RestartPreventExitStatus={}", codes.join(" "));
    assert!(settings(UNIT).contains(&line), "{line}");
}
