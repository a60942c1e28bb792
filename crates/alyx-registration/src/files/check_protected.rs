//! Checking which files are protected on Alyx, without registering anything.

use std::path::PathBuf;

use crate::client::RegistrationClient;
use crate::client::options::RegisterFilesOptions;
use crate::error::Error;
use crate::files::upload::group;
use crate::listing::left_out::LeftOut;
use alyx_client::{Endpoint, ProtectedFile};

/// The protection of the files of one session.
#[derive(Debug, Clone)]
pub struct ProtectedStatus {
    /// The session folder; for files outside a session, the folder to which their names are relative.
    pub folder: PathBuf,
    /// The path in the request: `subject/YYYY-MM-DD/NNN`.
    pub path: String,
    /// The files, in the caller's order.
    pub files: Vec<PathBuf>,
    /// Each file with its revisions, latest first; empty if none of the files is protected.
    pub details: Vec<ProtectedFile>,
}

impl ProtectedStatus {
    /// Whether any revision of any of the files is protected (Python: status 403, otherwise 200).
    pub fn is_protected(&self) -> bool {
        self.protected().next().is_some()
    }

    /// The protected files.
    pub fn protected(&self) -> impl Iterator<Item = &ProtectedFile> {
        self.details.iter().filter(|file| file.revisions.iter().any(|(_, protected)| *protected))
    }
}

impl RegistrationClient {
    /// Checks whether files are protected, session by session (Python: `check_protected_files`).
    ///
    /// Only the options `created_by` and `relation` matter. Files that are not datasets are left out with the reason.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[doc = include_str!("../example_setup.txt")]
    /// use alyx_registration::{NewSessionOptions, RegisterFilesOptions};
    ///
    /// let session = client.create_new_session("KS014", &root, &NewSessionOptions::default()).await?;
    /// let file = session.folder.join("wheel.position.npy");
    /// std::fs::write(&file, "")?;
    /// let options = RegisterFilesOptions::default();
    /// let registered = client.register_files(&[file.clone()], &options).await?;
    /// let (status, _) = client.check_protected_files(&[file.clone()], &options).await?;
    /// assert!(!status[0].is_protected());
    ///
    /// sandbox.control().protect_dataset(&registered.records[0].as_ref().unwrap().record.id);
    /// let (status, _) = client.check_protected_files(&[file], &options).await?;
    /// assert!(status[0].is_protected());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Missing`] for an unknown user; those of any request, such as for a session that is not on Alyx.
    pub async fn check_protected_files(
        &self,
        paths: &[PathBuf],
        options: &RegisterFilesOptions,
    ) -> Result<(Vec<ProtectedStatus>, Vec<LeftOut>), Error> {
        let types = self.dataset_types().await?;
        let (groups, left_out) = group(paths, &types, options);
        let user = match &options.created_by {
            Some(user) => {
                self.check_names(vec![(Endpoint::Users, user.clone())]).await?;
                user.as_str()
            }
            None => self.alyx().username().await?,
        };
        let mut statuses = Vec::with_capacity(groups.len());
        for (owner, files) in groups {
            let mut status = ProtectedStatus {
                folder: owner.folder().to_owned(),
                path: String::new(),
                files: files.iter().map(|f| owner.path_of(&f.dataset)).collect(),
                details: Vec::new(),
            };
            let files: Vec<_> = files.iter().collect();
            for batch in files.chunks(self.options().batch_size.max(1)) {
                let request = owner.protection_request(batch, user);
                status.details.extend(self.alyx().check_protected(&request).await?);
                status.path = request.path;
            }
            statuses.push(status);
        }
        Ok((statuses, left_out))
    }
}
