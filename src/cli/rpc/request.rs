//! A request: from a line to a command, whose parameters are the options of the command line. Pure.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use clap::{Arg, ArgAction, CommandFactory, FromArgMatches};
use serde_json::{Map, Value};

use crate::cli::args::{Cli, Command, VerbArgs};
use crate::cli::exit::Exit;
use crate::cli::output::Failure;
use crate::cli::usage;
use crate::json::error_report::{CommandKind, ErrorReport};
use session_metadata::text::{decode, parse_json};

/// A request, as it is written.
#[derive(Debug)]
pub(super) struct Request {
    /// What the answer repeats.
    pub(super) id: Value,
    /// The name of a command, or `connect`.
    pub(super) method: String,
    /// The options of the command, by their names.
    pub(super) params: Map<String, Value>,
}

/// What to do about a request that is not valid.
const NEXT_STEP: &str = "correct the request; docs/rpc.md describes the requests";

/// The failure of a request that is not valid.
pub(super) fn unusable(message: impl ToString) -> Failure {
    let report = ErrorReport::command(CommandKind::Usage, message);
    Failure::reported(Exit::Usage, ErrorReport { next_step: NEXT_STEP.to_owned(), ..report })
}

/// The failure of a method that there is not.
pub(super) fn no_method(method: &str) -> Failure {
    unusable(format!("there is no method {method:?}"))
}

impl Request {
    /// Reads a line.
    ///
    /// # Errors
    /// The line is not a request: its id as far as it is known, and why. The message never repeats a value, which may be a
    /// secret.
    pub(super) fn parse(line: &[u8]) -> Result<Self, (Value, String)> {
        let nameless = |message: &str| (Value::Null, message.to_owned());
        let text = std::str::from_utf8(line).ok().and_then(|_| decode(line).ok());
        let text =
            text.ok_or_else(|| nameless("a request is one line of JSON in UTF-8; this one is not UTF-8"))?;
        let value = parse_json(text).map_err(|fault| {
            let place = if fault.key.is_empty() { String::new() } else { format!("{}: ", fault.key) };
            let why = fault.message.split(';').next().unwrap_or_default();
            nameless(&format!("a request is one line of JSON; {place}{why}"))
        })?;
        let Value::Object(mut object) = value else {
            return Err(nameless("a request is a JSON object with id, method and params"));
        };
        let id = match object.remove("id").unwrap_or_default() {
            id @ (Value::Null | Value::Number(_) | Value::String(_)) => id,
            _ => return Err(nameless("the id of a request is a number or a text")),
        };
        let (method, params) = (object.remove("method"), object.remove("params").unwrap_or_default());
        let of_this = |message: String| (id.clone(), message);
        if let Some(other) = object.keys().next() {
            return Err(of_this(format!("a request has id, method and params, but no {other:?}")));
        }
        let Some(Value::String(method)) = method else {
            return Err(of_this("method must be the name of a command, such as \"exists\"".to_owned()));
        };
        let params = match params {
            Value::Object(params) => params,
            Value::Null => Map::new(),
            _ => {
                return Err(of_this(
                    "params must be an object: the name of each parameter, and its value".to_owned(),
                ));
            }
        };
        Ok(Self { id, method, params })
    }

    /// The command that is asked for.
    ///
    /// # Errors
    /// There is no such command, or a parameter is not valid.
    pub(super) fn command(&self) -> Result<Command, Failure> {
        // A value of a list is one value, whatever commas it has.
        let whole = |arg: Arg| arg.value_delimiter(None);
        let mut definition = Cli::definition().mut_subcommands(|command| command.mut_args(whole));
        let command = definition.find_subcommand(&self.method).filter(|command| is_served(command));
        let command = command.ok_or_else(|| no_method(&self.method))?;
        let words = words(command, &self.params).map_err(unusable)?;
        let usage = |error: clap::Error| unusable(usage::report(&error, Some(&self.method)).message);
        let mut matches = definition.try_get_matches_from_mut(words).map_err(usage)?;
        Cli::from_arg_matches_mut(&mut matches).map(|cli| cli.command).map_err(usage)
    }
}

/// Whether a command connects to Alyx, works without questions, and prints one document.
fn is_served(command: &clap::Command) -> bool {
    const SERVED: [&str; 11] = [
        "create-session",
        "create-sessions",
        "new-session",
        "register-session",
        "register-files",
        "find-files",
        "metadata",
        "check-protected",
        "exists",
        "water",
        "weight",
    ];
    SERVED.contains(&command.get_name())
}

/// The command line that says the same as the parameters.
fn words(command: &clap::Command, params: &Map<String, Value>) -> Result<Vec<OsString>, String> {
    let of_connection: Vec<_> = VerbArgs::command_names();
    let arguments =
        || command.get_arguments().filter(|arg| !of_connection.contains(&arg.get_id().to_string()));
    let mut words: Vec<OsString> = vec!["alyx-registrar".into(), command.get_name().into()];
    let mut placed: Vec<(&Arg, Vec<OsString>)> = Vec::new();
    for (name, value) in params {
        let arg = arguments().find(|arg| is_named(arg, name));
        let arg = arg.ok_or_else(|| format!("{} has no parameter {name:?}", command.get_name()))?;
        if value.is_null() {
            continue;
        }
        let values = values(arg, value).map_err(|wrong| format!("{name}: {wrong}"))?;
        match arg.get_long() {
            None => placed.push((arg, values)),
            Some(long) if is_switch(arg) => {
                words.extend(values.iter().map(|_| OsString::from(format!("--{long}"))));
            }
            Some(long) => words.extend(values.into_iter().map(|value| {
                let mut word = OsString::from(format!("--{long}="));
                word.push(value);
                word
            })),
        }
    }
    words.push("--".into());
    let mut missing = None;
    for arg in arguments().filter(|arg| arg.is_positional()) {
        let found = placed.iter().find(|(known, _)| known.get_id() == arg.get_id());
        match (found, missing) {
            (Some((_, values)), None) => words.extend(values.iter().cloned()),
            // Their places tell them apart.
            (Some(_), Some(missing)) => return Err(format!("the parameter {missing:?} is missing")),
            (None, _) => missing = missing.or(Some(arg.get_id().as_str())),
        }
    }
    Ok(words)
}

/// Whether this is the name of an argument: a positional one by its id, the others as on the command line.
fn is_named(arg: &Arg, name: &str) -> bool {
    let Some(long) = arg.get_long() else { return arg.get_id() == name };
    let dashed = name.replace('_', "-");
    long == dashed || arg.get_all_aliases().into_iter().flatten().any(|alias| alias == dashed)
}

fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

/// The values of an argument, one for each time that it would be typed.
fn values(arg: &Arg, value: &Value) -> Result<Vec<OsString>, String> {
    if is_switch(arg) {
        return match value {
            Value::Bool(true) => Ok(vec![OsString::new()]),
            Value::Bool(false) => Ok(Vec::new()),
            _ => Err("this is true or false".to_owned()),
        };
    }
    match value {
        Value::Array(list) if matches!(arg.get_action(), ArgAction::Append) => list.iter().map(one).collect(),
        value => one(value).map(|value| vec![value]),
    }
}

/// One value: a text, a number, an object as JSON, or a path as the list of its bytes.
fn one(value: &Value) -> Result<OsString, String> {
    let byte = |value: &Value| value.as_u64().and_then(|number| u8::try_from(number).ok());
    match value {
        Value::String(text) => Ok(text.into()),
        Value::Number(number) => Ok(number.to_string().into()),
        Value::Object(_) => Ok(value.to_string().into()),
        Value::Array(list) => match list.iter().map(byte).collect::<Option<Vec<u8>>>() {
            Some(bytes) if !bytes.is_empty() => Ok(OsString::from_vec(bytes)),
            _ => Err("this takes one value, or a path as the list of its bytes".to_owned()),
        },
        Value::Bool(_) | Value::Null => Err("this is a text or a number".to_owned()),
    }
}

impl VerbArgs {
    /// The ids of the arguments that every command has, and of which a request has none.
    fn command_names() -> Vec<String> {
        #[derive(clap::Parser)]
        struct Alone {
            #[command(flatten)]
            _verb: VerbArgs,
        }
        Alone::command().get_arguments().map(|arg| arg.get_id().to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> Result<Command, Failure> {
        Request::parse(line.as_bytes()).unwrap().command()
    }

    #[test]
    fn parameters_are_the_options_of_the_command_line() {
        let line = r#"{"id": 1, "method": "register-session", "params": {"folder": "-a b", "file_list": ["x,y", [98, 255]],
            "n_trials": 5, "procedures": ["a, b"], "type": "Base", "session_json": {"a": [1.5]}, "dry": true,
            "force": false, "lab": null}}"#;
        let Command::RegisterSession(args) = command(line).unwrap() else { panic!("another command") };
        assert_eq!(args.folder, std::path::Path::new("-a b"));
        assert_eq!(args.files, [OsString::from("x,y"), OsString::from_vec(vec![98, 255])]);
        assert_eq!((args.details.n_trials, args.dry_run, args.force), (Some(5), true, false));
        assert_eq!((args.details.procedures, args.details.lab), (vec!["a, b".to_owned()], None));
        assert_eq!(args.details.kind.as_deref(), Some("Base"));
        assert_eq!(Value::Object(args.details.session_json.unwrap()), serde_json::json!({"a": [1.5]}));
        let Command::Water(args) =
            command(r#"{"method": "water", "params": {"volume": 1.5, "subjects": "M1"}}"#).unwrap()
        else {
            panic!("another command")
        };
        assert_eq!((args.subjects.0, args.volume), (vec!["M1".to_owned()], Some(1.5)));
    }

    #[test]
    fn what_is_wrong_with_a_request_is_one_error_that_repeats_no_value() {
        for (line, text) in [
            (&b"\xff\xfe"[..], "not UTF-8"),
            (b"", "one line of JSON"),
            (b"{\"id\": 1, \"method\": hunter2}", "not valid JSON"),
            (b"[1]", "a JSON object"),
            (br#"{"id": [1], "method": "exists"}"#, "the id of a request"),
            (br#"{"id": 1}"#, "method must be"),
            (br#"{"id": 1, "method": "exists", "param": {}}"#, "no \"param\""),
            (br#"{"id": 1, "method": "exists", "params": [1]}"#, "params must be"),
            (br#"{"id": 1, "id": 2, "method": "exists"}"#, "occurs twice"),
        ] {
            let (_, message) = Request::parse(line).unwrap_err();
            assert!(message.contains(text) && !message.contains("hunter2"), "{message}");
        }
        for (line, text) in [
            (r#"{"method": "run"}"#, "no method \"run\""),
            (r#"{"method": "propose", "params": {"apply": true}}"#, "no method"),
            (r#"{"method": "exists", "params": {"planet": 1}}"#, "no parameter \"planet\""),
            (r#"{"method": "exists", "params": {"endpoint": "labs", "url": "http://x"}}"#, "no parameter"),
            (r#"{"method": "exists", "params": {"names": ["x"]}}"#, "\"endpoint\" is missing"),
            (r#"{"method": "exists", "params": {"endpoint": "planets"}}"#, "planets"),
            (r#"{"method": "weight", "params": {"subjects": "M1", "weight": 0}}"#, "greater than zero"),
            (
                r#"{"method": "weight", "params": {"subjects": "M1", "weight": true}}"#,
                "weight: this is a text",
            ),
            (r#"{"method": "find-files", "params": {"folder": ["a"]}}"#, "folder: this takes one value"),
            (r#"{"method": "find-files"}"#, "<FOLDER>"),
        ] {
            let failure = command(line).unwrap_err();
            let error = &failure.errors[0];
            assert!(error.message.contains(text), "{error:?}");
            assert_eq!(error.kind, "Usage");
        }
    }

    #[test]
    fn every_method_can_be_asked_for() {
        let definition = Cli::definition();
        let served: Vec<&str> =
            definition.get_subcommands().filter(|c| is_served(c)).map(clap::Command::get_name).collect();
        assert_eq!(served.len(), 11, "{served:?}");
    }
}
