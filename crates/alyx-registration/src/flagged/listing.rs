//! Listing a flagged session, and reading what is known of it.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use crate::client::RegistrationClient;
use crate::client::options::FlaggedOptions;
use crate::error::Error;
use crate::files::upload::FileToRegister;
use crate::flag::{FlagContent, FlagFile};
use crate::flagged::checks::MIN_WAIT;
use crate::listing::discover::{FoundFile, FoundFiles, SeenEntry, Visitor, refuse_twin};
use crate::listing::left_out::LeftOutReason;
use crate::metadata::known::{KnownSession, flag_sidecar};
use crate::metadata::sources::{Beside, MetadataSources};
use alf::{DatasetPath, SessionPath};
use session_metadata::SidecarFile;

/// The datasets of a session, as far as they matter before they are read.
#[derive(Debug, Default)]
pub(crate) struct DatasetList {
    pub(crate) files: Vec<FileToRegister>,
    pub(crate) bytes: u64,
}

impl Visitor for DatasetList {
    fn dataset(&mut self, found: FoundFile) {
        self.files.push(FileToRegister { index: self.files.len(), dataset: found.dataset });
        self.bytes += found.size;
    }
}

/// A flagged session before anything is sent.
pub(crate) struct Listing<'a, V> {
    pub(crate) found: FoundFiles,
    pub(crate) visitor: V,
    /// What is known of it; `None` if no metadata is read.
    pub(crate) known: Option<KnownSession>,
    /// With what its sidecars say of its files.
    pub(crate) options: Cow<'a, FlaggedOptions>,
}

/// Hands on the datasets of a session, and what else lies in it to the sources of its metadata.
pub(crate) struct Described<V> {
    pub(crate) visitor: V,
    pub(crate) sources: Option<MetadataSources>,
}

impl<V: Visitor> Visitor for Described<V> {
    fn dataset(&mut self, found: FoundFile) {
        self.visitor.dataset(found);
    }

    fn entry(&mut self, path: &Path, entry: SeenEntry<'_>) {
        if let Some(sources) = &mut self.sources {
            sources.see(path, entry);
        }
    }
}

impl RegistrationClient {
    /// Lists a flagged session and reads what is known of it. One walk serves both.
    ///
    /// # Errors
    /// Those of its folder; [`Error::StillChanging`] if a file changed before its metadata were read.
    pub(crate) async fn list_and_describe<'a, V: Visitor + Send + 'static>(
        &self,
        flag: Option<&FlagFile>,
        session: &SessionPath,
        content: &FlagContent,
        options: &'a FlaggedOptions,
        visitor: V,
    ) -> Result<Listing<'a, V>, Error> {
        let sidecar = match (flag, content) {
            (Some(flag), FlagContent::Sidecar(bytes)) => Some(flag_sidecar(&flag.path, bytes)),
            _ => None,
        };
        let beside = Beside { flag: sidecar, defaults: options.defaults.clone(), ..Beside::default() };
        let sources = self.metadata_sources(session, beside).await?;
        let applied = sources.as_ref().map(|sources| Cow::Owned(sources.applied_to(options)));
        let options = applied.unwrap_or(Cow::Borrowed(options));
        // Late files add nothing to what is known of a session, but go where its sidecar says.
        let described = Described { visitor, sources: sources.filter(|_| flag.is_some()) };
        let (found, Described { visitor, sources }) =
            self.list_flagged(flag, session, content, &options, described).await?;
        let Some(sources) = sources else { return Ok(Listing { found, visitor, known: None, options }) };
        let wait = options.quiet.settle.max(MIN_WAIT);
        let known = self.read_sources(session, sources, options.register_files, wait).await?;
        Ok(Listing { found, visitor, known: Some(known), options })
    }

    /// Lists a flagged session that has no twin; its datasets, if they are to be registered, go to a visitor.
    pub(crate) async fn list_flagged<V: Visitor + Send + 'static>(
        &self,
        flag: Option<&FlagFile>,
        session: &SessionPath,
        content: &FlagContent,
        options: &FlaggedOptions,
        visitor: V,
    ) -> Result<(FoundFiles, V), Error> {
        let (twin, steps) = (session.clone(), Arc::clone(&self.context().progress.steps));
        let refuse_twin = move || {
            let _step = steps.begin("listing", twin.folder().parent().unwrap_or(twin.folder()));
            refuse_twin(&twin)
        };
        tokio::task::spawn_blocking(refuse_twin)
            .await
            .map_err(|e| Error::Internal(format!("checking for a twin: {e}")))??;
        if !options.register_files {
            return Ok((FoundFiles::default(), visitor));
        }
        self.visit_flagged(flag, session, content, options, visitor).await
    }

    /// Lists a flagged session; its datasets go to a visitor.
    pub(crate) async fn visit_flagged<V: Visitor + Send + 'static>(
        &self,
        flag: Option<&FlagFile>,
        session: &SessionPath,
        content: &FlagContent,
        options: &FlaggedOptions,
        visitor: V,
    ) -> Result<(FoundFiles, V), Error> {
        let (exclude, copy_signs) = (exclusion(content, options), &options.quiet.copy_signs);
        let (mut found, visitor) = self.visit_datasets(session, flag, copy_signs, exclude, visitor).await?;
        // That the flag itself is left out need not be reported.
        found.left_out.retain(|file| flag.is_none_or(|flag| session.folder().join(&file.path) != flag.path));
        Ok((found, visitor))
    }

    /// The options for the files of a session: those of its data root, and what its sidecars say of its files. Its flag
    /// may be one of them.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub async fn options_in(
        &self,
        session: &SessionPath,
        options: &FlaggedOptions,
    ) -> Result<FlaggedOptions, Error> {
        let beside = Beside { flag: self.sidecar_of_flag(session).await?, ..Beside::default() };
        let sources = self.metadata_sources(session, beside).await?;
        let options = options.for_folder(session.folder());
        Ok(sources.map_or_else(|| options.clone().into_owned(), |sources| sources.applied_to(&options)))
    }

    /// The flag of a session, if it describes it.
    pub(crate) async fn sidecar_of_flag(&self, session: &SessionPath) -> Result<Option<SidecarFile>, Error> {
        let (folder, flags) = (session.folder().to_owned(), self.options().flags.clone());
        let read = move || KnownSession::sidecar_of_flag(&folder, &flags);
        tokio::task::spawn_blocking(read).await.map_err(|e| Error::Internal(format!("reading a flag: {e}")))
    }

    /// As [`find_files`](Self::find_files), but without the files that these options and the sidecars exclude.
    ///
    /// # Errors
    /// As [`find_files`](Self::find_files).
    pub async fn find_files_with(
        &self,
        folder: &Path,
        options: &FlaggedOptions,
    ) -> Result<FoundFiles, Error> {
        let session = SessionPath::parse(folder)?;
        let exclude = exclusion(&FlagContent::Everything, &self.options_in(&session, options).await?);
        let found = self.find_datasets(&session, None, &[].into(), exclude).await;
        found.map_err(|error| error.or_no_folder(folder))
    }
}

/// The reason to leave out a file, by its path relative to the session; `None`: it is registered.
pub(crate) fn exclusion(
    content: &FlagContent,
    options: &FlaggedOptions,
) -> impl Fn(&str) -> Option<LeftOutReason> + Send + 'static {
    let (content, exclude) = (content.clone(), options.exclude.clone());
    move |relative| {
        if exclude.iter().any(|pattern| pattern.matches(relative)) {
            return Some(LeftOutReason::Excluded);
        }
        let selected = names_and_original(relative).iter().any(|name| content.selects(name));
        (!selected).then_some(LeftOutReason::NotInFlag)
    }
}

/// A file's path, and its path before it was moved into a revision folder: a flag that lists a file also means its
/// revisions. Otherwise a run after one that was interrupted after the move would not find the file.
pub(crate) fn names_and_original(relative: &str) -> Vec<String> {
    let mut names = vec![relative.to_owned()];
    let path = DatasetPath::parse(Path::new(relative)).ok();
    if let Some(path) = path.filter(|p| p.revision().is_some()) {
        let folder = path.collection().map(|c| format!("{c}/")).unwrap_or_default();
        names.push(format!("{folder}{}", path.file_name()));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_that_lists_a_file_means_its_revisions_too() {
        let content = FlagContent::parse(b"alf/spikes.times.npy").unwrap();
        let exclude = exclusion(&content, &FlaggedOptions::default());
        assert_eq!(exclude("alf/spikes.times.npy"), None);
        assert_eq!(exclude("alf/#2024-05-01#/spikes.times.npy"), None);
        assert_eq!(exclude("raw/#2024-05-01#/spikes.times.npy"), Some(LeftOutReason::NotInFlag));
    }
}
