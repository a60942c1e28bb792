//! The copies that the findings of a session are about.

use crate::client::RegistrationClient;
use crate::error::Error;
use crate::repository::placement::Placement;
use crate::verify::audit::AuditRules;
use crate::verify::finding::Finding;
use crate::verify::held::Here;
use crate::verify::marks::target::{Mark, MarkTarget, NotMarked, targets};
use crate::verify::sessions::SessionPair;

impl RegistrationClient {
    /// The copies that these findings of a session are about, if a file record can say so; as the error, those that are
    /// ambiguous. Reads only the sidecars.
    ///
    /// # Errors
    /// Those of the program, and [`Error::Unreadable`] if a disk does not answer.
    pub async fn mark_targets(
        &self,
        pair: &SessionPair,
        findings: &[Finding],
        rules: &AuditRules<'_>,
    ) -> Result<Vec<Result<MarkTarget, NotMarked>>, Error> {
        if !findings.iter().any(|finding| Mark::of(finding.kind).is_some()) {
            return Ok(Vec::new());
        }
        let mut folders = Vec::new();
        for folder in &pair.folders {
            let options = rules.disk(self).options_in(folder, rules.flagged).await?;
            let here = Here::of([&Placement::from(&options.files)]);
            folders.push((folder.clone(), here.name().map(str::to_owned)));
        }
        Ok(targets(pair, findings, &folders))
    }
}
