//! The endpoints that the registrar uses, one method each.

use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::client::Client;
use crate::error::{Error, ProtectedFile};
use crate::lists::MAX_PAGE_SIZE;
use crate::records::measurements::{
    WaterRecord, WaterRequest, WaterTypeRecord, WeighingRecord, WeighingRequest,
};
use crate::records::page::RecordMark;
use crate::records::repository::{LabRecord, RepositoryRecord};
use crate::records::{
    BriefSession, CheckProtectedRequest, DataFormatRecord, DatasetRecord, DatasetTypeRecord, FileRecord,
    ListedFileRecord, RegisterFileRequest, RegisteredFileRecord, SessionRecord, SessionRequest,
    SessionSummary,
};
use crate::transport::call::{Call, MAX_SESSION, RequestSlot, segment};
use crate::transport::reply::protected;
use crate::transport::retry::Idempotency;

/// An endpoint whose members have names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// `/subjects`
    Subjects,
    /// `/users`
    Users,
    /// `/labs`
    Labs,
    /// `/projects`
    Projects,
    /// `/procedures`, which can only be listed.
    Procedures,
    /// `/locations`
    Locations,
    /// `/data-repository`
    Repositories,
    /// `/dataset-types`
    DatasetTypes,
    /// `/data-formats`
    DataFormats,
}

impl Endpoint {
    /// Path below the base URL.
    pub fn path(self) -> &'static str {
        match self {
            Self::Subjects => "/subjects",
            Self::Users => "/users",
            Self::Labs => "/labs",
            Self::Projects => "/projects",
            Self::Procedures => "/procedures",
            Self::Locations => "/locations",
            Self::Repositories => "/data-repository",
            Self::DatasetTypes => "/dataset-types",
            Self::DataFormats => "/data-formats",
        }
    }

    /// The field that holds a member's name.
    pub fn key(self) -> &'static str {
        match self {
            Self::Subjects => "nickname",
            Self::Users => "username",
            _ => "name",
        }
    }

    /// Path of a member below the base URL.
    pub fn member_path(self, name: &str) -> String {
        format!("{}/{}", self.path(), segment(name))
    }

    /// The noun for one member.
    pub fn member(self) -> &'static str {
        match self {
            Self::Subjects => "subject",
            Self::Users => "user",
            Self::Labs => "lab",
            Self::Projects => "project",
            Self::Procedures => "procedure",
            Self::Locations => "location",
            Self::Repositories => "repository",
            Self::DatasetTypes => "dataset type",
            Self::DataFormats => "data format",
        }
    }
}

/// The query of a list of members.
fn members_query() -> [(&'static str, String); 1] {
    [("limit", MAX_PAGE_SIZE.to_string())]
}

/// Which sessions to look for.
#[derive(Debug, Clone)]
pub struct SessionSearch<'a> {
    /// Nickname of the subject.
    pub subject: &'a str,
    /// The day.
    pub date: jiff::civil::Date,
    /// The number of that day.
    pub number: u16,
}

impl Client {
    /// A member by its name; `None` if Alyx does not have it.
    ///
    /// # Errors
    /// Those of any request; a 404 that does not come from Alyx is an error.
    pub async fn find_member(&self, endpoint: Endpoint, name: &str) -> Result<Option<Value>, Error> {
        // An empty name would list the endpoint, and dots would lead to another one.
        if matches!(name, "" | "." | "..") {
            return Ok(None);
        }
        // A name with a slash has no URL: web servers decode the path before Django sees it.
        if endpoint == Endpoint::Procedures || name.contains('/') {
            let mut found = None;
            let is_it = |m: &Value| m.get(endpoint.key()).and_then(Value::as_str) == Some(name);
            let take = |member| found = found.take().or(Some(Value::Object(member)).filter(is_it));
            self.for_each(endpoint.path(), &members_query(), take).await?;
            return Ok(found);
        }
        match self.get::<Value>(&endpoint.member_path(name)).await {
            Ok(record) => Ok(Some(record)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// The names of all members.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn member_names(&self, endpoint: Endpoint) -> Result<Vec<String>, Error> {
        let keep = |_, mut member: Map<String, Value>| match member.remove(endpoint.key())? {
            Value::String(name) => Some((name.len(), name)),
            _ => None,
        };
        self.list_kept(endpoint.path(), &members_query(), keep).await
    }

    /// The records of all members.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn members(&self, endpoint: Endpoint) -> Result<Vec<Value>, Error> {
        let keep = |mark: RecordMark, member| Some((mark.memory, Value::Object(member)));
        self.list_kept(endpoint.path(), &members_query(), keep).await
    }

    /// Creates a member. Never repeated after a lost answer.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn create_member(&self, endpoint: Endpoint, record: &Value) -> Result<Value, Error> {
        self.write(Method::POST, endpoint.path(), record, Idempotency::NotIdempotent).await
    }

    /// Updates the given fields of a member and no others.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn update_member(
        &self,
        endpoint: Endpoint,
        name: &str,
        fields: &Value,
    ) -> Result<Value, Error> {
        self.write(Method::PATCH, &endpoint.member_path(name), fields, Idempotency::Idempotent).await
    }

    /// All dataset types.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn dataset_types(&self) -> Result<Vec<DatasetTypeRecord>, Error> {
        self.list("/dataset-types", &[]).await
    }

    /// All data formats.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn data_formats(&self) -> Result<Vec<DataFormatRecord>, Error> {
        self.list("/data-formats", &[]).await
    }

    /// All data repositories.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn repositories(&self) -> Result<Vec<RepositoryRecord>, Error> {
        self.list(Endpoint::Repositories.path(), &[]).await
    }

    /// All labs.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn labs(&self) -> Result<Vec<LabRecord>, Error> {
        self.list(Endpoint::Labs.path(), &[]).await
    }

    /// Says whether the file of a file record exists in its repository. Changes nothing else.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn update_file_record(&self, id: &str, exists: bool) -> Result<(), Error> {
        let request = serde_json::json!({"exists": exists});
        let path = format!("/files/{}", segment(id));
        self.write::<Value>(Method::PATCH, &path, &request, Idempotency::Idempotent).await.map(drop)
    }

    /// A file record with its `json`, which the records in a dataset do not have.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn file_record(&self, id: &str) -> Result<FileRecord, Error> {
        self.get(&format!("/files/{}", segment(id))).await
    }

    /// Replaces the `json` of a file record as a whole. Changes nothing else.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn replace_file_record_json(&self, id: &str, json: &Value) -> Result<(), Error> {
        let request = serde_json::json!({"json": json});
        let path = format!("/files/{}", segment(id));
        self.write::<Value>(Method::PATCH, &path, &request, Idempotency::Idempotent).await.map(drop)
    }

    /// One page of the file records of a repository that say that the file is not there, and where the next one begins.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn absent_files(
        &self,
        repository: &str,
        offset: u64,
    ) -> Result<(Vec<ListedFileRecord>, Option<u64>), Error> {
        let query = [
            ("data_repository", repository.to_owned()),
            ("exists", "false".to_owned()),
            ("limit", MAX_PAGE_SIZE.to_string()),
            ("offset", offset.to_string()),
        ];
        let mut found = Vec::new();
        // A server that does not know a filter returns everything.
        let take = |file: ListedFileRecord| {
            if !file.exists && file.data_repository == repository {
                found.push(file);
            }
        };
        let has_more = self.one_page("/files", &query, take).await?;
        Ok((found, has_more.then_some(offset + MAX_PAGE_SIZE)))
    }

    /// A dataset by its UUID.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn dataset(&self, id: &str) -> Result<DatasetRecord, Error> {
        self.get(&format!("/datasets/{}", segment(id))).await
    }

    /// The sessions of a subject, day and number.
    ///
    /// The server ignores unknown filters and then returns everything, so the result is filtered again here.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn sessions(&self, search: &SessionSearch<'_>) -> Result<Vec<SessionSummary>, Error> {
        let date = search.date.to_string();
        let query = [
            ("subject", search.subject.to_owned()),
            ("date_range", format!("{date},{date}")),
            ("number", search.number.to_string()),
        ];
        let is_wanted = |s: &SessionSummary| {
            s.subject == search.subject && s.date() == date && s.number == Some(search.number.into())
        };
        self.list_where("/sessions", &query, is_wanted).await
    }

    /// A session by its eid.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn session(&self, eid: &str) -> Result<SessionRecord, Error> {
        let path = format!("/sessions/{}", segment(eid));
        self.sent_session(Call::get(&path), true).await
    }

    /// As [`session`](Self::session), without the list of its datasets.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn session_without_datasets(&self, eid: &str) -> Result<SessionRecord, Error> {
        let path = format!("/sessions/{}", segment(eid));
        let found: BriefSession = self.sent_session(Call::get(&path), false).await?;
        Ok(found.record)
    }

    /// Creates a session. Never repeated after a lost answer: a second post would make a second session.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn create_session(&self, request: &SessionRequest) -> Result<SessionRecord, Error> {
        self.create_session_in_slot(request, self.acquire_slot().await?).await
    }

    /// [`Client::create_session`] with a slot of the rate limit that was acquired in advance.
    ///
    /// # Errors
    /// Those of [`Client::create_session`].
    pub async fn create_session_in_slot(
        &self,
        request: &SessionRequest,
        slot: RequestSlot,
    ) -> Result<SessionRecord, Error> {
        let body = serialize(&Method::POST, "/sessions", request)?;
        let (body, idempotency, slot) = (Some(&body), Idempotency::NotIdempotent, Some(slot));
        self.sent(Call { method: Method::POST, body, idempotency, slot, ..Call::get("/sessions") }).await
    }

    /// Updates the given fields of a session and no others.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn update_session(&self, eid: &str, request: &SessionRequest) -> Result<SessionRecord, Error> {
        self.patch_session(eid, request, true).await
    }

    /// As [`update_session`](Self::update_session); the answer has no list of the datasets.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn update_session_without_datasets(
        &self,
        eid: &str,
        request: &SessionRequest,
    ) -> Result<SessionRecord, Error> {
        let updated: BriefSession = self.patch_session(eid, request, false).await?;
        Ok(updated.record)
    }

    async fn patch_session<T: DeserializeOwned>(
        &self,
        eid: &str,
        request: &SessionRequest,
        keeps_datasets: bool,
    ) -> Result<T, Error> {
        let path = format!("/sessions/{}", segment(eid));
        let body = serialize(&Method::PATCH, &path, request)?;
        let call = Call { method: Method::PATCH, body: Some(&body), ..Call::get(&path) };
        self.sent_session(call, keeps_datasets).await
    }

    /// As [`sent`](Self::sent), for the record of a session.
    async fn sent_session<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
        keeps_datasets: bool,
    ) -> Result<T, Error> {
        let what = call.what();
        let answer = self.send(Call { at_most: MAX_SESSION, ..call }).await?;
        answer.parse_session(keeps_datasets, &what).map_err(|error| self.explained(error))
    }

    /// Registers files of one session: creates or updates each. Not atomic: the files before a refused one stay
    /// registered. Sending all of them again is harmless.
    ///
    /// # Errors
    /// Those of any request; [`Error::Protected`]; [`Error::NotAlyx`] if the answer does not hold one record per file.
    pub async fn register_files(
        &self,
        request: &RegisterFileRequest,
    ) -> Result<Vec<RegisteredFileRecord>, Error> {
        let records: Vec<RegisteredFileRecord> =
            self.write(Method::POST, "/register-file", request, Idempotency::Idempotent).await?;
        if records.len() != request.filenames.len() {
            let reason = format!("{} records for {} files", records.len(), request.filenames.len());
            return Err(Error::NotAlyx { what: "POST /register-file".into(), reason });
        }
        Ok(records)
    }

    /// The datasets of a session.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn datasets_of_session(&self, eid: &str) -> Result<Vec<DatasetRecord>, Error> {
        let mut found = Vec::new();
        self.for_each_dataset_of_session(eid, |record| found.push(record)).await?;
        Ok(found)
    }

    /// Hands on the datasets of a session, each once, as they are read: a session may have 100,000.
    ///
    /// # Errors
    /// Those of any request; records may have been handed on before.
    pub async fn for_each_dataset_of_session(
        &self,
        eid: &str,
        mut take: impl FnMut(DatasetRecord),
    ) -> Result<(), Error> {
        // A server that does not know the filter returns everything.
        let is_of_session =
            |d: &DatasetRecord| d.session.as_deref().is_none_or(|s| s.trim_end_matches('/').ends_with(eid));
        let take = |record: DatasetRecord| {
            if is_of_session(&record) {
                take(record);
            }
        };
        self.for_each_dataset(&[("session", eid.to_owned())], take).await
    }

    /// The datasets of an object other than a session, such as a subject.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn datasets_of_object(&self, object_id: &str) -> Result<Vec<DatasetRecord>, Error> {
        let mut found = Vec::new();
        self.for_each_dataset_of_object(object_id, |record| found.push(record)).await?;
        Ok(found)
    }

    /// Hands on the datasets of an object other than a session, each once, as they are read.
    ///
    /// # Errors
    /// Those of any request; records may have been handed on before.
    pub async fn for_each_dataset_of_object(
        &self,
        object_id: &str,
        mut take: impl FnMut(DatasetRecord),
    ) -> Result<(), Error> {
        // A server that does not know the filter returns the datasets of sessions too.
        let others = |d: &DatasetRecord| d.other.get("object_id").and_then(Value::as_str) != Some(object_id);
        let take = |record: DatasetRecord| {
            if record.session.is_none() && !(record.other.contains_key("object_id") && others(&record)) {
                take(record);
            }
        };
        self.for_each_dataset(&[("object_id", object_id.to_owned())], take).await
    }

    /// Which of several files are protected: every requested file with its revisions, in order; empty if none is
    /// protected.
    ///
    /// # Errors
    /// Those of any request; [`Error::Refused`] for an unknown session or user.
    pub async fn check_protected(
        &self,
        request: &CheckProtectedRequest,
    ) -> Result<Vec<ProtectedFile>, Error> {
        // Alyx always answers 200 here; the actual status is in the body.
        let answer: Value =
            self.write(Method::GET, "/check-protected", request, Idempotency::Idempotent).await?;
        let status = answer.get("status_code").and_then(Value::as_u64);
        match (status, protected(&answer)) {
            (_, Some(details)) => Ok(details),
            (Some(200), None) => Ok(Vec::new()),
            _ => {
                // Its text is left out: it is of any length, and may repeat what was sent.
                let status = status.map_or("none".to_owned(), |status| status.to_string());
                let reason = format!("neither protected nor not: status_code {status}");
                Err(Error::NotAlyx { what: "GET /check-protected".into(), reason })
            }
        }
    }

    /// The names of the kinds of water.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn water_types(&self) -> Result<Vec<String>, Error> {
        let found: Vec<WaterTypeRecord> = self.list("/water-type", &[]).await?;
        Ok(found.into_iter().map(|kind| kind.name).collect())
    }

    /// Records a water administration. Never repeated after a lost answer: a second post would record a second administration.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn create_water(&self, request: &WaterRequest) -> Result<WaterRecord, Error> {
        self.write(Method::POST, "/water-administrations", request, Idempotency::NotIdempotent).await
    }

    /// The water administrations of a subject.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn waters_of(&self, subject: &str) -> Result<Vec<WaterRecord>, Error> {
        let is_wanted = |w: &WaterRecord| w.subject == subject;
        self.list_where("/water-administrations", &[("nickname", subject.to_owned())], is_wanted).await
    }

    /// Records a weight. Never repeated after a lost answer: a second post would be a second weighing.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn create_weighing(&self, request: &WeighingRequest) -> Result<WeighingRecord, Error> {
        self.write(Method::POST, "/weighings", request, Idempotency::NotIdempotent).await
    }

    /// The weighings of a subject.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn weighings_of(&self, subject: &str) -> Result<Vec<WeighingRecord>, Error> {
        let is_wanted = |w: &WeighingRecord| w.subject == subject;
        self.list_where("/weighings", &[("nickname", subject.to_owned())], is_wanted).await
    }

    /// The sessions of a subject on one day.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn sessions_of_day(
        &self,
        subject: &str,
        date: jiff::civil::Date,
    ) -> Result<Vec<SessionSummary>, Error> {
        self.sessions_between(subject, date, date).await
    }

    /// All sessions of a subject.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn sessions_of(&self, subject: &str) -> Result<Vec<SessionSummary>, Error> {
        let query = [("subject", subject.to_owned()), ("limit", MAX_PAGE_SIZE.to_string())];
        let mut found: Vec<SessionSummary> = self.list("/sessions", &query).await?;
        found.retain(|session| session.subject == subject);
        Ok(found)
    }

    /// The sessions of a subject from `first` to `last`, inclusive.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn sessions_between(
        &self,
        subject: &str,
        first: jiff::civil::Date,
        last: jiff::civil::Date,
    ) -> Result<Vec<SessionSummary>, Error> {
        let (first, last) = (first.to_string(), last.to_string());
        let query = [
            ("subject", subject.to_owned()),
            ("date_range", format!("{first},{last}")),
            ("limit", MAX_PAGE_SIZE.to_string()),
        ];
        // ISO dates sort as text.
        let is_between = |date: &str| (first.as_str()..=last.as_str()).contains(&date);
        let is_wanted = |s: &SessionSummary| s.subject == subject && is_between(s.date());
        self.list_where("/sessions", &query, is_wanted).await
    }

    async fn write<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        request: &impl serde::Serialize,
        idempotency: Idempotency,
    ) -> Result<T, Error> {
        let body = serialize(&method, path, request)?;
        self.sent(Call { method, body: Some(&body), idempotency, ..Call::get(path) }).await
    }
}

/// The body of a request.
fn serialize(method: &Method, path: &str, request: &impl serde::Serialize) -> Result<Value, Error> {
    serde_json::to_value(request).map_err(|e| Error::Options(format!("{method} {path}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::credentials::Credentials;
    use crate::options::ClientOptions;
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};

    /// The client of a server whose answer to the n-th request is `page(n)`.
    fn client_of(page: impl Fn(usize) -> String + Send + 'static) -> Client {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", server.local_addr().unwrap());
        let answer = move |mut connection: TcpStream, n| {
            let lines = BufReader::new(connection.try_clone().unwrap()).lines();
            lines.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
            let body = page(n);
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ =
                connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(body.as_bytes()));
        };
        std::thread::spawn(move || {
            server
                .incoming()
                .map_while(Result::ok)
                .enumerate()
                .for_each(|(n, connection)| answer(connection, n));
        });
        let login = Credentials::Token { username: None, token: "t".into() };
        Client::new(ClientOptions::new(url, login)).unwrap()
    }

    #[tokio::test]
    async fn a_list_of_small_records_without_end_is_not_read_for_ever() {
        let client = client_of(|n| {
            let names: Vec<String> = (0..50_000).map(|i| format!(r#"{{"name":"{n}-{i}"}}"#)).collect();
            format!(r#"{{"count": null, "next": "http://x/?{n}", "results": [{}]}}"#, names.join(","))
        });
        let error = client.member_names(Endpoint::Projects).await.unwrap_err().to_string();
        assert!(
            error.contains("GET /projects") && error.contains("a list of more than 300000 records"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_list_that_is_kept_takes_no_more_memory_than_it_may() {
        let zeros = vec!["0"; 100_000].join(",");
        let labs = move |_| {
            let labs: Vec<String> = (0..8).map(|n| format!(r#"{{"name":"{n}","x":[{zeros}]}}"#)).collect();
            format!("[{}]", labs.join(","))
        };
        let client = client_of(labs);
        let error = client.labs().await.unwrap_err().to_string();
        assert!(error.contains("a list of more than 128 MB"), "{error}");
        // Their names alone are short.
        assert_eq!(client.member_names(Endpoint::Labs).await.unwrap().len(), 8);
    }

    #[tokio::test]
    async fn of_a_server_that_ignores_the_filter_only_the_wanted_sessions_are_kept() {
        let session =
            |n| format!(r#"{{"subject":"a","start_time":"2024-05-01T10:00:00","number":{n},"url":"{n}"}}"#);
        let client = client_of(move |_| format!("[{}]", [1, 2, 3].map(session).join(",")));
        let search = SessionSearch { subject: "a", date: jiff::civil::date(2024, 5, 1), number: 2 };
        let found = client.sessions(&search).await.unwrap();
        assert_eq!(found.iter().map(|session| session.number).collect::<Vec<_>>(), [Some(2)]);
    }

    #[tokio::test]
    async fn a_record_with_more_values_than_alyx_sends_is_refused() {
        let zeros = vec!["0"; 200_001].join(",");
        let client = client_of(move |_| format!(r#"[{{"name":"n","x":[{zeros}]}}]"#));
        let error = client.datasets_of_session("x").await.unwrap_err().to_string();
        assert!(error.contains("unexpected record: a record of more than 200000 values"), "{error}");
    }

    #[tokio::test]
    async fn an_answer_that_says_neither_protected_nor_not_is_not_repeated() {
        for (answer, status) in
            [(r#"{"status_code": 500, "error": "secret"}"#, "500"), ("\"secret\"", "none")]
        {
            let client = client_of(move |_| answer.to_owned());
            let request = CheckProtectedRequest {
                created_by: "me".into(),
                path: "KS014/2024-05-01/001".into(),
                filenames: vec!["a.npy".into()],
                content_type: None,
                object_id: None,
            };
            let error = client.check_protected(&request).await.unwrap_err().to_string();
            assert!(error.contains(&format!("neither protected nor not: status_code {status})")), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
