//! What the program says when something is wrong, found in its sources: every template of a warning, of an error, of a
//! complaint at the terminal, and of a reason that these pass on.

use std::collections::BTreeMap;
use std::path::Path;

use proc_macro2::{Delimiter, Group, Literal, TokenStream, TokenTree};

/// How something is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A line of the log, `WARN`.
    Warning,
    /// A line of the log, `ERROR`.
    Error,
    /// A line for the person at the terminal.
    Terminal,
    /// Part of such a line: why.
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

/// One place in the sources that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub kind: Kind,
    /// With `…` for what is filled in.
    pub text: String,
    pub line: usize,
}

impl Said {
    /// Says nothing of its own: `{error}`.
    pub fn passes_on(&self) -> bool {
        !self.text.chars().any(char::is_alphanumeric)
    }
}

/// Functions and variants that are handed a reason for a person: the last names of the path before the parenthesis, and
/// how many words make a reason of what is in there.
const HANDED_A_REASON: [(&[&str], usize); 7] = [
    (&["refuse"], 2),
    (&["warnings", "push"], 2),
    (&["Error", "Invalid"], 2),
    (&["Error", "Options"], 2),
    (&["Failure", "new"], 3),
    (&["Refusal", "new"], 3),
    (&["Err"], 3),
];

/// Files in which every sentence is a reason.
const ALL_TEXT: [&str; 3] = ["src/cli/logging.rs", "src/cli/scan_roots.rs", "src/ledger/trouble.rs"];

/// Where a reason is of another sort: errors of the configuration name file, line and key, and say what to write; the
/// words of the sandbox are those of an Alyx; what was typed wrongly is told together with the usage.
const REASONS_OF_ANOTHER_SORT: [&str; 3] = ["src/config/", "crates/alyx-sandbox/", "src/cli/args/"];
const ALL_THE_SAME: [&str; 2] = ["src/config/credentials.rs", "src/config/webhook.rs"];

/// The sources of the program and its crates, by file.
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

/// What one file says, apart from its tests.
pub fn of_file(name: &str, source: &str) -> Vec<Said> {
    let mut found = Vec::new();
    if !name.ends_with("/tests.rs") {
        let tokens: Vec<TokenTree> = source.parse::<TokenStream>().unwrap().into_iter().collect();
        look(&tokens, name, &mut found);
    }
    found
}

fn look(tokens: &[TokenTree], file: &str, found: &mut Vec<Said>) {
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
                        first.map_or_else(|| passing_on(kind, group), |(text, line)| said(kind, &text, line)),
                    );
                }
                Some((kind, Take::Reasons(words))) => {
                    // What is said in there by somebody else is found there.
                    let mut reasons = Vec::new();
                    look(&inside(group), file, &mut reasons);
                    let texts =
                        literals(group.stream()).into_iter().filter(|(text, _)| has_words(text, words));
                    let texts = texts.map(|(text, line)| said(kind, &text, line));
                    let more: Vec<Said> = texts.filter(|one| !reasons.contains(one)).collect();
                    found.extend(reasons.into_iter().chain(more));
                }
                None => look(&inside(group), file, found),
            }
        } else if let TokenTree::Literal(literal) = &tokens[at]
            && ALL_TEXT.contains(&file)
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

/// How much of what is in the parentheses is said.
enum Take {
    First,
    /// What has so many words.
    Reasons(usize),
}

/// Whether a group in parentheses or brackets is something that is said.
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
    if ends_with(&["complain"]) || ends_with(&["eprintln", "!"]) {
        return Some((Kind::Terminal, Take::First));
    }
    let other = REASONS_OF_ANOTHER_SORT.iter().any(|folder| file.starts_with(folder));
    if other && !ALL_THE_SAME.contains(&file) && !ends_with(&["warnings", "push"]) {
        return None;
    }
    let handed = HANDED_A_REASON.iter().find(|(names, _)| ends_with(names));
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

/// `fn complain(…)` and `macro_rules! warn` say nothing.
fn is_definition(before: &[TokenTree]) -> bool {
    matches!(before, [.., TokenTree::Ident(word), TokenTree::Ident(_)] if word == "fn")
}

/// Begins with `#[cfg(test)]`.
fn is_test(tokens: &[TokenTree]) -> bool {
    attribute(tokens).is_some_and(|words| words == "cfg(test)")
}

/// Begins with a comment for the documentation.
fn is_doc(tokens: &[TokenTree]) -> bool {
    attribute(tokens).is_some_and(|words| words.starts_with("doc="))
}

/// The attribute with which it begins, without spaces.
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

/// Up to its braces or its semicolon.
fn length_of_item(tokens: &[TokenTree]) -> usize {
    let ends = tokens.iter().position(|token| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(mark) => mark.as_char() == ';',
        _ => false,
    });
    ends.map_or(tokens.len(), |at| at + 1)
}

/// The texts in it, however deep, each with its line. What is handed to `Error::Internal` is for its author.
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

fn passing_on(kind: Kind, group: &Group) -> Said {
    said(kind, "{}", group.span().start().line)
}

fn said(kind: Kind, template: &str, line: usize) -> Said {
    Said { kind, text: shown(template), line }
}

/// A key or a form is no reason.
fn has_words(text: &str, least: usize) -> bool {
    shown(text).split(' ').filter(|word| word.chars().any(char::is_alphabetic)).count() >= least
}

/// `{path:?} is gone` as people meet it: `… is gone`.
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

/// The text of a literal, if it is one.
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
            // Over the end of a line.
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
