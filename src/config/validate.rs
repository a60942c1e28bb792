//! Turns the document into the configuration: defaults, bounds, and keys that exclude each other.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::config::document::{
    DatasetsDocument, Document, Given, LogDocument, ReadingDocument, RetryDocument, SessionDocument,
};
use crate::config::findings::{DAY, Findings, HOUR, MS, SECOND};
use crate::config::keys::Keys;
use crate::config::sections::roots;
use crate::config::values::{ByteSize, Text, file_name_fault};
use crate::config::{
    Config, ConfigError, ConfigErrors, DatasetsConfig, Environment, LogConfig, Overrides, RetryConfig,
};
use alyx_client::backoff::{Backoff, InvalidBackoff};
use alyx_registration::{ProtectedPolicy, ReadingOptions, SessionDetails};
use session_metadata::text::locate::{KeyPath, quoted};
use session_metadata::text::parse_yaml;

/// A configuration is a page or two; a larger file is the wrong file.
pub(super) const MAX_BYTES: usize = 1024 * 1024;

/// The least `reading.max_rate` and `reading.min_rate`: with less, a thread that hashes a piece would be asleep for seconds.
const MIN_READ_RATE: u64 = 1_000_000;

/// The default of `session.earliest`. A recorder without a clock starts in 1970 or 1980.
const EARLIEST: jiff::civil::Date = jiff::civil::date(2000, 1, 1);

pub(super) fn config(
    text: &str,
    file: &Path,
    overrides: &Overrides,
    environment: &Environment,
) -> Result<Config, ConfigErrors> {
    let whole = |line, key: String, message: String| {
        ConfigErrors::new(ConfigError { file: file.to_owned(), line, key, message })
    };
    if text.len() > MAX_BYTES {
        return Err(whole(
            None,
            String::new(),
            "this is larger than 1 MiB; is it the right file?".to_owned(),
        ));
    }
    // The parser treats a byte order mark as a separate document.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut value = parse_yaml(text).map_err(|fault| whole(fault.line, fault.key, fault.message))?;

    let mut findings = Findings::default();
    roots::spell_out(&mut value);
    Keys::of::<Document>()
        .prune(&mut value, &KeyPath::default(), &mut |path, why| findings.refuse(path, why));
    let document = if value.is_null() {
        Document::default()
    } else {
        // Pruning leaves no errors here; if it did, they must not be lost.
        Document::deserialize(value).map_err(|err| whole(None, String::new(), err.to_string()))?
    };
    let config = findings.document(document, overrides, environment);
    match (findings.into_errors(text, file), config) {
        (None, Some(config)) => Ok(config),
        (Some(errors), _) => Err(errors),
        (None, None) => Err(whole(None, "alyx.url".to_owned(), "this key is missing".to_owned())),
    }
}

impl Findings {
    /// The configuration; `None` without an address of Alyx.
    fn document(
        &mut self,
        from: Document,
        overrides: &Overrides,
        environment: &Environment,
    ) -> Option<Config> {
        let flags = self.flags(from.flags);
        let (watch, for_all_roots) = self.watch(from.watch.unwrap_or_default(), &flags);
        let data_roots = if overrides.data_roots.is_empty() {
            roots::in_file(self, from.data_roots, &for_all_roots)
        } else {
            roots::on_command_line(self, &overrides.data_roots, &for_all_roots)
        };
        let alyx = self.alyx(from.alyx.unwrap_or_default(), overrides, environment);
        let mut session = from.session.unwrap_or_default();
        let earliest = self.take(&KeyPath::of("session.earliest"), std::mem::take(&mut session.earliest));
        if let Some(future) = earliest.filter(|day| environment.today.is_some_and(|today| *day > today)) {
            let why = format!(
                "{future} is in the future, so no session would be registered; write a day in the past"
            );
            self.refuse(KeyPath::of("session.earliest"), why);
        }
        let session = self.session(&KeyPath::of("session"), session);
        let mut metadata = from.metadata.unwrap_or_default();
        let skip_subjects = self.texts("metadata.skip_subjects", std::mem::take(&mut metadata.skip_subjects));
        let metadata = self.metadata(metadata);
        let datasets = self.datasets(from.datasets.unwrap_or_default());
        let repositories = self.repositories(from.repositories);
        self.doubtful_repositories(&repositories, &data_roots, datasets.repository.as_deref());
        let follow = self.take(&KeyPath::of("follow"), from.follow).unwrap_or_default();
        let links_allow = roots::allowed(self, from.links.unwrap_or_default().allow);
        let retry = self.retry(from.retry.unwrap_or_default());
        let workers = self.count("workers", from.workers, 2, 64) as usize;
        let hash_threads = self.count("hash_threads", from.hash_threads, 2, 64) as usize;
        let reading = self.reading(from.reading.unwrap_or_default());
        let verify = self.verify(from.verify.unwrap_or_default());
        let state_dir = self.state_dir(from.state_dir, overrides, environment);
        if let Some(root) = data_roots.iter().find(|root| state_dir.starts_with(&root.path)) {
            let root = quoted(&root.path.to_string_lossy());
            self.refuse(
                KeyPath::of("state_dir"),
                format!("this is inside the data root {root}, where nothing may be written; choose a folder elsewhere"),
            );
        }
        if let Some(root) = data_roots.iter().find(|root| root.path.starts_with(&state_dir)) {
            let root = quoted(&root.path.to_string_lossy());
            self.refuse(
                KeyPath::of("state_dir"),
                format!("the data root {root} is inside this folder, whose files are never registered; choose a folder elsewhere"),
            );
        }
        let keep = from.history.unwrap_or_default().keep;
        let keep_history = self.time("history.keep", keep, 180 * DAY, [DAY, 3650 * DAY]);
        let timezone = self.timezone(from.timezone);
        let log = self.log(from.log.unwrap_or_default(), overrides);
        let http = self.http(from.http.unwrap_or_default());
        let alerts = self.alerts(from.alerts.unwrap_or_default(), environment);
        Some(Config {
            file: None,
            data_roots,
            flags,
            alyx: alyx?,
            session,
            metadata,
            skip_subjects,
            earliest: earliest.unwrap_or(EARLIEST),
            datasets,
            repositories,
            follow,
            links_allow,
            watch,
            retry,
            workers,
            hash_threads,
            reading,
            verify,
            state_dir,
            keep_history,
            timezone,
            log,
            http,
            alerts,
            warnings: std::mem::take(&mut self.warnings),
        })
    }

    fn reading(&mut self, from: ReadingDocument) -> ReadingOptions {
        let default = ReadingOptions::default();
        let rate = |findings: &mut Self, key, given, otherwise| {
            let path = KeyPath::of(key);
            let ByteSize(rate) = findings.take(&path, given)?;
            if rate < MIN_READ_RATE {
                findings.refuse(
                    path,
                    format!("this is less than 1 MB a second; leave the key out for {otherwise}"),
                );
            }
            Some(rate)
        };
        let max_rate = rate(self, "reading.max_rate", from.max_rate, "no limit");
        let min_rate = rate(self, "reading.min_rate", from.min_rate, "20 MB");
        if let (Some(max), Some(min)) = (max_rate, min_rate)
            && max < min
        {
            self.refuse(KeyPath::of("reading.min_rate"), "this is more than reading.max_rate");
        }
        ReadingOptions {
            max_rate,
            yields: self.yes_no("reading.yield", from.yields, default.yields),
            min_rate: min_rate.unwrap_or(default.min_rate),
        }
    }

    fn flags(&mut self, given: Given<Vec<Text>>) -> Vec<String> {
        let path = KeyPath::of("flags");
        let Some(flags) = self.take(&path, given) else { return vec!["create_me.flag".to_owned()] };
        if flags.is_empty() {
            self.refuse(path.clone(), "this list is empty; leave the key out for create_me.flag");
        }
        let flags: Vec<String> = flags.into_iter().map(|flag| flag.0).collect();
        for (i, flag) in flags.iter().enumerate() {
            let shown = quoted(flag);
            let why = if let Some(why) = file_name_fault(flag) {
                why
            } else if flag.contains(['*', '?', '[']) {
                format!("{shown} is a pattern; write whole file names, one for each kind of flag")
            } else if flags.iter().take(i).any(|earlier| earlier == flag) {
                format!("{shown} occurs twice")
            } else {
                continue;
            };
            self.refuse(path.index(i), why);
        }
        flags
    }

    /// The details of a section `session`.
    pub(super) fn session(&mut self, at: &KeyPath, from: SessionDocument) -> SessionDetails {
        SessionDetails {
            users: self.texts_at(&at.key("users"), from.users),
            lab: self.take(&at.key("lab"), from.lab).map(|text| text.0),
            projects: self.texts_at(&at.key("projects"), from.projects),
            procedures: self.texts_at(&at.key("procedures"), from.procedures),
            location: self.take(&at.key("location"), from.location).map(|text| text.0),
            task_protocol: self.take(&at.key("task_protocol"), from.task_protocol).map(|text| text.0),
            kind: self.take(&at.key("type"), from.kind).map(|text| text.0),
            json: self.take(&at.key("json"), from.json).map(|json| json.0).filter(|map| !map.is_empty()),
            ..SessionDetails::default()
        }
    }

    /// Patterns for paths relative to the session.
    pub(super) fn patterns(&mut self, key: &KeyPath, given: Given<Vec<Text>>) -> Option<Vec<glob::Pattern>> {
        let patterns = self.take(key, given)?;
        let patterns = patterns.into_iter().enumerate().filter_map(|(i, Text(pattern))| {
            let why = if pattern.starts_with('/') {
                "a pattern is relative to the session folder; leave out the first slash".to_owned()
            } else {
                match glob::Pattern::new(&pattern) {
                    Ok(pattern) => return Some(pattern),
                    Err(err) => format!("{} is not a pattern: {}", quoted(&pattern), err.msg),
                }
            };
            self.refuse(key.index(i), why);
            None
        });
        Some(patterns.collect())
    }

    fn datasets(&mut self, from: DatasetsDocument) -> DatasetsConfig {
        DatasetsConfig {
            exclude: self.patterns(&KeyPath::of("datasets.exclude"), from.exclude).unwrap_or_default(),
            late: self.take(&KeyPath::of("datasets.late"), from.late).unwrap_or_default(),
            late_exclude: self
                .patterns(&KeyPath::of("datasets.late_exclude"), from.late_exclude)
                .unwrap_or_default(),
            protected: self
                .take(&KeyPath::of("datasets.protected"), from.protected)
                .unwrap_or(ProtectedPolicy::Refuse),
            on_refused: self.take(&KeyPath::of("datasets.on_refused"), from.on_refused).unwrap_or_default(),
            on_left_out: self
                .take(&KeyPath::of("datasets.on_left_out"), from.on_left_out)
                .unwrap_or_default(),
            register: self.yes_no("datasets.register", from.register, true),
            repository: self.text("datasets.repository", from.repository),
            server_only: self.yes_no("datasets.server_only", from.server_only, false),
            exists: self.yes_no("datasets.exists", from.exists, true),
            default_revision: self.yes_no("datasets.default", from.default, true),
            versions: self.texts("datasets.versions", from.versions),
            max_md5_size: self
                .take(&KeyPath::of("datasets.max_md5_size"), from.max_md5_size)
                .map(|size| size.0),
            batch_size: self.count("datasets.batch_size", from.batch_size, 100, 1000) as usize,
        }
    }

    fn retry(&mut self, from: RetryDocument) -> RetryConfig {
        const DEFAULT: Backoff = Backoff::constant(SECOND.saturating_mul(30), 2.0, HOUR);
        let bounds = [10 * MS, 30 * DAY];
        let initial = self.time("retry.initial", from.initial, 30 * SECOND, bounds);
        let factor_path = KeyPath::of("retry.factor");
        let mut factor = self.take(&factor_path, from.factor).unwrap_or(2.0);
        if !(1.0..=100.0).contains(&factor) {
            self.refuse(factor_path, format!("{factor} is not between 1 and 100"));
            // The rest is checked with a valid factor, so that all errors are reported at once.
            factor = 2.0;
        }
        let max_given = matches!(from.max.0, Ok(Some(_)));
        let max = self.time("retry.max", from.max, HOUR, bounds);
        let backoff = Backoff::try_new(initial, factor, max).unwrap_or_else(|invalid| {
            match invalid {
                InvalidBackoff::MaxBelowInitial { .. } if max_given => {
                    self.refuse(KeyPath::of("retry.max"), "this is shorter than retry.initial");
                }
                InvalidBackoff::MaxBelowInitial { .. } => self.refuse(
                    KeyPath::of("retry.initial"),
                    "this is longer than retry.max, which is 1 h by default",
                ),
                // Refused above with its bounds.
                InvalidBackoff::ZeroInitial | InvalidBackoff::Factor(_) => {}
            }
            DEFAULT
        });
        RetryConfig { backoff, permanent: self.time("retry.permanent", from.permanent, HOUR, bounds) }
    }

    fn state_dir(&mut self, given: Given<Text>, overrides: &Overrides, environment: &Environment) -> PathBuf {
        let path = KeyPath::of("state_dir");
        let typed = self.take(&path, given).and_then(|Text(typed)| {
            roots::absolute_path(Path::new(&typed)).map_err(|why| self.refuse(path, why)).ok()
        });
        let from_elsewhere = || environment.state_directory.clone();
        overrides
            .state_dir
            .clone()
            .or(typed)
            .or_else(from_elsewhere)
            .unwrap_or_else(|| PathBuf::from(super::unit::USUAL_STATE_DIR))
    }

    fn timezone(&mut self, given: Given<Text>) -> Option<jiff::tz::TimeZone> {
        let path = KeyPath::of("timezone");
        let Text(name) = self.take(&path, given)?;
        match jiff::tz::TimeZone::get(&name) {
            Ok(zone) => Some(zone),
            Err(_) => {
                self.refuse(path, format!("{} is not a time zone (example: Europe/Lisbon)", quoted(&name)));
                None
            }
        }
    }

    fn log(&mut self, from: LogDocument, overrides: &Overrides) -> LogConfig {
        let level = self.take(&KeyPath::of("log.level"), from.level);
        let format = self.take(&KeyPath::of("log.format"), from.format);
        LogConfig {
            level: overrides.log_level.or(level).unwrap_or_default(),
            format: overrides.log_format.or(format).unwrap_or_default(),
        }
    }
}
