//! Judgement: asks Alyx for its labs and repositories, and judges whether ONE loads files from them.

use std::collections::BTreeSet;

use crate::client::RegistrationClient;
use crate::repository::loadability::NotLoadable;
use crate::repository::placement::Placement;

impl RegistrationClient {
    /// Why ONE does not load files of these labs, each in its place. `None` as the lab: it is not known which one it is.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn why_not_loadable<'a>(
        &self,
        places: impl IntoIterator<Item = &'a (Option<String>, Placement)>,
    ) -> Result<Vec<NotLoadable>, alyx_client::Error> {
        let repositories = self.alyx().repositories().await?;
        let labs = self.alyx().labs().await?;
        let mut found = BTreeSet::new();
        for (lab, placement) in places {
            let lab = labs.iter().find(|known| Some(&known.name) == lab.as_ref());
            found.extend(NotLoadable::judge(placement, lab, &repositories));
        }
        Ok(Vec::from_iter(found))
    }
}
