//! The log: text or JSON on standard error or, under systemd, lines with fields in the journal.

mod journald;

use std::io;
use std::io::IsTerminal;

use std::sync::OnceLock;

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::cli::logging::journald::Journal;
use crate::cli::output::progress::LogOutput;
use crate::config::{LogConfig, LogFormat, LogLevel};

/// How much is logged, and in which form.
pub type LogOptions = LogConfig;

/// Libraries that log every connection; limited to `warn`, except at `trace`.
const NOISY: [&str; 6] = ["hyper", "hyper_util", "reqwest", "rustls", "h2", "notify"];

/// Starts logging for this process, or, if it has started already, changes its level.
///
/// `RUST_LOG`, when set and not empty, replaces the level and all filters.
///
/// # Errors
/// `RUST_LOG` is not a filter, or another log is running.
pub fn init(options: &LogOptions) -> Result<(), String> {
    if FILTER.get().is_some() {
        set_level(options.level);
        return Ok(());
    }
    let rust_log = std::env::var("RUST_LOG").ok();
    let (filter, handle) = reload::Layer::new(filter(options.level, rust_log.as_deref())?);
    // JSON always goes to standard error, which systemd writes to the journal.
    let journal = (options.format == LogFormat::Text).then(Journal::behind_standard_error).flatten();
    let subscriber = match journal {
        Some(journal) => Box::new(tracing_subscriber::registry().with(filter).with(journal)),
        None => subscriber(options.format, filter, io::stderr().is_terminal(), || LogOutput),
    };
    tracing::subscriber::set_global_default(subscriber).map_err(|err| err.to_string())?;
    let _ = FILTER.set(handle);
    Ok(())
}

/// The filter of this process's log, which a reload can replace.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Changes the level, unless `RUST_LOG` is set.
pub fn set_level(level: LogLevel) {
    let rust_log = std::env::var("RUST_LOG").ok();
    let Some(handle) = FILTER.get() else { return };
    if let Ok(filter) = filter(level, rust_log.as_deref()) {
        // Fails only if the subscriber is gone.
        let _ = handle.reload(filter);
    }
}

/// The filter for a level, or that of `RUST_LOG`.
fn filter(level: LogLevel, rust_log: Option<&str>) -> Result<EnvFilter, String> {
    if let Some(typed) = rust_log.filter(|typed| !typed.trim().is_empty()) {
        return EnvFilter::try_new(typed).map_err(|err| {
            format!("RUST_LOG is not a filter ({err}); write a level such as info, or unset it")
        });
    }
    let word = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let mut directives = word.to_owned();
    if matches!(level, LogLevel::Info | LogLevel::Debug) {
        for library in NOISY {
            directives += &format!(",{library}=warn");
        }
    }
    EnvFilter::try_new(directives).map_err(|err| err.to_string())
}

/// The subscriber for a format. `colours` is true for a terminal; JSON never has colours.
fn subscriber<F, W>(
    format: LogFormat,
    filter: F,
    colours: bool,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    F: Layer<Registry> + Send + Sync,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(colours)
        // Reporting them on standard error would panic on a full disk or a closed pipe.
        .log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => Box::new(registry.with(lines.with_target(false))),
        LogFormat::Json => Box::new(registry.with(lines.json().with_ansi(false).flatten_event(true))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: LogFormat, level: LogLevel, rust_log: Option<&str>, write: impl FnOnce()) -> String {
        let page = Page::default();
        let for_writer = page.clone();
        let filter = filter(level, rust_log).unwrap();
        let subscriber = subscriber(format, filter, false, move || for_writer.clone());
        tracing::subscriber::with_default(subscriber, write);
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn two_lines() {
        tracing::info!(session = "s1", n_files = 3, "registered");
        tracing::info!(target: "hyper_util::client", "connecting");
        tracing::debug!("a step");
    }

    #[test]
    fn text_is_one_plain_line_per_event_without_the_noise_of_libraries() {
        let log = written(LogFormat::Text, LogLevel::Info, None, two_lines);
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(log.contains("INFO registered session=\"s1\" n_files=3"), "{log}");
        assert!(!log.contains('\u{1b}'), "{log:?}");
        assert!(log.starts_with("20"), "no time in front: {log}");
    }

    #[test]
    fn json_is_one_object_per_line_with_top_level_fields() {
        let log = written(LogFormat::Json, LogLevel::Debug, None, two_lines);
        let lines: Vec<serde_json::Value> =
            log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{log}");
        assert_eq!(lines[0]["message"], "registered");
        assert_eq!(lines[0]["session"], "s1");
        assert_eq!(lines[0]["n_files"], 3);
        assert!(lines[0]["timestamp"].is_string());
    }

    #[test]
    fn rust_log_replaces_the_level_and_the_filters() {
        let log = written(LogFormat::Text, LogLevel::Error, Some("info"), two_lines);
        assert_eq!(log.lines().count(), 2, "{log}");
        assert_eq!(written(LogFormat::Text, LogLevel::Error, Some(" "), two_lines), "");
        assert!(filter(LogLevel::Info, Some("a=b=c")).is_err());
    }
}
