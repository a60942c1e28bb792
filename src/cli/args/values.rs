//! Values that several commands take, and how they are parsed.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use alyx_registration::ProtectedPolicy;

/// Parses a QC outcome that Alyx knows.
pub(super) fn qc() -> PossibleValuesParser {
    PossibleValuesParser::new(["CRITICAL", "FAIL", "WARNING", "NOT_SET", "PASS"])
}

/// Parses what happens to a changed file whose dataset is protected on Alyx.
pub(super) fn protected() -> impl TypedValueParser<Value = ProtectedPolicy> {
    let words = [
        PossibleValue::new("revise").help("Move it into a revision folder beside it, and register it there"),
        PossibleValue::new("refuse").help("Leave it and say so"),
    ];
    PossibleValuesParser::new(words).map(|word| match word.as_str() {
        "revise" => ProtectedPolicy::Revise,
        _ => ProtectedPolicy::Refuse,
    })
}
