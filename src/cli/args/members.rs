//! The arguments of `exists`, `water` and `weight`.

use std::str::FromStr;

use clap::Args;

use crate::cli::args::connection::VerbArgs;
use crate::cli::args::values::endpoint;
use alyx_client::Endpoint;

const EXISTS_HELP: &str = "\
Examples:
  alyx-registrar exists subjects KS014 KS015
  alyx-registrar exists projects
  alyx-registrar exists repositories flatiron_cortexlab --json

Exits with 0 if all are on Alyx, with 1 if one is not.";

/// `exists`: whether names are on Alyx.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXISTS_HELP)]
pub struct ExistsArgs {
    /// Where to look: subjects, users, labs, projects, procedures, locations, repositories
    #[arg(value_parser = endpoint(), hide_possible_values = true)]
    pub endpoint: Endpoint,

    /// Names to look for, separated by spaces or commas [default: list all]
    #[arg(value_name = "NAME", value_delimiter = ',')]
    pub names: Vec<String>,

    /// The output format and the connection.
    #[command(flatten)]
    pub verb: VerbArgs,
}

/// The subjects of one measurement; at least one, and none twice.
#[derive(Clone, Debug)]
pub struct Subjects(pub Vec<String>);

impl FromStr for Subjects {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        for (i, name) in names.iter().enumerate() {
            if name.is_empty() {
                return Err("a name is missing; write subjects like KS014,KS015".to_owned());
            }
            if names.iter().take(i).any(|earlier| earlier == name) {
                return Err(format!("{name} occurs twice"));
            }
        }
        Ok(Self(names))
    }
}

/// Parses a measured value. Zero or less is a typing error.
fn above_zero(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value),
        Ok(_) => Err("this must be greater than zero".to_owned()),
        Err(_) => Err("this is not a number; write it like 1.5".to_owned()),
    }
}

const WATER_HELP: &str = "\
Examples:
  alyx-registrar water KS014 1.2
  alyx-registrar water KS014,KS015,KS016 --adlib
  alyx-registrar water KS014 0.35 --date-time 2024-05-01T11:20 --session /data/cortexlab/Subjects/KS014/2024-05-01/001

Recorded once, even if the response is lost or the command is repeated: the same value, user, kind and session
at the same time or, without --date-time, within two minutes. Four significant figures are kept.";

/// `water`: records the water that a subject was given.
#[derive(Args, Clone, Debug)]
#[command(after_help = WATER_HELP)]
pub struct WaterArgs {
    /// Subject, or several separated by commas
    #[arg(value_name = "SUBJECT[,SUBJECT]")]
    pub subjects: Subjects,

    /// Volume in millilitres, for each subject; with --adlib it may be left out
    #[arg(value_parser = above_zero, allow_negative_numbers = true, required_unless_present = "adlib")]
    pub volume: Option<f64>,

    /// When it was given, ISO 8601 [default: now]
    #[arg(long, value_name = "TIME")]
    pub date_time: Option<String>,

    /// Kind of water [default: Water]
    #[arg(long, value_name = "NAME")]
    pub water_type: Option<String>,

    /// User who gave it [default: the logged-in user]
    #[arg(long, value_name = "NAME", visible_alias = "created-by")]
    pub by: Option<String>,

    /// Session of that subject and day in which it was given: its folder, eid or address
    #[arg(long, value_name = "SESSION")]
    pub session: Option<String>,

    /// The subject could drink at will
    #[arg(long)]
    pub adlib: bool,

    /// Record the value even if Alyx has the same already, or if it seems to be in another unit
    #[arg(long)]
    pub force: bool,

    /// Record a value that seems to be in another unit, with a note, unless Alyx has the same already: as Python does
    #[arg(long, hide = true)]
    pub any_unit: bool,

    /// Show what would be recorded; change nothing
    #[arg(long, visible_alias = "dry")]
    pub dry_run: bool,

    /// The output format and the connection.
    #[command(flatten)]
    pub verb: VerbArgs,
}

const WEIGHT_HELP: &str = "\
Examples:
  alyx-registrar weight KS014 21.3
  alyx-registrar weight KS014 21.3 --date-time 2024-05-01T09:30:00 --by ana

Recorded once, even if the response is lost or the command is repeated: the same value and user at the same time
or, without --date-time, within two minutes. Four significant figures are kept.";

/// `weight`: records the weight of a subject.
#[derive(Args, Clone, Debug)]
#[command(after_help = WEIGHT_HELP)]
pub struct WeightArgs {
    /// Subject, or several of the same weight with commas between them
    #[arg(value_name = "SUBJECT[,SUBJECT]")]
    pub subjects: Subjects,

    /// Weight in grams
    #[arg(value_parser = above_zero, allow_negative_numbers = true)]
    pub weight: f64,

    /// When it was weighed, ISO 8601 [default: now]
    #[arg(long, value_name = "TIME")]
    pub date_time: Option<String>,

    /// User who weighed [default: the logged-in user]
    #[arg(long, value_name = "NAME", visible_alias = "created-by")]
    pub by: Option<String>,

    /// Record the value even if Alyx has the same already, or if it seems to be in another unit
    #[arg(long)]
    pub force: bool,

    /// Record a value that seems to be in another unit, with a note, unless Alyx has the same already: as Python does
    #[arg(long, hide = true)]
    pub any_unit: bool,

    /// Show what would be recorded; change nothing
    #[arg(long, visible_alias = "dry")]
    pub dry_run: bool,

    /// The output format and the connection.
    #[command(flatten)]
    pub verb: VerbArgs,
}
