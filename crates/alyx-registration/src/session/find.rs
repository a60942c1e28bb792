//! Finding a session on Alyx.

use uuid::Uuid;

use crate::client::RegistrationClient;
use crate::error::Error;
use crate::session::handle::SessionHandle;
use crate::session::reference::{SessionReference, session_of};
use alf::SessionPath;
use alyx_client::text::shortened;
use alyx_client::{self, SessionSearch, SessionSummary};

/// The only match among the sessions found; `None`: there is none. Pure.
///
/// A session of another lab is no reason to create one in this lab: `POST /register-file` names a session by its subject,
/// day and number, so that Alyx would register the files of one in the other.
fn only_match(
    found: Vec<SessionSummary>,
    path: &SessionPath,
    lab: Option<&str>,
) -> Result<Option<SessionSummary>, Error> {
    let [only] = found.as_slice() else {
        let eids: Vec<String> = found.iter().map(|s| s.eid().to_owned()).collect();
        return match eids.is_empty() {
            true => Ok(None),
            false => Err(Error::Ambiguous { session: path.to_string(), eids }),
        };
    };
    match (only.lab.as_deref(), lab) {
        (Some(other), Some(lab)) if other != lab => Err(Error::Invalid(format!(
            "session {path} is in lab {:?} on Alyx ({}), and its folder or the request names lab {lab:?}; move the \
             folder to the lab of its subject, or correct the lab of the session on Alyx",
            shortened(other),
            shortened(only.eid())
        ))),
        _ => Ok(Some(only.clone())),
    }
}

impl RegistrationClient {
    /// The session of a path on Alyx, if there is one.
    ///
    /// # Errors
    /// [`Error::Ambiguous`] if there are several.
    pub(crate) async fn find_session(
        &self,
        path: &SessionPath,
        lab: Option<&str>,
    ) -> Result<Option<SessionSummary>, Error> {
        only_match(self.alyx().sessions(&search_for(path)).await?, path, lab)
    }

    /// Looks a session up again if this run created it, and refuses it if another program created it at the same time.
    /// `is_empty`: no dataset was registered in it.
    ///
    /// Alyx has no uniqueness constraint. Of two programs that each create a session and then look, at least the later
    /// one finds both: it registers nothing in its own.
    ///
    /// # Errors
    /// [`Error::CreatedTwice`], and those of the request.
    pub(crate) async fn check_created_once(
        &self,
        path: &SessionPath,
        handle: &SessionHandle,
        is_empty: bool,
    ) -> Result<(), Error> {
        if handle.created.is_none() {
            return Ok(());
        }
        let found = self.alyx().sessions(&search_for(path)).await?;
        let others: Vec<String> =
            found.iter().map(|s| s.eid().to_owned()).filter(|eid| *eid != handle.eid).collect();
        if others.is_empty() {
            return Ok(());
        }
        Err(Error::CreatedTwice { session: path.to_string(), ours: handle.eid.clone(), others, is_empty })
    }

    /// The eid of a session (Python: `ONE.to_eid`). A folder is looked up on Alyx; an eid is returned as it is.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[doc = include_str!("../example_setup.txt")]
    /// use alyx_registration::{SessionDetails, SessionReference};
    ///
    /// let folder = root.join("KS014/2024-05-01/001");
    /// let record = client.create_session(&folder, &SessionDetails::default()).await?;
    /// let eid = client.to_eid(&SessionReference::from(folder)).await?;
    /// assert_eq!(eid.to_string(), record.eid());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::NotASession`] for a path that is not a session folder, [`Error::Invalid`] if Alyx has no such session,
    /// [`Error::Ambiguous`], and those of the request.
    pub async fn to_eid(&self, session: &SessionReference) -> Result<Uuid, Error> {
        let path = match session {
            SessionReference::Eid(eid) => return Ok(*eid),
            SessionReference::Folder(folder) => session_of(folder)?,
        };
        match self.find_session(&path, path.lab()).await? {
            Some(found) => Uuid::try_parse(found.eid()).map_err(|_| {
                Error::Internal(format!("session {path} has the eid {:?}", shortened(found.eid())))
            }),
            None => Err(Error::Invalid(format!("session {path} is not on Alyx; create it first"))),
        }
    }
}

fn search_for(path: &SessionPath) -> SessionSearch<'_> {
    SessionSearch { subject: path.subject(), date: path.date(), number: path.number() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::Path;

    fn path() -> SessionPath {
        SessionPath::parse(Path::new("/data/cortexlab/Subjects/KS014/2024-05-01/001")).unwrap()
    }

    fn summary(eid: &str, lab: Option<&str>) -> SessionSummary {
        serde_json::from_value(json!({"id": eid, "subject": "KS014", "start_time": "2024-05-01T10:00:00", "number": 1, "lab": lab}))
            .unwrap()
    }

    #[test]
    fn no_guess_is_made_between_two_candidates() {
        let two = vec![summary("a", Some("cortexlab")), summary("b", Some("cortexlab"))];
        let Err(Error::Ambiguous { eids, .. }) = only_match(two, &path(), Some("cortexlab")) else {
            panic!("guessed")
        };
        assert_eq!(eids, ["a", "b"]);
    }

    #[test]
    fn texts_of_the_server_are_cut_in_messages() {
        let long = "x".repeat(1 << 20);
        let other = only_match(vec![summary(&long, Some(&long))], &path(), Some("cortexlab")).unwrap_err();
        let ambiguous =
            only_match(vec![summary(&long, None), summary("b", None)], &path(), None).unwrap_err();
        let (session, ours) = (path().to_string(), "a".to_owned());
        let twice = Error::CreatedTwice { session, ours, others: vec![long; 100], is_empty: true };
        for error in [other, ambiguous, twice] {
            assert!(error.to_string().len() < 10_000, "{}", error.to_string().len());
        }
    }

    #[test]
    fn a_session_of_another_lab_is_not_used_and_none_is_created_beside_it() {
        let one = |lab| vec![summary("a", lab)];
        let error = only_match(one(Some("mainenlab")), &path(), Some("cortexlab")).unwrap_err().to_string();
        assert!(
            error.contains("mainenlab") && error.contains("(a)") && error.contains("cortexlab"),
            "{error}"
        );
        assert!(only_match(one(Some("mainenlab")), &path(), None).unwrap().is_some());
        assert!(only_match(one(None), &path(), Some("cortexlab")).unwrap().is_some());
        let two = vec![summary("a", Some("mainenlab")), summary("b", Some("cortexlab"))];
        assert!(matches!(only_match(two, &path(), Some("cortexlab")), Err(Error::Ambiguous { .. })));
        assert!(only_match(Vec::new(), &path(), Some("cortexlab")).unwrap().is_none());
    }
}
