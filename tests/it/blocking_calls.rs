//! Async code makes no blocking file system call: a hanging disk would hold up every session, not only its own.
//! The sources are read for it, as tokens; what runs in `spawn_blocking` or on a thread of its own may block.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Methods of `Path` that look at the disk.
const OF_PATHS: [&str; 9] = [
    "exists",
    "try_exists",
    "is_file",
    "is_dir",
    "is_symlink",
    "symlink_metadata",
    "canonicalize",
    "read_dir",
    "read_link",
];

/// Functions of this project that block. Those that only a command calls, which has nothing else to do, are not here.
const OURS: [(&str, &str); 3] = [("FolderIdentity", "load"), ("FolderStamp", "load"), ("FlagFile", "load")];

fn ident(token: Option<&TokenTree>) -> Option<String> {
    match token {
        Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
        _ => None,
    }
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

/// Whether the tokens at `at` are preceded by `name::`.
fn comes_after(tokens: &[TokenTree], at: usize, name: &str) -> bool {
    at >= 3
        && is_punct(tokens.get(at - 1), ':')
        && is_punct(tokens.get(at - 2), ':')
        && ident(tokens.get(at - 3)).as_deref() == Some(name)
}

/// The line of each blocking call in async code.
fn blocking_calls(stream: TokenStream, is_async: bool, found: &mut Vec<usize>) {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    // What the next block in braces is: the body of a function, or an async block.
    let mut body = None;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(name) => {
                let name = name.to_string();
                let is_call = matches!(
                    tokens.get(at + 1),
                    Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis
                );
                let is_blocking = match name.as_str() {
                    "fn" => {
                        // `async unsafe fn` and the like are not used here.
                        body = Some(
                            ident(at.checked_sub(1).and_then(|at| tokens.get(at))).as_deref()
                                == Some("async"),
                        );
                        false
                    }
                    "async" if ident(tokens.get(at + 1)).as_deref() != Some("fn") => {
                        body = Some(true);
                        false
                    }
                    _ if comes_after(&tokens, at, "fs") => {
                        let is_tokio = at >= 6 && comes_after(&tokens, at - 3, "tokio");
                        is_call && !is_tokio
                    }
                    "open" | "create" if comes_after(&tokens, at, "File") => true,
                    _ if OURS.iter().any(|(kind, call)| *call == name && comes_after(&tokens, at, kind)) => {
                        is_call
                    }
                    _ => {
                        let is_method = at > 0 && is_punct(tokens.get(at - 1), '.');
                        is_method && is_call && OF_PATHS.contains(&name.as_str())
                    }
                };
                if is_async && is_blocking {
                    found.push(token.span().start().line);
                }
            }
            TokenTree::Group(group) => {
                let before = at.checked_sub(1).and_then(|at| tokens.get(at));
                let may_block = matches!(
                    ident(before).as_deref(),
                    Some("spawn_blocking" | "block_in_place" | "blocking")
                ) || (ident(before).as_deref() == Some("spawn")
                    && comes_after(&tokens, at - 1, "thread"));
                let inside = match body {
                    _ if may_block => false,
                    Some(kind) if group.delimiter() == Delimiter::Brace => kind,
                    _ => is_async,
                };
                if group.delimiter() == Delimiter::Brace {
                    body = None;
                }
                blocking_calls(group.stream(), inside, found);
            }
            _ => {}
        }
    }
}

fn in_text(text: &str) -> Vec<usize> {
    let mut found = Vec::new();
    blocking_calls(text.parse().unwrap(), false, &mut found);
    found
}

#[test]
fn async_code_makes_no_blocking_file_system_call() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["src", "crates/alf/src", "crates/alyx-client/src", "crates/alyx-registration/src"] {
        for file in walkdir::WalkDir::new(root.join(folder)).into_iter().map(Result::unwrap) {
            let path = file.path();
            if path.extension().is_none_or(|ending| ending != "rs") || path.ends_with("tests.rs") {
                continue;
            }
            let text = std::fs::read_to_string(path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let relative = path.strip_prefix(root).unwrap().display();
            found.extend(in_text(code).iter().map(|line| format!("{relative}:{line}")));
        }
    }
    assert!(found.is_empty(), "run these in spawn_blocking, or use tokio::fs: {found:#?}");
}

#[test]
fn a_blocking_call_is_found_in_async_code_only() {
    let blocking = "async fn a() { std::fs::read(p); }\n\
                    fn b() { tokio::spawn(async move { if x { File::open(p) } }); }\n\
                    async fn c() { if p.is_dir() { fs::write(p, b\"\") } }\n\
                    async fn d() { FlagFile::load(p) }";
    assert_eq!(in_text(blocking), [1, 2, 3, 3, 4]);
    let harmless = "fn a() { std::fs::read(p); }\n\
                    async fn b() { spawn_blocking(move || std::fs::read(p)).await; tokio::fs::read(p).await; }\n\
                    async fn c() { fn d() { std::fs::read(p); } std::thread::spawn(|| File::open(p)); }";
    assert_eq!(in_text(harmless), [] as [usize; 0]);
}
