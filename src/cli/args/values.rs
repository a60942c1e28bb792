//! Parsers of values that several commands accept.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use alyx_client::Endpoint;
use alyx_registration::ProtectedPolicy;
use session_metadata::Field;

/// The word, the help text and the endpoint of each kind of name.
const ENDPOINTS: [(&str, &str, Endpoint); 7] = [
    ("subjects", "Animals, by nickname", Endpoint::Subjects),
    ("users", "Users, by user name", Endpoint::Users),
    ("labs", "Labs", Endpoint::Labs),
    ("projects", "Projects", Endpoint::Projects),
    ("procedures", "Procedures", Endpoint::Procedures),
    ("locations", "Rigs and rooms", Endpoint::Locations),
    ("repositories", "Data repositories", Endpoint::Repositories),
];

/// Parses the word for an endpoint.
pub(super) fn endpoint() -> impl TypedValueParser<Value = Endpoint> {
    let words = ENDPOINTS.map(|(word, help, endpoint)| {
        let value = PossibleValue::new(word).help(help);
        // The name of the REST endpoint.
        if endpoint == Endpoint::Repositories { value.alias("data-repository") } else { value }
    });
    PossibleValuesParser::new(words).map(|word| {
        let known = ENDPOINTS.iter().find(|(known, ..)| *known == word);
        known.map_or(Endpoint::Repositories, |(.., endpoint)| *endpoint)
    })
}

/// The word for an endpoint.
pub(crate) fn endpoint_word(endpoint: Endpoint) -> &'static str {
    ENDPOINTS.iter().find(|(.., known)| *known == endpoint).map_or("", |(word, ..)| word)
}

/// Parses the name of a field of a session.
pub(super) fn field() -> impl TypedValueParser<Value = Field> {
    PossibleValuesParser::new(Field::ALL.map(Field::name)).map(|name| {
        let known = Field::ALL.into_iter().find(|field| field.name() == name);
        known.unwrap_or(Field::Users)
    })
}

/// Parses a day.
pub(super) fn day(typed: &str) -> Result<jiff::civil::Date, String> {
    alf::session_path::parse_date_folder(typed)
        .ok_or_else(|| "write the day as YYYY-MM-DD, such as 2024-05-01".to_owned())
}

/// Parses a count.
pub(super) fn whole_number(typed: &str) -> Result<u32, String> {
    let number: i64 = typed.parse().map_err(|_| "this is not a whole number".to_owned())?;
    u32::try_from(number).map_err(|_| format!("{number} is not in 0..={}", u32::MAX))
}

/// Parses a QC outcome that Alyx knows.
pub(super) fn qc() -> PossibleValuesParser {
    PossibleValuesParser::new(["CRITICAL", "FAIL", "WARNING", "NOT_SET", "PASS"])
}

/// Parses the policy for changed files whose datasets are protected on Alyx.
pub(super) fn protected() -> impl TypedValueParser<Value = ProtectedPolicy> {
    let words = [
        PossibleValue::new("revise").help("Move it into a revision folder next to it, and register it there"),
        PossibleValue::new("refuse").help("Leave it in place and report it"),
    ];
    PossibleValuesParser::new(words).map(|word| match word.as_str() {
        "revise" => ProtectedPolicy::Revise,
        _ => ProtectedPolicy::Refuse,
    })
}
