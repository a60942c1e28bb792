//! What a run would do: nothing is changed, neither on Alyx nor on disk.

use std::path::PathBuf;

use rustix::fs::Access;

use crate::client::RegistrationClient;
use crate::client::options::{FlaggedOptions, OnRefused};
use crate::error::Error;
use crate::files::check_protected::ProtectedStatus;
use crate::files::send::RemoteScope;
use crate::flag::FlagFile;
use crate::flagged::checks::{check_flag_matches, judge_gap};
use crate::flagged::listing::Listing;
use crate::listing::completeness::{self, Unregistered};
use crate::listing::discover::{FoundFile, FoundFiles};
use crate::listing::gap::{Gap, Untyped};
use crate::listing::left_out::LeftOut;
use crate::metadata::known::{KnownSession, with_sources};
use crate::session::details::SessionDetails;
use crate::session::names;
use crate::session::register::SessionSources;
use alf::SessionPath;
use alyx_client::SessionRequest;

/// What would be registered.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The session.
    pub session: SessionPath,
    /// The session's UUID if it is on Alyx.
    pub eid: Option<String>,
    /// Its datasets.
    pub files: Vec<FoundFile>,
    /// The other files of the folder.
    pub left_out: Vec<LeftOut>,
    /// What is known of the session; `None` if no metadata is read.
    pub known: Option<KnownSession>,
    /// What would be sent for the session itself. Empty if nothing.
    pub request: SessionRequest,
    /// The weight and water that would be recorded, one line each.
    pub measurements: Vec<String>,
    /// What it would lack.
    pub gap: Option<Gap>,
    /// Kinds of files that no dataset type takes; none with [`OnLeftOut::Ignore`](crate::OnLeftOut::Ignore).
    pub untyped: Vec<Untyped>,
    /// Changed files of protected datasets that would be moved into a revision folder: from where, to where.
    pub moved: Vec<(PathBuf, PathBuf)>,
}

impl RegistrationClient {
    /// What [`register_flagged`](Self::register_flagged) would do. Changes nothing, neither on Alyx nor on disk.
    ///
    /// # Errors
    /// Those of [`register_flagged`](Self::register_flagged) that can be foreseen.
    pub async fn plan_flagged(
        &self,
        flag: &FlagFile,
        session: &SessionPath,
        options: &FlaggedOptions,
    ) -> Result<Planned, Error> {
        let options = &*options.for_folder(session.folder());
        let (client, at) = (self.clone(), flag.clone());
        let content = on_disk(move || client.flag_content(&at)).await??;
        let listing = self.list_and_describe(Some(flag), session, &content, options, Vec::new()).await?;
        let Listing { found, visitor: files, known, options } = listing;
        let options = &*options;
        self.check_day(session, known.as_ref())?;
        let found = FoundFiles { files, ..found };
        let extra = if found.files.is_empty() { Vec::new() } else { options.files.names() };
        self.check_quiet(session, &found, options)?;
        self.check_known(known.as_ref(), options)?;
        match found.files.is_empty() {
            true => check_flag_matches(flag, &content, &found)?,
            false => self.check_repository(known.as_ref()).await?,
        }
        let none = SessionDetails::default();
        let defaults = self.defaults_of(session, &options.defaults);
        let sources = SessionSources { details: &none, defaults: &defaults, known: known.as_ref() };
        let (eid, request) = self.plan_flagged_session(session, &sources, extra).await?;
        let files = found.files.clone();
        let unreadable = on_disk(move || unreadable(&files)).await?;
        let readable = found.files.len() - unreadable.len();
        let unregistered = Unregistered::of(unreadable, &found.left_out, Vec::new(), Vec::new());
        unregistered.accept(readable, options.on_refused)?;
        let scope = eid.clone().map_or(RemoteScope::Nothing, RemoteScope::Session);
        let gap = match self.find_gap(&found, !found.files.is_empty(), options).await? {
            Some(gap) => judge_gap(gap, &self.remote_paths(&scope).await?, options)?,
            None => None,
        };
        let untyped = self.find_untyped(&found, options).await?;
        let folder = session.clone();
        on_disk(move || check_removable(&folder)).await??;
        let measurements = self.planned_measurements(known.as_ref(), eid.as_deref()).await?;
        let mut planned = Planned {
            session: session.clone(),
            eid,
            files: found.files,
            left_out: found.left_out,
            known,
            request,
            measurements,
            gap,
            untyped,
            moved: Vec::new(),
        };
        if planned.eid.is_some() && readable > 0 {
            planned.moved = self.plan_flagged_moves(&planned, options).await?;
        }
        Ok(planned)
    }

    /// The moves of a run, or why it would refuse. The files are hashed only if one of them is protected: for a session
    /// without protected datasets this costs one request.
    async fn plan_flagged_moves(
        &self,
        planned: &Planned,
        options: &FlaggedOptions,
    ) -> Result<Vec<(PathBuf, PathBuf)>, Error> {
        let paths: Vec<PathBuf> = planned.files.iter().map(|file| file.path.clone()).collect();
        let (statuses, _) = self.check_protected_files(&paths, &options.files).await?;
        if !statuses.iter().any(ProtectedStatus::is_protected) {
            return Ok(Vec::new());
        }
        match self.plan_files(&paths, &options.files).await {
            Err(Error::Alyx(alyx_client::Error::Protected { .. }))
                if options.on_refused == OnRefused::Finish =>
            {
                Ok(Vec::new())
            }
            planned => planned.map(|planned| planned.moved),
        }
    }

    /// The eid of a session that is on Alyx, `None` if it is absent and can be created, and what would be sent.
    async fn plan_flagged_session(
        &self,
        session: &SessionPath,
        sources: &SessionSources<'_>,
        extra: Vec<(alyx_client::Endpoint, String)>,
    ) -> Result<(Option<String>, SessionRequest), Error> {
        self.creation_of(session, sources).await?;
        self.check_measurements(sources.known).await?;
        let found = self.find_session(session, session.lab()).await?;
        let eid = found.map(|summary| summary.eid().to_owned());
        let request = match (&eid, sources.known.filter(|known| known.adds_values())) {
            (Some(eid), Some(known)) => {
                self.plan_fill(session, eid, known, &SessionRequest::default()).await?.additions()
            }
            (Some(_), None) => SessionRequest::default(),
            (None, _) => self.whole_creation(session, sources).await?,
        };
        let asked = self.check_names([names::mentioned(&request), extra].concat()).await;
        asked.map_err(|error| with_sources(sources.known, error))?;
        Ok((eid, request))
    }
}

/// Works on the disk, on a thread on which that may take long.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::Internal(format!("looking at a session: {e}")))
}

/// The files that a run could not read, according to their permissions, one line each.
fn unreadable(files: &[FoundFile]) -> Vec<String> {
    let refused = files.iter().filter_map(|file| {
        let error = rustix::fs::access(&file.path, Access::READ_OK).err()?;
        Some(completeness::unreadable(&file.dataset, std::io::Error::from(error).to_string()))
    });
    refused.collect()
}

/// Whether a run could remove the flag, according to the permissions of its folder.
fn check_removable(session: &SessionPath) -> Result<(), Error> {
    match rustix::fs::access(session.folder(), Access::WRITE_OK | Access::EXEC_OK) {
        Err(error) => Err(Error::Invalid(format!(
            "the flag in {:?} could not be removed ({}); allow the user who runs this to write in that folder",
            session.folder(),
            std::io::Error::from(error)
        ))),
        Ok(()) => Ok(()),
    }
}
