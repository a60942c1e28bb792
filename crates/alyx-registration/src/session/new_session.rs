//! A new session: the next free folder of a day, created on disk and registered.

#![expect(clippy::disallowed_methods, reason = "reads the clock, works on the disk")]

use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::client::RegistrationClient;
use crate::client::options::{FilesToRegister, NewSessionOptions, RegisterFilesOptions};
use crate::error::Error;
use crate::metadata::known::{KnownSession, with_sources};
use crate::session::details::SessionDetails;
use crate::session::names;
use crate::session::planned::PlannedSession;
use crate::session::register::{RegisteredSession, SessionSources};
use alf::session_path::parse_number_folder;
use alf::timestamp::DateInput;
use alf::{SessionPath, SessionTime};
use alyx_client::{Endpoint, SessionRequest};

/// The largest session number.
const MAX_NUMBER: u16 = 999;

/// A session that was created.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Its folder.
    pub folder: PathBuf,
    /// Its eid, if it was registered.
    pub eid: Option<Uuid>,
    /// The session on Alyx, if it was registered.
    pub session: Option<RegisteredSession>,
}

/// The number after the largest existing one (ONE: `next_num_folder`). Pure.
///
/// # Errors
/// [`Error::Invalid`] if there is no number left.
fn next_number(taken: impl Iterator<Item = u16>) -> Result<u16, Error> {
    match taken.max().unwrap_or(0) + 1 {
        number if number <= MAX_NUMBER => Ok(number),
        _ => Err(Error::Invalid(
            "session 999 of that day exists, and no number is larger; use another day".into(),
        )),
    }
}

/// The numbers of the session folders in a day's folder; none if it is missing.
fn numbers_on_disk(day: &Path) -> Result<Vec<u16>, Error> {
    let entries = match std::fs::read_dir(day) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::reading(day, &error)),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry.map_err(|e| Error::reading(day, &e))?.file_name();
        // A file of such a name blocks the number as well.
        numbers.extend(name.to_str().and_then(parse_number_folder));
    }
    Ok(numbers)
}

/// Creates the next free folder of a day, or that of a given number. Blocks.
///
/// Two programs that do this at once get two folders: only one of them creates each folder.
fn make_folder(day: &Path, number: Option<u16>, taken_elsewhere: &[u16]) -> Result<PathBuf, Error> {
    let failed = |path: &Path, e: &io::Error| {
        let (path, reason) = (path.to_owned(), e.to_string());
        Error::CannotMake { path, reason }
    };
    std::fs::create_dir_all(day).map_err(|e| failed(day, &e))?;
    loop {
        let candidate = match number {
            Some(number) => number,
            None => next_number(numbers_on_disk(day)?.into_iter().chain(taken_elsewhere.iter().copied()))?,
        };
        let folder = day.join(format!("{candidate:03}"));
        match std::fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number.is_none() => {}
            Err(error) => return Err(failed(&folder, &error)),
        }
    }
}

impl RegistrationClient {
    /// Creates the folder of a new session, `<root>/<subject>/<date>/<number>`, and the session on Alyx
    /// (Python: `create_new_session`).
    ///
    /// The number follows the largest on disk and, if the session is registered, the largest on Alyx for that day: a
    /// session of another rig is not taken over. `root` must exist: one that is missing may be a disk that is not
    /// mounted.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[doc = include_str!("../example_setup.txt")]
    /// use alyx_registration::{NewSessionOptions, SessionDetails};
    ///
    /// let details = SessionDetails { projects: vec!["practice".into()], ..Default::default() };
    /// let options = NewSessionOptions { date: Some("2024-05-01".into()), details, ..Default::default() };
    /// let session = client.create_new_session("KS014", &root, &options).await?;
    /// assert_eq!(session.folder, root.join("KS014/2024-05-01/001"));
    /// assert!(session.eid.is_some());
    ///
    /// let local = NewSessionOptions { register: false, ..options };
    /// let session = client.create_new_session("KS014", &root, &local).await?;
    /// assert_eq!((session.folder, session.eid), (root.join("KS014/2024-05-01/002"), None));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Missing`] for an unknown subject or other name; [`Error::Invalid`] for an invalid date, a number that exists on Alyx,
    /// or a day without free numbers; [`Error::CannotMake`] for the folder; [`Error::NewSession`] if the folder was
    /// created but the session could not be registered.
    pub async fn create_new_session(
        &self,
        subject: &str,
        root: &Path,
        options: &NewSessionOptions<'_>,
    ) -> Result<NewSession, Error> {
        let (day, taken) = self.day_of_new_session(subject, root, options).await?;
        let number = options.number;
        let folder = tokio::task::spawn_blocking(move || make_folder(&day, number, &taken))
            .await
            .map_err(|e| Error::Internal(format!("making a folder: {e}")))??;
        if !options.register {
            return Ok(NewSession { folder, eid: None, session: None });
        }
        let registered = async {
            let files = RegisterFilesOptions::default();
            let registering =
                self.register_session(&folder, &options.details, &FilesToRegister::None, &files);
            let (session, _) = registering.await?;
            let eid = session.record.eid();
            let eid = Uuid::try_parse(eid).map_err(|_| Error::Internal(format!("the eid {eid:?}")))?;
            Ok((eid, session))
        };
        match registered.await {
            Ok((eid, session)) => Ok(NewSession { folder, eid: Some(eid), session: Some(session) }),
            Err(source) => Err(Error::NewSession { folder, source: Box::new(source) }),
        }
    }

    /// What [`create_new_session`](Self::create_new_session) would do now: the folder of the session that it would create,
    /// and what it would send, which is empty if the session is not registered. Changes nothing.
    ///
    /// # Errors
    /// As for [`create_new_session`](Self::create_new_session), as far as they can be foreseen; [`Error::CannotMake`]
    /// for a number whose folder exists.
    pub async fn plan_new_session(
        &self,
        subject: &str,
        root: &Path,
        options: &NewSessionOptions<'_>,
    ) -> Result<PlannedSession, Error> {
        let (day, taken) = self.day_of_new_session(subject, root, options).await?;
        let on_disk = numbers_on_disk(&day)?;
        let number = match options.number {
            Some(number) => number,
            None => next_number(on_disk.iter().copied().chain(taken))?,
        };
        let folder = day.join(format!("{number:03}"));
        if on_disk.contains(&number) {
            return Err(Error::CannotMake { path: folder, reason: "the folder exists already".into() });
        }
        let mut planned = PlannedSession {
            measurements: Vec::new(),
            session: SessionPath::parse(&folder)?,
            eid: None,
            request: SessionRequest::default(),
            differences: Vec::new(),
            known: None,
        };
        if options.register {
            let details = &options.details;
            let (known, defaults) = self.known_by_name(&planned.session, details, true).await?;
            let sources = SessionSources { details, defaults: &defaults, known: known.as_ref() };
            planned.request = self.whole_creation(&planned.session, &sources).await?;
            let repository = known.as_ref().and_then(KnownSession::repository_name);
            let names = names::mentioned(&planned.request).into_iter().chain(repository).collect();
            let asked = self.check_names(names).await;
            asked.map_err(|error| with_sources(known.as_ref(), error))?;
            planned.known = known;
        }
        Ok(planned)
    }

    /// Refuses a root that is not there: a folder made in its place would be hidden once its disk is mounted.
    async fn check_root(&self, root: &Path) -> Result<(), Error> {
        let Err(error) = tokio::fs::read_dir(root).await else { return Ok(()) };
        Err(match error.kind() {
            io::ErrorKind::NotFound => Error::Invalid(format!(
                "there is no folder {root:?}, in which the session would be made; mount its disk, or correct the name. \
                 If the folder is really new, create it first"
            )),
            io::ErrorKind::NotADirectory => {
                Error::Invalid(format!("{root:?} is not a folder; name the folder that holds the subjects"))
            }
            _ => Error::reading(root, &error),
        })
    }

    /// The folder of the day of a new session, and the numbers that Alyx has for that day.
    async fn day_of_new_session(
        &self,
        subject: &str,
        root: &Path,
        options: &NewSessionOptions<'_>,
    ) -> Result<(PathBuf, Vec<u16>), Error> {
        let date = self.session_time(options.date.unwrap_or(DateInput::Now))?.date();
        if options.number.is_some_and(|number| number > MAX_NUMBER) {
            return Err(Error::Invalid("a session number has at most three digits".into()));
        }
        self.check_names(vec![(Endpoint::Subjects, subject.to_owned())]).await?;
        if let Some(right) = root.parent().filter(|_| root.file_name().is_some_and(|name| name == subject)) {
            return Err(Error::Invalid(format!(
                "{root:?} is the folder of {subject} itself; give the folder that holds it, {right:?}"
            )));
        }
        self.check_root(root).await?;
        let day = root.join(subject).join(date.to_string());
        // Refuses a name or root that would be parsed as something else, before anything is created.
        let planned = SessionPath::parse(&day.join("001"))?;
        self.check_day(&planned, None)?;
        options.details.request(&planned, &self.options().zone)?;
        let mut taken = Vec::new();
        if options.register {
            let sources = SessionSources {
                details: &options.details,
                defaults: &SessionDetails::default(),
                known: None,
            };
            let creation = self.creation_of(&planned, &sources).await?;
            self.check_names(names::mentioned(&creation)).await?;
            let on_alyx = self.alyx().sessions_of_day(subject, date).await?;
            taken = on_alyx.iter().filter_map(|s| s.number).filter_map(|n| u16::try_from(n).ok()).collect();
        }
        if let Some(number) = options.number.filter(|number| taken.contains(number)) {
            return Err(Error::Invalid(format!(
                "session {subject}/{date}/{number:03} is on Alyx already; omit the number, or register its folder"
            )));
        }
        Ok((day, taken))
    }

    /// A date or time as naive local time in ISO 8601 (Python: `ensure_ISO8601`).
    ///
    /// A day means its midnight, and [`DateInput::Now`] the present, in the [zone](crate::RegistrationOptions::zone) of
    /// the client. A time with an offset is converted to naive local time of that zone, because Alyx would store it as
    /// UTC.
    ///
    /// ```
    /// use alyx_client::{Client, ClientOptions, Credentials};
    /// use alyx_registration::{RegistrationClient, RegistrationOptions};
    /// use jiff::{civil::date, tz::{TimeZone, offset}};
    ///
    /// let credentials = Credentials::Token { username: None, token: "0123".into() };
    /// let alyx = Client::new(ClientOptions::new("https://alyx.example.org", credentials)).unwrap();
    /// let options = RegistrationOptions { zone: TimeZone::fixed(offset(-5)), ..Default::default() };
    /// let client = RegistrationClient::new(alyx, options);
    /// assert_eq!(client.ensure_iso8601(date(2024, 5, 1)).unwrap(), "2024-05-01T00:00:00");
    /// assert_eq!(client.ensure_iso8601("2024-05-02T04:30:00Z").unwrap(), "2024-05-01T23:30:00");
    /// assert!(client.ensure_iso8601("07/14/21").is_err());
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] for a text that is not an ISO 8601 date or time.
    pub fn ensure_iso8601<'a>(&self, date: impl Into<DateInput<'a>>) -> Result<String, Error> {
        self.session_time(date.into()).map(|time| time.to_iso())
    }

    /// A time in any form of input, as Alyx stores it.
    pub(crate) fn session_time(&self, date: DateInput<'_>) -> Result<SessionTime, Error> {
        let zone = &self.options().zone;
        let now = jiff::Timestamp::now().to_zoned(zone.clone()).datetime();
        alf::timestamp::ensure_iso8601(date, now, zone).map_err(|e| Error::Invalid(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_number_follows_the_largest() {
        assert_eq!(next_number([].into_iter()).unwrap(), 1);
        assert_eq!(next_number([1, 7, 3].into_iter()).unwrap(), 8);
        assert!(next_number([999].into_iter()).is_err());
    }

    #[test]
    fn numbers_that_exist_on_disk_or_elsewhere_are_skipped() {
        let day = tempfile::tempdir().unwrap();
        assert_eq!(make_folder(&day.path().join("d"), None, &[]).unwrap(), day.path().join("d/001"));
        assert_eq!(make_folder(&day.path().join("d"), None, &[4]).unwrap(), day.path().join("d/005"));
        std::fs::write(day.path().join("d/006"), "a file").unwrap();
        assert_eq!(make_folder(&day.path().join("d"), None, &[]).unwrap(), day.path().join("d/007"));
    }

    #[test]
    fn a_given_number_is_used_or_refused() {
        let day = tempfile::tempdir().unwrap();
        assert_eq!(make_folder(day.path(), Some(12), &[]).unwrap(), day.path().join("012"));
        assert!(matches!(make_folder(day.path(), Some(12), &[]), Err(Error::CannotMake { .. })));
    }

    #[test]
    fn concurrent_callers_get_a_folder_each() {
        let day = tempfile::tempdir().unwrap();
        let made: std::collections::HashSet<PathBuf> = std::thread::scope(|scope| {
            let makers: Vec<_> =
                (0..16).map(|_| scope.spawn(|| make_folder(day.path(), None, &[]).unwrap())).collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect()
        });
        assert_eq!(made.len(), 16);
    }
}
