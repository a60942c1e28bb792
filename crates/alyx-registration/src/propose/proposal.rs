//! A proposal: the records that Alyx lacks to register sessions, and who can create each. Pure.

use serde_json::json;

use crate::propose::change::{ByHand, Change};
use crate::propose::dataset_types::MissingTypes;
use crate::propose::known_records::KnownRecords;
use crate::propose::needs::Needs;
use crate::propose::repositories::LabChanges;
use crate::propose::survey::Survey;
use alyx_client::Endpoint;
use alyx_client::text::some_of;

/// The records that Alyx lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proposal {
    /// Records to create or change over REST, in this order.
    pub changes: Vec<Change>,
    /// Records that are created on Alyx's admin pages.
    pub by_hand: Vec<ByHand>,
    /// What must be decided first, with the option or the change that decides it.
    pub open: Vec<String>,
    /// Files that need a change on disk, not on Alyx.
    pub notes: Vec<String>,
    /// Whether files that describe sessions are broken: what they say is not in the lists.
    pub has_problems: bool,
}

/// The pages for what REST cannot create, or not well: a user that is created over REST has no password.
fn admin_page(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Subjects => "/admin/subjects/subject/add/",
        Endpoint::Users => "/admin/misc/labmember/add/",
        Endpoint::Locations => "/admin/misc/lablocation/add/",
        Endpoint::Procedures => "/admin/actions/proceduretype/add/",
        _ => "/admin/",
    }
}

impl Proposal {
    /// Decides what is lacking.
    pub fn new(survey: &Survey, needs: &Needs, known: &KnownRecords) -> Self {
        let mut proposal = Self::default();
        let missing = MissingTypes::of(survey, &known.types);
        for format in &missing.formats {
            let body = json!({"name": format.name, "file_extension": format.extension});
            let reason = format!("extension {} of {}", format.extension, format.example);
            proposal.changes.push(Change::create(Endpoint::DataFormats, &format.name, body, reason));
        }
        for new in &missing.types {
            let body = json!({"name": new.name, "filename_pattern": new.pattern});
            let pattern = match &new.pattern {
                Some(pattern) => format!("pattern {pattern}"),
                None => "no pattern: the name decides".to_owned(),
            };
            let reason = format!("{pattern}; for {}", some_of(new.files.iter().map(String::as_str), ", "));
            proposal.changes.push(Change::create(Endpoint::DatasetTypes, &new.name, body, reason));
        }
        for (file, reason) in missing.undecided {
            let page = "/admin/data/datasettype/";
            let what = "dataset type";
            proposal.by_hand.push(ByHand { what, name: file, page, reason, near: Vec::new() });
        }
        let labs: Vec<String> = known.labs_of(survey, needs).into_iter().collect();
        let mut of_labs = LabChanges::of(&labs, survey, needs, known);
        of_labs.add_sidecars(survey, needs, known);
        proposal.changes.extend(of_labs.changes);
        proposal.open.extend(of_labs.open);
        proposal.add_names(known);
        if labs.is_empty() && survey.sessions > 0 {
            let open = "the lab of these sessions is not known: name it with --lab NAME".to_owned();
            proposal.open.push(open);
        }
        let (changes, unusable): (Vec<_>, Vec<_>) =
            std::mem::take(&mut proposal.changes).into_iter().partition(Change::has_usable_name);
        proposal.changes = changes;
        proposal.open.extend(unusable.iter().map(|change| {
            format!(
                "{} {:?} ({}) cannot be created: a name is not . or .., and has no blank at its begin or end; correct the name",
                change.endpoint.member(),
                change.name,
                change.reason
            )
        }));
        proposal.has_problems = !survey.problems.is_empty();
        if proposal.has_problems {
            proposal.notes.extend(survey.problems.iter().cloned());
        }
        if !survey.copies.is_empty() {
            let copies = some_of(&survey.copies, ", ");
            proposal.notes.push(format!("being copied: {copies}; run this again when they are complete"));
        }
        for (extension, right) in &missing.misspelt {
            proposal.notes.push(format!("Alyx spells the extension {extension} {right}: rename the files"));
        }
        let renames = survey.near_misses.iter().map(|(file, right)| format!("{file} to {right}"));
        if !survey.near_misses.is_empty() {
            proposal.notes.push(format!("rename {}", some_of(renames, ", ")));
        }
        if !survey.not_alf.is_empty() {
            let files = some_of(survey.not_alf.iter(), ", ");
            let note =
                format!("not named object.attribute.extension, so no dataset type takes them: {files}");
            proposal.notes.push(note);
        }
        proposal
    }

    fn add_names(&mut self, known: &KnownRecords) {
        for unknown in &known.unknown {
            let (endpoint, name, near) = (unknown.endpoint, unknown.name.clone(), unknown.near.clone());
            let from = unknown.from.as_ref().map(|from| format!("named in {from}"));
            if endpoint == Endpoint::Projects {
                // Without this field, Alyx answers with an internal error.
                let body = json!({"name": name, "users": []});
                let reason = from.unwrap_or_else(|| "a project of these sessions".to_owned());
                let change = Change::create(endpoint, &name, body, reason);
                self.changes.push(change.near(near));
            } else {
                let (what, page) = (endpoint.member(), admin_page(endpoint));
                let reason = from.unwrap_or_default();
                self.by_hand.push(ByHand { what, name, page, reason, near });
            }
        }
    }

    /// Whether Alyx lacks nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.by_hand.is_empty() && self.open.is_empty()
    }
}
