//! The checks of the server: connection, certificate, clock, login, version, names.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use jiff::{SignedDuration, Timestamp};

use crate::cli::exit::Exit;
use crate::cli::setup::check::loadable;
use crate::cli::setup::check::row::{Row, Table};
use crate::config::Config;
use crate::humanize;
use alyx_client::{self, Endpoint, Interface, NextStep, Proxy, ServerProbe};
use alyx_registration::RegistrationClient;

/// A certificate that expires sooner is a warning.
const EXPIRES_SOON: SignedDuration = SignedDuration::from_hours(14 * 24);
/// Clocks that differ by more are a warning: the rig's clock orders the events of an experiment.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(30);

/// The checks that need the server.
pub(super) const ALL: [&str; 4] = ["server", "login", "Alyx", "names"];
/// The checks that need the login.
const AFTER_LOGIN: [&str; 2] = ["Alyx", "names"];

/// Adds a row for each check that is skipped.
pub(super) fn skip(checks: &[&'static str], why: &str, table: &mut Table) {
    table.extend(checks.iter().map(|check| Row::skipped(check, why)));
}

/// Checks what the server shows without a login. False if the server does not answer.
pub(super) async fn before_login(alyx: &alyx_client::Client, table: &mut Table) -> bool {
    match alyx.probe().await {
        Ok(probe) => {
            let way = alyx.proxy().map(|Proxy { address, variable }| {
                format!(", through the proxy {address} that the environment variable {variable} names")
            });
            table.add(Row::ok("server", format!("{} answers{}", alyx.url(), way.unwrap_or_default())));
            table.add(certificate(&probe, alyx.url().starts_with("https://"), Timestamp::now()));
            table.add(clock(probe.clock_ahead));
            true
        }
        Err(error) => {
            table.add(failed("server", &error));
            false
        }
    }
}

/// Runs the checks that need a login.
pub(super) async fn after_login(client: &RegistrationClient, config: &Config, table: &mut Table) {
    let alyx = client.alyx();
    match login(alyx).await {
        Ok(row) => table.add(row),
        Err(error) => {
            table.add(failed("login", &error));
            skip(&AFTER_LOGIN, "the login failed", table);
            return;
        }
    }
    table.add(match alyx.interface().await {
        Ok(interface) => version(interface),
        Err(error) => failed("Alyx", &error),
    });
    names(client, config, table).await;
    match loadable::with_alyx(client, config).await {
        Ok(rows) => table.extend(rows),
        Err(error) => table.add(failed(loadable::CHECK, &error)),
    }
    if config.datasets.register {
        table.add(match client.dataset_types().await {
            Ok(types) => dataset_types(types.len(), types.problems()),
            Err(error) => Row::problem("dataset types", Exit::Incomplete, &error, error.kind().next_step()),
        });
    }
}

/// The row of a failed request.
fn failed(check: &'static str, error: &alyx_client::Error) -> Row {
    let exit = match error.next_step() {
        NextStep::NeedsCredentials => Exit::Refused,
        _ if error.is_outage() => Exit::Unavailable,
        _ => Exit::Incomplete,
    };
    let what_to_do = match error {
        // Other errors include their advice.
        alyx_client::Error::Unreachable { connected: true, .. } => {
            "check the network, alyx.url and the server"
        }
        alyx_client::Error::Busy { .. } | alyx_client::Error::Server { .. } => {
            "check again in a few minutes; if the error persists, tell the Alyx administrator"
        }
        alyx_client::Error::Refused { .. } | alyx_client::Error::NotFound { .. } => {
            "tell the Alyx administrator; is alyx.url the right database?"
        }
        _ => "",
    };
    Row::problem(check, exit, error, what_to_do)
}

fn certificate(probe: &ServerProbe, is_tls: bool, now: Timestamp) -> Row {
    const CHECK: &str = "certificate";
    match probe.certificate_ends {
        None if is_tls => Row::skipped(CHECK, "it cannot be seen through a proxy"),
        None => Row::skipped(CHECK, "not applicable: the address is http"),
        Some(end) => {
            let left = end.duration_since(now);
            let found = format!(
                "the server's certificate is valid for {} more (until {})",
                humanize::length(left),
                end.strftime("%Y-%m-%d")
            );
            if left < EXPIRES_SOON {
                Row::warning(
                    CHECK,
                    found,
                    "tell the Alyx administrator; after that day nothing is registered",
                )
            } else {
                Row::ok(CHECK, found)
            }
        }
    }
}

fn clock(ahead: Option<SignedDuration>) -> Row {
    const CHECK: &str = "clock";
    let Some(ahead) = ahead else { return Row::skipped(CHECK, "the server does not send its time") };
    if ahead.abs() <= CLOCK_TOLERANCE {
        return Row::ok(CHECK, "agrees with the server's");
    }
    let side = if ahead.is_positive() { "behind" } else { "ahead of" };
    Row::warning(
        CHECK,
        format!("this computer's clock is {} {side} the server's", humanize::length(ahead.abs())),
        "turn on time synchronisation: timedatectl set-ntp true",
    )
}

async fn login(alyx: &alyx_client::Client) -> Result<Row, alyx_client::Error> {
    alyx.ping().await?;
    // A token does not name its user, and not every server has /me; registration then needs alyx.username.
    Ok(match alyx.username().await {
        Ok(user) => match alyx.find_member(Endpoint::Users, user).await? {
            Some(_) => Row::ok("login", format!("accepted, as {user}")),
            None => Row::problem(
                "login",
                Exit::Incomplete,
                format!("accepted, but Alyx knows no user {user:?} (alyx.username)"),
                "write the name of the token's user",
            ),
        },
        Err(alyx_client::Error::Options(why)) => {
            Row::problem("login", Exit::Incomplete, format!("accepted, but {why}"), "")
        }
        Err(other) => return Err(other),
    })
}

fn version(interface: Option<Interface>) -> Row {
    const CHECK: &str = "Alyx";
    match interface {
        None => Row::ok(CHECK, "older than version 3.2.2, which does not describe itself"),
        Some(Interface { version, missing }) if missing.is_empty() => {
            // 0.0.0 is the placeholder of the tool that generates the description.
            let version = match version.as_deref() {
                None => "3.2.2 or newer (the server does not state it)",
                Some("0.0.0") => "3.2.2 or newer (the API description of the server says 0.0.0)",
                Some(version) => version,
            };
            Row::ok(CHECK, format!("version {version}, with all required endpoints"))
        }
        Some(Interface { missing, .. }) => Row::problem(
            CHECK,
            Exit::Incomplete,
            format!("this server has no {}", missing.join(", ")),
            "is it an Alyx? Ask its administrator",
        ),
    }
}

/// Adds one row per key of the configuration that holds names.
async fn names(client: &RegistrationClient, config: &Config, table: &mut Table) {
    let keys = config.names();
    if keys.is_empty() {
        table.add(Row::ok("names", "the configuration names nothing that must be on Alyx"));
    }
    for key in keys {
        let check = check_of(key.endpoint);
        let (mut missing, mut near, mut error) = (Vec::new(), Vec::new(), None);
        for name in &key.names {
            match client.alyx().find_member(key.endpoint, name).await {
                Ok(Some(_)) => {}
                Ok(None) => {
                    near.extend(client.near_names(key.endpoint, name).await);
                    missing.push(format!("{name:?}"));
                }
                Err(failure) => error = Some(failure),
            }
        }
        table.add(match error {
            Some(error) => failed(check, &error),
            None if missing.is_empty() => Row::ok(check, key.names.join(", ")),
            None => Row::problem(
                check,
                Exit::Incomplete,
                format!("Alyx does not know {} ({})", missing.join(", "), key.key),
                match near.as_slice() {
                    [] => "have it created on Alyx, or correct the name".to_owned(),
                    near => format!("did you mean {}? Correct the name", near.join(" or ")),
                },
            ),
        });
    }
}

fn check_of(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Users => "users",
        Endpoint::Projects => "projects",
        Endpoint::Procedures => "procedures",
        other => other.member(),
    }
}

fn dataset_types(n: usize, problems: &[String]) -> Row {
    const CHECK: &str = "dataset types";
    let found = humanize::count(n as u64, "type");
    match (n, problems) {
        (0, _) => Row::problem(
            CHECK,
            Exit::Incomplete,
            "there are none on Alyx, so no file is a dataset",
            "have them created, or set datasets.register: false",
        ),
        (_, []) => Row::ok(CHECK, found),
        (_, [first, ..]) => Row::warning(CHECK, format!("{found}; {first}"), "tell the Alyx administrator"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::setup::check::row::State;

    #[test]
    fn a_certificate_that_ends_within_two_weeks_is_a_warning() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let text = |hours: i64| {
            let certificate_ends = Some(now + SignedDuration::from_hours(hours));
            certificate(&ServerProbe { clock_ahead: None, certificate_ends }, true, now)
        };
        assert_eq!(text(14 * 24 + 1).state, State::Ok);
        let soon = text(13 * 24 + 5);
        assert_eq!(soon.state, State::Warning);
        assert!(soon.found.contains("13 d 5 h") && soon.found.contains("2023-11-28"), "{soon:?}");
        let none = ServerProbe { clock_ahead: None, certificate_ends: None };
        assert_eq!(certificate(&none, false, now).state, State::Skipped);
    }

    #[test]
    fn a_clock_that_differs_says_which_way() {
        assert_eq!(clock(Some(SignedDuration::from_secs(-30))).state, State::Ok);
        assert!(clock(Some(SignedDuration::from_secs(31))).found.contains("31 s behind"));
        assert!(clock(Some(SignedDuration::from_secs(-7200))).found.contains("2 h 0 min ahead of"));
    }
}
