//! What sessions need, besides what their folders show.

use alyx_client::Endpoint;

/// What sessions need besides what their folders show: from the configuration and the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// The lab of sessions whose path does not name one.
    pub lab: Option<String>,
    /// The repository that holds the files.
    pub repository: Option<String>,
    /// Its address, if it is new or has none.
    pub data_url: Option<String>,
    /// Time zone of a new lab or repository, such as `Europe/London`.
    pub timezone: Option<String>,
    /// Users, projects, procedures and locations.
    pub names: Vec<(Endpoint, String)>,
}
