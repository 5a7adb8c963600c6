//! Names that mean something to one reader or another; docs/formats.md says what each format does with them.

use crate::support::{Random, seed};

/// Names that are known to bite.
pub const DANGEROUS: &[&str] = &[
    "include",
    "default",
    "hostnames",
    "~x",
    "~.*",
    "~bob",
    "a\"b",
    "a b",
    "bob alice",
    "no-pty bob",
    "#x",
    "bob#1",
    "x#bob",
    "#0",
    "ALL",
    "EXCEPT",
    "%wheel",
    "%sudo",
    "root",
    "postgres",
    "/bob",
    "/.*",
    "x@y",
    "bob@localhost",
    "+x",
    "!bob",
    "*",
    "bob,carl",
    "bob:x",
    "a\\",
    "\\bob",
    "bob\\",
    "bob\nroot",
    "bob\r",
    "bob\"; \"x",
    "$x",
    "bob\u{202e}",
    "-bob",
    "..",
    "a/../bob",
    "bob;",
    "{bob}",
    "(bob)",
    "[bob]",
    "bob'",
    "' OR bob",
    "BOB\u{2028}",
    "@bob",
    "include bob",
    "é漢",
    "\u{1f600}",
    "bob\0",
    "\u{200f}bob",
    "b\u{43e}b",
    "\u{430}lice",
    ".",
    "../../etc/passwd",
    "a'b\"c\\d",
    "bob smith",
    " lead",
    "trail ",
    "a,b",
    "a\\b",
    "#bob",
    "%sre",
    "!x",
    "all",
    "/x",
    "a:b",
    "(a",
    "[a",
    "a/b",
    "é",
    "漢",
    "😀",
    "no",
    "12:30",
    "null",
    "role:admin",
    "user:bob@example.com",
    "system:masters",
    "x,role:admin",
    "alice@example.com,role:admin",
    "g, user:bob@example.com, role:admin",
    "bob@example.com\u{202e}",
    "bob@example.com\nroot",
    "bob@example.com\r",
    "\u{430}lice@example.com",
    concat!(
        "long-",
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
        "012345678901234567890123456789012345678901234567890123456789"
    ),
];

/// Names made up in each run, beside the known bad ones.
const RANDOM_NAMES: usize = 40;

/// A short name of what some reader takes for syntax. No capitals: a reader may fold them.
fn random_name(random: &mut Random) -> String {
    const PIECES: [&str; 44] = [
        "a", "b", "x", "bob", "root", "all", "0", "1", " ", "  ", "\"", "'", "`", ",", ";", ":", "\\", "#",
        "%", "+", "!", "@", "$", "{", "}", "(", ")", "[", "]", "*", "?", "~", "/", "..", ".", "-", "_", "=",
        "|", "&", "<", "\t", "é", "\u{202e}",
    ];
    let pieces = 1 + random.below(7);
    (0..pieces).map(|_| PIECES[random.below(PIECES.len() as u64) as usize]).collect()
}

/// All of them: the known ones and this run's own (the seed is printed).
pub fn all() -> Vec<String> {
    let mut random = Random::new(seed());
    let made = (0..RANDOM_NAMES).map(|_| random_name(&mut random));
    let mut all: Vec<String> = DANGEROUS.iter().map(|&name| name.to_owned()).chain(made).collect();
    all.sort_unstable();
    all.dedup();
    all
}
