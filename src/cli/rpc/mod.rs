//! `rpc`: answers the requests of another program, one a line, with one login.
//!
//! A request runs the function of the command of its name, so that it does what the command does. Requests are answered one
//! after the other. Standard output has answers only; the log goes to standard error.

mod connection;
mod line;
mod request;

use std::io::{BufReader, Stdin};
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::cli::args::RpcArgs;
use crate::cli::exit::Exit;
use crate::cli::logging;
use crate::cli::logging::LogOptions;
use crate::cli::output::{Failure, report_error};
use crate::cli::rpc::connection::Connection;
use crate::cli::rpc::line::{Line, next_line};
use crate::cli::rpc::request::{Request, no_method, unusable};
use crate::cli::verbs;
use crate::cli::verbs::connect::all_answered;
use crate::cli::verbs::output::{Answer, print};
use crate::daemon::outside::signals;
use crate::json::document::VERSION;
use crate::json::error_report::ErrorReport;
use alyx_registration::RegistrationClient;
use alyx_registration::advice::Kind;

/// The longest request, in bytes: one that names 100 000 files has about half of it.
const MAX_LINE: usize = 32 * 1024 * 1024;

/// Answers requests until the input ends.
pub(crate) async fn rpc(args: &RpcArgs) -> Exit {
    // Errors of the requests are answers, and the level is that of a configuration.
    if let Err(error) = logging::init(&LogOptions::default()) {
        report_error(error);
        return Exit::Config;
    }
    let shutdown = CancellationToken::new();
    if let Err(error) = signals::listen(shutdown.clone()) {
        return Failure::no_signals(&error).into();
    }
    let mut connection = Connection::of(args.connection.clone());
    let mut input = BufReader::new(std::io::stdin());
    loop {
        let read = tokio::task::spawn_blocking(move || read(input));
        let read = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Exit::Success,
            read = read => read,
        };
        let line = match read {
            Ok((rest, Ok(line))) => {
                input = rest;
                line
            }
            Ok((_, Err(error))) => {
                report_error(format_args!("the requests cannot be read: {error}"));
                return Exit::Io;
            }
            Err(error) => {
                report_error(format_args!("the requests cannot be read: {error}"));
                return Exit::Io;
            }
        };
        let Some(line) = line else { return Exit::Success };
        if let Some(answer) = answer(&mut connection, line, &shutdown).await {
            print(&[answer.to_string()]);
        }
        if shutdown.is_cancelled() {
            return Exit::Interrupted;
        }
    }
}

type Input = BufReader<Stdin>;

fn read(mut input: Input) -> (Input, std::io::Result<Option<Line>>) {
    let line = next_line(&mut input, MAX_LINE);
    (input, line)
}

/// The answer to a line; `None` for an empty one.
async fn answer(connection: &mut Connection, line: Line, shutdown: &CancellationToken) -> Option<Value> {
    let request = match line {
        Line::Whole(line) if line.trim_ascii().is_empty() => return None,
        Line::Whole(line) => Request::parse(&line),
        Line::TooLong => {
            let message =
                format!("the line has more than {MAX_LINE} bytes, and was skipped; send fewer files at once");
            Err((Value::Null, message))
        }
    };
    let request = match request {
        Ok(request) => request,
        Err((id, message)) => return Some(failed(&id, "", unusable(message))),
    };
    let (id, method) = (request.id.clone(), request.method.clone());
    let done = tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        done = caught(carry_out(connection, request)) => Some(done),
    };
    let done = match (done, connection.client()) {
        (Some(done), _) => done,
        (None, Some(client)) if !all_answered(client).await => Err(Failure::unanswered()),
        (None, _) => Err(Failure::interrupted()),
    };
    Some(match done {
        Ok(answer) => json!({"id": id, "exit_code": answer.exit.code(), "result": answer.document(&method)}),
        Err(failure) => failed(&id, &method, failure),
    })
}

/// Runs a request.
async fn carry_out(connection: &mut Connection, request: Request) -> Result<Answer, Failure> {
    if request.method == "connect" {
        return connection.connect(request.params).await;
    }
    if request.method == "dataset-types" {
        return dataset_types(&connection.get()?.0, &request.params).await;
    }
    let command = request.command()?;
    let (client, config) = connection.get()?;
    let no_method = || Err(no_method(&request.method));
    verbs::answer(&command, &client, config).await.unwrap_or_else(no_method)
}

/// The dataset types of Alyx, and the file extensions of its data formats: what decides which file is a dataset.
async fn dataset_types(client: &RegistrationClient, params: &Map<String, Value>) -> Result<Answer, Failure> {
    if let Some(name) = params.keys().next() {
        return Err(unusable(format!("dataset-types has no parameter {name:?}")));
    }
    let (types, formats) = (client.alyx().dataset_types().await?, client.alyx().data_formats().await?);
    let types: Vec<Value> = types
        .into_iter()
        .map(|of| json!({"name": of.name, "filename_pattern": of.filename_pattern.unwrap_or_default()}))
        .collect();
    let extensions: Vec<String> = formats.into_iter().filter_map(|format| format.file_extension).collect();
    Answer::new(Vec::new(), json!({"dataset_types": types, "file_extensions": extensions}))
}

/// The result of some work; a panic in it is an error.
async fn caught(work: impl Future<Output = Result<Answer, Failure>>) -> Result<Answer, Failure> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
        let message = "a bug in this program ended the request; the log has the place";
        Err(Failure::reported(Exit::Incomplete, ErrorReport::of_kind(Kind::Internal, message)))
    })
}

/// The answer to a request that failed as a whole.
fn failed(id: &Value, method: &str, failure: Failure) -> Value {
    let failure = failure.of_command(method);
    let missing: Vec<Value> = failure
        .missing()
        .iter()
        .map(|name| json!({"endpoint": name.endpoint.path().trim_start_matches('/'), "name": name.name}))
        .collect();
    let error = failure.errors.first();
    json!({
        "id": id,
        "exit_code": failure.exit.code(),
        "version": VERSION,
        "error": error,
        "errors": failure.errors,
        "missing": missing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_next_request_is_answered() {
        #[expect(clippy::panic, reason = "the test is about a panic")]
        let failure = caught(async { panic!("a bug") }).await.unwrap_err();
        let ended = failed(&json!(7), "exists", failure);
        assert_eq!((&ended["id"], &ended["error"]["kind"]), (&json!(7), &json!("Internal")));
        let mut connection = Connection::default();
        let line = Line::Whole(br#"{"id": 8, "method": "fly"}"#.to_vec());
        let next = answer_of(&mut connection, line).await;
        assert_eq!((&next["id"], &next["exit_code"]), (&json!(8), &json!(2)));
        assert_eq!(
            answer(&mut connection, Line::Whole(b" ".to_vec()), &CancellationToken::new()).await,
            None
        );
        assert_eq!(answer_of(&mut connection, Line::TooLong).await["id"], Value::Null);
    }

    async fn answer_of(connection: &mut Connection, line: Line) -> Value {
        answer(connection, line, &CancellationToken::new()).await.unwrap()
    }
}
