//! The shape of the tree, read from its source: who imports whom, how long files and functions are.
//!
//! A module imports from layers below its own and never from a sibling on its layer; the table stands in
//! `src/lib.rs` and `docs/architecture.md`. The last tests show on made-up trees that each rule can fail.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Top-level modules from the bottom up; those in one row are siblings.
const LAYERS: [&[&str]; 9] = [
    &["model"],
    &["telemetry", "scim"],
    &["access", "import"],
    &["mirror", "downstream", "activity"],
    &["reconcile"],
    &["http"],
    &["config"],
    &["daemon"],
    &["cli"],
];

/// Longest function and longest file, in lines, tests not counted.
const FUNCTION_LINES_MAX: usize = 100;
const FILE_LINES_MAX: usize = 800;

/// A source file: its path below `src/` and its text.
type Tree = Vec<(PathBuf, String)>;

fn tree(folder: &Path) -> Tree {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("source text");
                found.push((path.strip_prefix(folder).expect("below src").to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&module))
}

/// The module path of a file: `http/tls.rs` is `["http", "tls"]`, `http/mod.rs` is `["http"]`, `lib.rs` is `[]`.
fn module_path(file: &Path) -> Vec<String> {
    let mut parts: Vec<_> =
        file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") || parts == ["lib"] || parts == ["main"] {
        parts.pop();
    }
    parts
}

/// The source with comments and the insides of texts blanked, line by line as before.
fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
    let at = |n: usize| chars.get(n).copied().unwrap_or('\0');
    let mut n = 0;
    while n < chars.len() {
        let is_word = n > 0 && (at(n - 1).is_alphanumeric() || at(n - 1) == '_');
        let skip = match at(n) {
            '/' if at(n + 1) == '/' => chars[n..].iter().position(|c| *c == '\n').unwrap_or(chars.len() - n),
            '/' if at(n + 1) == '*' => comment_length(&chars[n..]),
            '"' => text_length(&chars[n..]),
            'r' if !is_word && matches!(at(n + 1), '"' | '#') => raw_length(&chars[n..]),
            'b' if !is_word && at(n + 1) == 'r' && matches!(at(n + 2), '"' | '#') => {
                1 + raw_length(&chars[n + 1..])
            }
            '\'' => character_length(&chars[n..]),
            _ => 0,
        };
        if skip == 0 {
            out.push(at(n));
            n += 1;
        } else {
            out.extend(chars[n..(n + skip).min(chars.len())].iter().copied().map(blank));
            n += skip;
        }
    }
    out
}

fn comment_length(chars: &[char]) -> usize {
    let mut depth = 0;
    let mut n = 0;
    while n < chars.len() {
        match (chars[n], chars.get(n + 1)) {
            ('/', Some('*')) => (depth, n) = (depth + 1, n + 2),
            ('*', Some('/')) => (depth, n) = (depth - 1, n + 2),
            _ => n += 1,
        }
        if depth == 0 {
            break;
        }
    }
    n
}

fn text_length(chars: &[char]) -> usize {
    let mut n = 1;
    while n < chars.len() && chars[n] != '"' {
        n += if chars[n] == '\\' { 2 } else { 1 };
    }
    n + 1
}

/// Zero if it is no raw text, such as `r#type`.
fn raw_length(chars: &[char]) -> usize {
    let hashes = chars[1..].iter().take_while(|c| **c == '#').count();
    if chars.get(1 + hashes) != Some(&'"') {
        return 0;
    }
    let body = 2 + hashes;
    let mut n = body;
    while n < chars.len() {
        if chars[n] == '"' && chars[n + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes {
            return n + 1 + hashes;
        }
        n += 1;
    }
    n
}

/// Zero if it is a lifetime.
fn character_length(chars: &[char]) -> usize {
    if chars.get(1) == Some(&'\\') {
        return 2 + chars[2..].iter().skip(1).position(|c| *c == '\'').map_or(0, |end| end + 2);
    }
    if chars.get(2) == Some(&'\'') { 3 } else { 0 }
}

/// A part of `text`; empty if its ends are no ends of characters.
fn cut(text: &str, range: impl std::slice::SliceIndex<str, Output = str>) -> &str {
    text.get(range).unwrap_or_default()
}

/// Words and the signs that paths are made of.
fn tokens(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(start) = rest.find(|c: char| !c.is_whitespace()) {
        rest = cut(rest, start..);
        let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let length = match word {
            0 if rest.starts_with("::") => 2,
            0 => rest.chars().next().map_or(1, char::len_utf8),
            _ => word,
        };
        found.push(cut(rest, ..length));
        rest = cut(rest, length..);
    }
    found
}

/// Every top-level module that a file's code names by a path from the root: `crate::x`, `crate::{x, y::z}`, and
/// `super::…::x` where the `super`s lead to the root.
fn imports(file: &Path, text: &str) -> BTreeSet<String> {
    let code = code(text);
    let tokens = tokens(&code);
    // Inside `mod tests { … }` one `super` more is needed; the deepest inline nesting in use is one.
    let depth = module_path(file).len();
    let mut found = BTreeSet::new();
    let mut n = 0;
    while n < tokens.len() {
        let supers = tokens[n..].chunks(2).take_while(|pair| *pair == ["super", "::"]).count();
        let begins = n == 0 || tokens[n - 1] != "::";
        let after = match tokens[n] {
            "crate" | "rosterd" if begins && tokens.get(n + 1) == Some(&"::") => Some(n + 2),
            "super" if begins && supers >= depth && depth > 0 => Some(n + 2 * supers),
            _ => None,
        };
        match after {
            Some(next) => {
                found.extend(heads(&tokens[next..]).into_iter().filter(|word| layer(word).is_some()));
                n = next;
            }
            None => n += 1,
        }
    }
    found
}

/// The first word of a path, or of each path in a `{…}` group.
fn heads(tokens: &[&str]) -> Vec<String> {
    if tokens.first() != Some(&"{") {
        return tokens.first().map(|word| (*word).to_owned()).into_iter().collect();
    }
    let mut found = Vec::new();
    let mut depth = 0;
    let mut is_head = false;
    for token in tokens {
        match *token {
            "{" => (depth, is_head) = (depth + 1, depth == 0),
            "}" if depth == 1 => break,
            "}" => depth -= 1,
            "," => is_head = depth == 1,
            word if is_head => {
                found.push(word.to_owned());
                is_head = false;
            }
            _ => {}
        }
    }
    found
}

/// Imports that go up or to a sibling, as `file: module`.
fn wrong_imports(tree: &Tree) -> Vec<String> {
    let mut wrong = Vec::new();
    for (file, text) in tree {
        let path = module_path(file);
        // lib.rs and main.rs stand above all layers.
        let Some(own) = path.first() else { continue };
        let Some(from) = layer(own) else {
            wrong.push(format!("{}: `{own}` is in no layer; add it to the table", file.display()));
            continue;
        };
        for import in imports(file, text) {
            let to = layer(&import).unwrap_or(0);
            if import != *own && to >= from {
                let way = if to == from { "its sibling" } else { "up to" };
                wrong.push(format!("{}: imports {way} `{import}`", file.display()));
            }
        }
    }
    wrong
}

/// A round trip from a top-level module to itself, if there is one.
fn cycle(tree: &Tree) -> Option<Vec<String>> {
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, text) in tree {
        if let Some(own) = module_path(file).first() {
            let others = imports(file, text).into_iter().filter(|import| import != own);
            edges.entry(own.clone()).or_default().extend(others);
        }
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|start| walk(start, &edges, &mut Vec::new(), &mut done))
}

fn walk(
    module: &str,
    edges: &BTreeMap<String, BTreeSet<String>>,
    way: &mut Vec<String>,
    done: &mut BTreeSet<String>,
) -> Option<Vec<String>> {
    if let Some(start) = way.iter().position(|seen| seen == module) {
        return Some(way[start..].to_vec());
    }
    if !done.contains(module) {
        way.push(module.to_owned());
        for next in edges.get(module).into_iter().flatten() {
            if let Some(found) = walk(next, edges, way, done) {
                return Some(found);
            }
        }
        way.pop();
        done.insert(module.to_owned());
    }
    None
}

/// The code with `#[cfg(test)]` blocks blanked; all of it for a file that is only tests.
fn without_tests(file: &Path, text: &str) -> String {
    if file.iter().any(|part| part == "tests" || part == "tests.rs") {
        return String::new();
    }
    let mut code = code(text);
    let mut from = 0;
    while let Some(at) = cut(&code, from..).find("#[cfg(test)]").map(|at| at + from) {
        let end = match (cut(&code, at..).find('{'), cut(&code, at..).find(';')) {
            // A field, in a type or where one is made.
            _ if is_field(cut(&code, at + "#[cfg(test)]".len()..)) => {
                at + cut(&code, at..).find(',').map_or(0, |comma| comma + 1)
            }
            (Some(open), semicolon) if semicolon.is_none_or(|semicolon| open < semicolon) => {
                at + open + block_length(cut(&code, at + open..))
            }
            (_, Some(semicolon)) => at + semicolon + 1,
            _ => code.len(),
        };
        let blank: String = cut(&code, at..end).chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        code.replace_range(at..end, &blank);
        from = at + blank.len();
    }
    code
}

/// Whether the code begins with `name:` and not with a path or an item.
fn is_field(code: &str) -> bool {
    let code = code.trim_start();
    let rest = code.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
    rest.len() < code.len() && rest.starts_with(':') && !rest.starts_with("::")
}

/// Bytes from an opening brace to behind its closing one.
fn block_length(code: &str) -> usize {
    let mut depth = 0_usize;
    for (n, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return n + 1;
        }
    }
    code.len()
}

/// Each function with its length in lines, from `fn` to the closing brace.
fn functions(code: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let begins = cut(code, ..at).chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_');
        let name: String =
            cut(code, at + 3..).chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let Some(open) = cut(code, at..).find(['{', ';']) else { continue };
        if !begins || name.is_empty() || cut(code, at + open..).starts_with(';') {
            continue;
        }
        let end = at + open + block_length(cut(code, at + open..));
        found.push((name, cut(code, at..end).matches('\n').count() + 1));
    }
    found
}

fn too_long(tree: &Tree) -> Vec<String> {
    let mut wrong = Vec::new();
    for (file, text) in tree {
        let code = without_tests(file, text);
        let lines = {
            // Comments count, the tests at the end do not.
            let last = code.trim_end().matches('\n').count() + 1;
            if code.trim().is_empty() { 0 } else { last }
        };
        if lines > FILE_LINES_MAX {
            wrong.push(format!("{}: {lines} lines, at most {FILE_LINES_MAX}", file.display()));
        }
        for (name, lines) in functions(&code) {
            if lines > FUNCTION_LINES_MAX {
                wrong.push(format!(
                    "{}: `{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}",
                    file.display()
                ));
            }
        }
    }
    wrong
}

fn source() -> Tree {
    tree(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

#[test]
fn no_module_imports_upwards_or_a_sibling() {
    let wrong = wrong_imports(&source());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn top_level_modules_import_each_other_in_no_cycle() {
    assert_eq!(cycle(&source()), None);
}

#[test]
fn files_and_functions_stay_within_their_bounds() {
    let wrong = too_long(&source());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_library_re_exports_nothing() {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).expect("lib.rs");
    assert!(!code(&text).contains("pub use"));
}

mod made_up {
    use super::*;

    fn files(files: &[(&str, &str)]) -> Tree {
        files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect()
    }

    #[test]
    fn every_way_of_writing_an_upward_import_is_found() {
        for text in [
            "use crate::http::Thing;",
            "use crate::{model::Seq, http};",
            "use crate::{\n    model::{Seq, Epoch},\n    http::tls,\n};",
            "fn f() { crate::http::start(); }",
            "use super::super::http::Thing;",
            "use super::super::{model, http};",
            "mod tests { use super::super::super::http::Thing; }",
            "pub(crate) use crate::http as web;",
        ] {
            let wrong = wrong_imports(&files(&[("scim/filter.rs", text)]));
            assert_eq!(wrong, ["scim/filter.rs: imports up to `http`"], "{text}");
        }
    }

    #[test]
    fn a_sibling_on_the_same_layer_is_found() {
        let wrong = wrong_imports(&files(&[("mirror/mod.rs", "use super::downstream;")]));
        assert_eq!(wrong, ["mirror/mod.rs: imports its sibling `downstream`"]);
        assert_eq!(wrong_imports(&files(&[("helpers/mod.rs", "")])).len(), 1);
    }

    #[test]
    fn what_is_allowed_is_not_found() {
        for text in [
            "use crate::model::Seq;",
            "//! See [`crate::http`].\n/* use crate::http; /* nested */ crate::cli */",
            "const A: &str = \"crate::http\"; const B: &str = r#\"crate::cli \"quoted\" \"#; const C: char = '\"';",
            "use crate::scim::http;",
            "use super::http;",
            "fn f<'a>(x: &'a str) -> char { '\\'' } use other::crate_::http;",
        ] {
            assert!(wrong_imports(&files(&[("scim/filter.rs", text)])).is_empty(), "{text}");
        }
    }

    #[test]
    fn a_cycle_is_found_with_its_way() {
        let found = cycle(&files(&[
            ("access/mod.rs", "use crate::mirror::X;"),
            ("mirror/mod.rs", "use crate::reconcile::Y;"),
            ("reconcile/mod.rs", "use crate::access::Z;"),
        ]));
        assert_eq!(found, Some(vec!["access".into(), "mirror".into(), "reconcile".into()]));
    }

    #[test]
    fn long_functions_and_files_are_found_and_tests_are_not_counted() {
        let body = "    let x = 1;\n".repeat(120);
        let long = format!("fn short() {{}}\nfn long() {{\n{body}}}\n");
        assert_eq!(
            too_long(&files(&[("http/a.rs", &long)])),
            ["http/a.rs: `long` has 122 lines, at most 100"]
        );
        let tested = format!("fn short() {{}}\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
        assert!(too_long(&files(&[("http/a.rs", &tested), ("http/tests.rs", &long)])).is_empty());
        let file = "const X: u8 = 1;\n".repeat(801);
        assert_eq!(too_long(&files(&[("http/a.rs", &file)])), ["http/a.rs: 801 lines, at most 800"]);
    }
}
