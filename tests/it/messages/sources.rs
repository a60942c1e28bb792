//! Finds in the sources what the program prints when something is wrong: every template of a warning, an error, a
//! terminal message, and of a reason inserted into these.

use std::collections::BTreeMap;
use std::path::Path;

use proc_macro2::{Delimiter, Group, Literal, TokenStream, TokenTree};

/// The kind of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A log line at `WARN`.
    Warning,
    /// A log line at `ERROR`.
    Error,
    /// A line on the terminal.
    Terminal,
    /// A part of such a line: the reason.
    Reason,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Terminal => "terminal",
            Self::Reason => "reason",
        }
    }
}

/// A message in the sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub kind: Kind,
    /// With `…` in place of arguments.
    pub text: String,
    pub line: usize,
}

impl Said {
    /// Whether it has no text of its own: `{error}`.
    pub fn forwards(&self) -> bool {
        !self.text.chars().any(char::is_alphanumeric)
    }
}

/// Functions and variants that take a reason: the last names of the path before the parenthesis, and the number of
/// words from which a literal counts as a reason.
const REASON_PARAMETERS: [(&[&str], usize); 12] = [
    (&["refuse"], 2),
    (&["warnings", "push"], 2),
    (&["Error", "Invalid"], 2),
    (&["Error", "Options"], 2),
    (&["Failure", "new"], 3),
    (&["ErrorReport", "command"], 3),
    (&["ErrorReport", "of_kind"], 3),
    (&["nothing_to_do"], 3),
    (&["Refusal", "new"], 3),
    (&["Err"], 3),
    (&["RecordChange", "LeftAlone"], 3),
    (&["RecordChange", "Unconfirmed"], 3),
];

/// Files in which every sentence is a reason.
const REASON_FILES: [&str; 3] = ["src/cli/logging.rs", "src/cli/scan/scan_roots.rs", "src/ledger/problem.rs"];

/// Reasons of other kinds: errors of the configuration and of sidecars name file, line and key, and what to write; the
/// sandbox uses Alyx's words; errors of the command line are printed with the usage.
const EXCLUDED_REASONS: [&str; 4] =
    ["src/config/", "crates/session-metadata/", "crates/alyx-sandbox/", "src/cli/args/"];
const INCLUDED_NEVERTHELESS: [&str; 2] =
    ["src/config/sections/credentials.rs", "src/config/sections/webhook.rs"];

/// The messages of the program and its crates, by file.
pub fn all() -> BTreeMap<String, Vec<Said>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = ["src", "crates"]
        .map(|folder| walkdir::WalkDir::new(root.join(folder)).into_iter().map(Result::unwrap));
    let rust =
        files.into_iter().flatten().filter(|file| file.path().extension().is_some_and(|name| name == "rs"));
    rust.map(|file| {
        let name = file.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let said = of_file(&name, &std::fs::read_to_string(file.path()).unwrap());
        (name, said)
    })
    .collect()
}

/// The messages of one file, without its tests.
pub fn of_file(name: &str, source: &str) -> Vec<Said> {
    let mut found = Vec::new();
    if !name.ends_with("/tests.rs") {
        let tokens: Vec<TokenTree> = source.parse::<TokenStream>().unwrap().into_iter().collect();
        collect(&tokens, name, &mut found);
    }
    found
}

fn collect(tokens: &[TokenTree], file: &str, found: &mut Vec<Said>) {
    let mut at = 0;
    while at < tokens.len() {
        if is_test(&tokens[at..]) {
            at += length_of_item(&tokens[at..]);
            continue;
        }
        let before = &tokens[..at];
        if is_doc(&tokens[at..]) {
            at += 1 + tokens[at..].iter().position(|token| matches!(token, TokenTree::Group(_))).unwrap_or(0);
            continue;
        }
        if let TokenTree::Group(group) = &tokens[at] {
            match said_in(before, group, file) {
                Some((kind, Take::First)) => {
                    let first = literals(group.stream()).into_iter().next();
                    found.push(
                        first.map_or_else(|| forwarding(kind, group), |(text, line)| said(kind, &text, line)),
                    );
                }
                Some((kind, Take::Reasons(words))) => {
                    // A nested call is found separately.
                    let mut reasons = Vec::new();
                    collect(&inside(group), file, &mut reasons);
                    let texts =
                        literals(group.stream()).into_iter().filter(|(text, _)| has_words(text, words));
                    let texts = texts.map(|(text, line)| said(kind, &text, line));
                    let more: Vec<Said> = texts.filter(|one| !reasons.contains(one)).collect();
                    found.extend(reasons.into_iter().chain(more));
                }
                None => collect(&inside(group), file, found),
            }
        } else if let TokenTree::Literal(literal) = &tokens[at]
            && REASON_FILES.contains(&file)
            && let Some(text) = value(literal)
            && has_words(&text, 3)
        {
            found.push(said(Kind::Reason, &text, literal.span().start().line));
        }
        at += 1;
    }
}

fn inside(group: &Group) -> Vec<TokenTree> {
    group.stream().into_iter().collect()
}

/// Which literals in the parentheses are messages.
enum Take {
    First,
    /// Those with at least this number of words.
    Reasons(usize),
}

/// Whether a group in parentheses or brackets is a message.
fn said_in(before: &[TokenTree], group: &Group, file: &str) -> Option<(Kind, Take)> {
    let path = path_before(before);
    let ends_with =
        |names: &[&str]| path.ends_with(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
    if group.delimiter() == Delimiter::Bracket {
        // #[error("…")]
        let mut inside = group.stream().into_iter();
        return match (inside.next(), inside.next()) {
            (Some(TokenTree::Ident(name)), Some(TokenTree::Group(text)))
                if name == "error" && !literals(text.stream()).is_empty() =>
            {
                Some((Kind::Reason, Take::First))
            }
            _ => None,
        };
    }
    if group.delimiter() != Delimiter::Parenthesis || is_definition(before) {
        return None;
    }
    if ends_with(&["warn", "!"]) {
        return Some((Kind::Warning, Take::First));
    }
    if ends_with(&["error", "!"]) {
        return Some((Kind::Error, Take::First));
    }
    if ends_with(&["report_error"]) || ends_with(&["eprintln", "!"]) {
        return Some((Kind::Terminal, Take::First));
    }
    let other = EXCLUDED_REASONS.iter().any(|folder| file.starts_with(folder));
    if other && !INCLUDED_NEVERTHELESS.contains(&file) && !ends_with(&["warnings", "push"]) {
        return None;
    }
    let handed = REASON_PARAMETERS.iter().find(|(names, _)| ends_with(names));
    handed.map(|(_, words)| (Kind::Reason, Take::Reasons(*words)))
}

/// `["tracing", "warn", "!"]` of `tracing::warn!`, `["warnings", "push"]` of `self.warnings.push`.
fn path_before(before: &[TokenTree]) -> Vec<String> {
    let mut path = Vec::new();
    let mut rest = before;
    if let [front @ .., TokenTree::Punct(mark)] = rest
        && mark.as_char() == '!'
    {
        path.push("!".to_owned());
        rest = front;
    }
    while let [front @ .., TokenTree::Ident(name)] = rest {
        path.push(name.to_string());
        rest = match front {
            [front @ .., TokenTree::Punct(a), TokenTree::Punct(b)]
                if a.as_char() == ':' && b.as_char() == ':' =>
            {
                front
            }
            [front @ .., TokenTree::Punct(dot)] if dot.as_char() == '.' => front,
            _ => break,
        };
    }
    path.reverse();
    path
}

/// `fn report_error(…)` and `macro_rules! warn` are definitions.
fn is_definition(before: &[TokenTree]) -> bool {
    matches!(before, [.., TokenTree::Ident(word), TokenTree::Ident(_)] if word == "fn")
}

/// Begins with `#[cfg(test)]`.
fn is_test(tokens: &[TokenTree]) -> bool {
    attribute(tokens).is_some_and(|words| words == "cfg(test)")
}

/// Begins with a doc comment, or with a lint that is set for the item.
fn is_doc(tokens: &[TokenTree]) -> bool {
    attribute(tokens)
        .is_some_and(|words| ["doc=", "expect(", "allow("].iter().any(|name| words.starts_with(name)))
}

/// The leading attribute, without spaces.
fn attribute(tokens: &[TokenTree]) -> Option<String> {
    let marks = tokens
        .iter()
        .take_while(|token| matches!(token, TokenTree::Punct(mark) if "#!".contains(mark.as_char())));
    match (marks.count(), tokens) {
        (1, [_, TokenTree::Group(group), ..]) | (2, [_, _, TokenTree::Group(group), ..]) => {
            Some(group.stream().to_string().split_whitespace().collect())
        }
        _ => None,
    }
}

/// The number of tokens up to its braces or semicolon.
fn length_of_item(tokens: &[TokenTree]) -> usize {
    let ends = tokens.iter().position(|token| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(mark) => mark.as_char() == ';',
        _ => false,
    });
    ends.map_or(tokens.len(), |at| at + 1)
}

/// All literals inside, with their lines. Texts for `Error::Internal` are for developers.
fn literals(tokens: TokenStream) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(_) if path_before(&tokens[..at]).ends_with(&["Internal".to_owned()]) => {}
            TokenTree::Group(group) => found.extend(literals(group.stream())),
            TokenTree::Literal(literal) => {
                found.extend(value(literal).map(|text| (text, literal.span().start().line)));
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) => {}
        }
    }
    found
}

fn forwarding(kind: Kind, group: &Group) -> Said {
    said(kind, "{}", group.span().start().line)
}

fn said(kind: Kind, template: &str, line: usize) -> Said {
    Said { kind, text: shown(template), line }
}

/// A key or a format string is not a reason.
fn has_words(text: &str, least: usize) -> bool {
    shown(text).split(' ').filter(|word| word.chars().any(char::is_alphabetic)).count() >= least
}

/// `{path:?} is gone` as users see it: `… is gone`.
pub fn shown(template: &str) -> String {
    let mut text = String::new();
    let mut rest = template.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '{' | '}' if rest.peek() == Some(&c) => {
                rest.next();
                text.push(c);
            }
            '{' => {
                while rest.next().is_some_and(|c| c != '}') {}
                if !text.ends_with('…') {
                    text.push('…');
                }
            }
            c => text.push(c),
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text of a string literal.
fn value(literal: &Literal) -> Option<String> {
    let written = literal.to_string();
    if let Some(raw) = written.strip_prefix('r') {
        return Some(raw.trim_matches('#').strip_prefix('"')?.strip_suffix('"')?.to_owned());
    }
    let mut text = String::new();
    let mut rest = written.strip_prefix('"')?.strip_suffix('"')?.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        match rest.next()? {
            // A line continuation.
            '\n' => while rest.next_if(|c| c.is_whitespace()).is_some() {},
            'n' | 't' => text.push(' '),
            'u' => {
                let number: String = rest.by_ref().skip(1).take_while(|c| *c != '}').collect();
                text.push(char::from_u32(u32::from_str_radix(&number, 16).ok()?)?);
            }
            other => text.push(other),
        }
    }
    Some(text)
}
