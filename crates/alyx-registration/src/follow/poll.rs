//! The poll: which sessions have copies in a repository that Alyx does not know of yet. A bounded number of requests.

use std::collections::BTreeMap;
use std::path::Path;

use crate::client::RegistrationClient;
use crate::error::Error;
use crate::follow::copy::names;
use crate::follow::look::RepositoryDisk;
use crate::follow::repositories::FollowedRepository;
use crate::verify::look::DiskLook;
use alf::SessionPath;
use alyx_client::ListedFileRecord;

/// What one page of file records says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AbsentFiles {
    /// By session, `subject/date/number` as in the path of its files: the dataset of one file of which a copy is there. Only
    /// with it can Alyx be asked which session this is.
    pub arrived: BTreeMap<String, String>,
    /// By session: how many files have no copy yet.
    pub absent: BTreeMap<String, u64>,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<u64>,
    /// Why the disk of the repository could not be looked at.
    pub unavailable: Option<String>,
}

impl RegistrationClient {
    /// One page of the file records of a repository that say `exists: false`, compared with its disk: one request, and a look for
    /// each of up to 1000 files.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn absent_files(
        &self,
        repository: &FollowedRepository,
        offset: u64,
        hangs_after: std::time::Duration,
    ) -> Result<AbsentFiles, Error> {
        let (files, next) = self.alyx().absent_files(&repository.mount.repository, offset).await?;
        let path = repository.mount.path.clone();
        let look = DiskLook { client: self, hangs_after };
        let (at, repository) = (path.clone(), repository.clone());
        let step = self.context().progress.steps.begin("looking for copies in", &path);
        let found = look.blocking(&path, step, move |step| {
            let disk = match RepositoryDisk::open(&repository) {
                Ok(disk) => disk,
                Err(reason) => return Err(Error::Unreadable { path: at, reason }),
            };
            let is_there = |file: &ListedFileRecord| {
                step.touch();
                names(&file.relative_path, file.dataset_id()).iter().any(|name| disk.holds(name))
            };
            Ok(AbsentFiles { next, ..sorted(&files, is_there) })
        });
        match found.await {
            Err(Error::Unreadable { reason, .. }) => {
                Ok(AbsentFiles { next, unavailable: Some(reason), ..AbsentFiles::default() })
            }
            found => found,
        }
    }

    /// The session of a dataset on Alyx. One request.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn session_of_dataset(&self, dataset: &str) -> Result<Option<String>, Error> {
        Ok(self.alyx().dataset(dataset).await?.eid().map(str::to_owned))
    }
}

/// Sorts file records by their sessions. Pure, but for `is_there`.
fn sorted(files: &[ListedFileRecord], is_there: impl Fn(&ListedFileRecord) -> bool) -> AbsentFiles {
    let mut found = AbsentFiles::default();
    for file in files {
        // The path comes from the server. Files outside sessions are not followed.
        let Some(session) = session_of(&file.relative_path) else { continue };
        if is_there(file) {
            found.arrived.entry(session).or_insert_with(|| file.dataset_id().to_owned());
        } else {
            *found.absent.entry(session).or_default() += 1;
        }
    }
    found
}

/// The session in the path of a file, as it is written there.
fn session_of(path: &str) -> Option<String> {
    let session: Vec<&str> = path.split('/').take(3).collect();
    let session = session.join("/");
    SessionPath::parse(&Path::new("/").join(&session)).is_ok().then_some(session)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_records_are_sorted_by_session_and_by_whether_a_copy_is_there() {
        let file = |path: &str, dataset: &str| ListedFileRecord {
            dataset: format!("http://x/datasets/{dataset}"),
            data_repository: "server".into(),
            relative_path: path.into(),
            exists: false,
        };
        let files = [
            file("A/2024-05-01/001/alf/a.x.npy", "1"),
            file("A/2024-05-01/001/alf/b.x.npy", "2"),
            file("A/2024-05-01/001/alf/c.x.npy", "3"),
            file("A/2024-05-02/1/alf/c.x.npy", "4"),
            file("aggregates/table.pqt", "5"),
            file("../../etc/passwd", "6"),
        ];
        let there = ["2", "3"];
        let found = sorted(&files, |file| there.contains(&file.dataset_id()));
        let (one, two) = ("A/2024-05-01/001".to_owned(), "A/2024-05-02/1".to_owned());
        assert_eq!(found.arrived, [(one.clone(), "2".to_owned())].into());
        assert_eq!(found.absent, [(one, 1), (two, 1)].into());
    }
}
