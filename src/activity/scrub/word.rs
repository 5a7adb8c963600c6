//! Words for words: the same length, letters for letters, digits for digits, the same letter case.

use std::collections::{HashMap, HashSet};
use std::fmt;

use sha2::{Digest as _, Sha256};

/// Most originals remembered. Beyond it values stay stable, but two might meet.
const KNOWN_MAX: usize = 200_000;
/// Longest word that is remembered; a certificate needs no name of its own.
const WORD_MAX: usize = 256;
/// Tries for a made-up word of the same length before a longer one will do.
const TRIES: u32 = 64;

const CONSONANTS: &[u8] = b"bdfgklmnprstvz";
const VOWELS: &[u8] = b"aeiou";
const TWO_BYTES: [char; 16] =
    ['é', 'è', 'ê', 'ë', 'à', 'â', 'ä', 'ó', 'ö', 'ø', 'ú', 'ü', 'ñ', 'ç', 'å', 'î'];
const THREE_BYTES: [char; 12] = ['例', '名', '仮', '字', '語', '文', '書', '店', '海', '山', '川', '林'];
const FOUR_BYTES: [char; 8] = ['𐐨', '𐐩', '𐐪', '𐐫', '𐐬', '𐐭', '𐐮', '𐐯'];

/// The words made up so far.
pub(super) struct Words {
    seed: [u8; 16],
    known: HashMap<String, String>,
    taken: HashSet<String>,
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The originals are what nobody may see.
        f.debug_struct("Words").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

impl Words {
    pub(super) fn new(seed: [u8; 16]) -> Self {
        Self { seed, known: HashMap::new(), taken: HashSet::new() }
    }

    /// A made-up word for `word`, in its letter case.
    pub(super) fn word(&mut self, word: &str) -> String {
        let folded = word.to_lowercase();
        let made = self.made(&folded, &folded, |made| made);
        in_case_of(word, &made)
    }

    /// A made-up host below example.com; letter case of the whole.
    pub(super) fn host(&mut self, host: &str) -> String {
        let folded = host.to_lowercase();
        let made = self.made(&format!("@{folded}"), "abcdef", |label| format!("{label}.example.com"));
        let is_upper = host.chars().any(char::is_uppercase) && !host.chars().any(char::is_lowercase);
        if is_upper { made.to_uppercase() } else { made }
    }

    /// A random UUID for a UUID, in its letter case.
    pub(super) fn uuid(&mut self, text: &str) -> String {
        let folded = text.to_lowercase();
        let seed = self.seed;
        let original = folded.clone();
        let made = self.made(&folded, "uuid", move |tried| {
            let stream = stream(&seed, 0, &format!("{original}{tried}"), 16);
            let bytes: [u8; 16] = stream.try_into().unwrap_or_default();
            uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
        });
        in_case_of(text, &made)
    }

    fn made(&mut self, original: &str, shape: &str, dress: impl Fn(String) -> String) -> String {
        if let Some(made) = self.known.get(original) {
            return made.clone();
        }
        let is_kept = original.len() <= WORD_MAX && self.known.len() < KNOWN_MAX;
        let mut tried = 0_u32;
        loop {
            let longer = usize::try_from(tried / TRIES).unwrap_or_default();
            let made = dress(shaped(&self.seed, tried, original, shape, longer));
            tried = tried.saturating_add(1);
            let is_free = made != original && !self.taken.contains(&made) && !self.known.contains_key(&made);
            if is_free || (!is_kept && made != original) {
                if is_kept {
                    self.taken.insert(made.clone());
                    self.known.insert(original.to_owned(), made.clone());
                }
                return made;
            }
        }
    }
}

/// `text` with each of its words replaced and all between them as it was. A word is a run of letters and digits, and
/// of whatever is no ASCII.
pub(super) fn each(text: &str, mut replace: impl FnMut(&str) -> String) -> String {
    let in_word = |c: char| c.is_ascii_alphanumeric() || !c.is_ascii();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(in_word) {
        let (between, tail) = rest.split_at(start);
        let (word, tail) = tail.split_at(tail.find(|c| !in_word(c)).unwrap_or(tail.len()));
        push_between(&mut out, between);
        out.push_str(&replace(word));
        rest = tail;
    }
    push_between(&mut out, rest);
    out
}

/// A dollar would begin a variable of the trace.
fn push_between(out: &mut String, between: &str) {
    out.push_str(&between.replace("${", "#{"));
}

fn stream(seed: &[u8; 16], tried: u32, original: &str, length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(length + 32);
    let mut block = 0_u32;
    while out.len() < length {
        let digest = Sha256::new()
            .chain_update(seed)
            .chain_update(tried.to_be_bytes())
            .chain_update(block.to_be_bytes())
            .chain_update(original.as_bytes())
            .finalize();
        out.extend_from_slice(&digest);
        block = block.saturating_add(1);
    }
    out.truncate(length);
    out
}

fn shaped(seed: &[u8; 16], tried: u32, original: &str, shape: &str, longer: usize) -> String {
    let chars = shape.chars().chain(std::iter::repeat_n('a', longer));
    let length = shape.chars().count().saturating_add(longer);
    let bytes = stream(seed, tried, original, length);
    let mut letters = bytes.first().map_or(0, |byte| usize::from(*byte % 2));
    chars
        .zip(bytes)
        .map(|(c, byte)| match (c.is_ascii_digit(), c.len_utf8()) {
            (true, _) => char::from(b'0'.saturating_add(byte % 10)),
            (false, 1) => {
                letters = letters.saturating_add(1);
                pick(if letters.is_multiple_of(2) { VOWELS } else { CONSONANTS }, byte)
                    .map_or('x', char::from)
            }
            (false, 2) => pick(&TWO_BYTES, byte).unwrap_or('é'),
            (false, 3) => pick(&THREE_BYTES, byte).unwrap_or('例'),
            (false, _) => pick(&FOUR_BYTES, byte).unwrap_or('𐐨'),
        })
        .collect()
}

fn pick<T: Copy>(all: &[T], byte: u8) -> Option<T> {
    all.get(usize::from(byte) % all.len().max(1)).copied()
}

/// `made` with capitals where `original` has them.
fn in_case_of(original: &str, made: &str) -> String {
    let mut pattern = original.chars().map(char::is_uppercase);
    let all_upper = original.chars().any(char::is_uppercase) && !original.chars().any(char::is_lowercase);
    let mut out = String::with_capacity(made.len());
    for c in made.chars() {
        if pattern.next().unwrap_or(all_upper) {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
    }
    out
}
