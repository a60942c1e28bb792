//! The marks of an audit: those of missing files.

use std::path::Path;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::cli::args::AuditArgs;
use crate::cli::exit::Exit;
use crate::cli::marks::report::Report;
use crate::cli::marks::unmark::unmark as undo;
use crate::cli::marks::{MarkOptions, Marks};
use crate::cli::output::Failure;
use crate::cli::service::wiring;
use crate::config::Config;
use crate::daemon::outside::signals;
use alyx_registration::Mark;

/// As the arguments say.
pub(super) fn begin<'a>(args: &AuditArgs, config: &'a Config, hangs_after: Duration) -> Marks<'a> {
    let options = MarkOptions { wanted: args.mark, many: args.mark_many, undo_list: args.undo_list.clone() };
    Marks::begin(config, options, &[Mark::Missing], marks_report(args, config), hangs_after)
}

/// Undoes the marks of an earlier audit.
pub(crate) async fn unmark(args: &AuditArgs) -> Exit {
    let undone = async {
        let config = wiring::configuration(&args.scope.config())?;
        let client = wiring::read_only_client(&config, wiring::credentials(&config)?)?;
        let shutdown = CancellationToken::new();
        signals::listen(shutdown.clone()).map_err(|error| Failure::no_signals(&error))?;
        wiring::check_login(&client).await?;
        let file = args.unmark.as_deref().unwrap_or(Path::new(""));
        undo(file, &config, &client, &marks_report(args, &config), &shutdown).await
    };
    match undone.await {
        Ok(exit) => exit,
        Err(failure) => failure.end("audit", args.json),
    }
}

fn marks_report(args: &AuditArgs, config: &Config) -> Report {
    let zone = config.timezone.clone().unwrap_or_else(jiff::tz::TimeZone::system);
    Report { command: "audit", json: args.json, zone }
}
