//! A target after the mirror was restored from a backup (DESIGN §6.8).
//!
//! The mirror is older than the target: people who left since would come back, people who came since would go. So the
//! target is kept whole, additions included, until every identity provider has named everybody again (a re-baseline
//! closes) or a person says `approve --restored`. What the mirror remembers of the target's holdings is then believed
//! only as far as the target itself bears it out.

use std::collections::BTreeSet;

use crate::access::Verdict;
use crate::mirror::restored::{self, Flag};
use crate::mirror::target::{self, Holding, How, Passed, State as Saved};
use crate::mirror::{Mirror, ReadTx, StoreError};
use crate::model::{TargetName, Timestamp};

use super::guard::book::Book;
use super::plan::{self, Wanted};
use super::record::{self, Stored};

/// What holds for a target now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing is left to confirm.
    Verified,
    /// It is kept whole, for this reason.
    Whole(String),
    /// From this run on it follows the mirror again.
    Leaving(Leaving),
}

/// Why a target follows the mirror again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// A person said so.
    Approved,
    /// Every directory was re-baselined.
    Rebaselined,
}

/// What lies at the target when it is left to the mirror again.
#[derive(Debug)]
pub(crate) enum Shown {
    /// What the mirror remembers to have written: its holdings are the truth.
    Remembered,
    /// Something else, in these bytes.
    Bytes(Vec<u8>),
    /// It cannot be looked at: a webhook's receiver, which is told everything anew.
    Unseen,
}

/// With what the waiting after a restore ends.
#[derive(Debug)]
pub(crate) struct Ended<'a> {
    /// Why it ends.
    pub(crate) leaving: Leaving,
    /// What lies at the target.
    pub(crate) shown: &'a Shown,
    /// The digest of it, where it is one file.
    pub(crate) written: Option<String>,
    /// What access has.
    pub(crate) base: &'a Wanted,
    /// What it would have besides if whom the re-baseline did not name counted all the same.
    pub(crate) unnamed: &'a Wanted,
}

/// What holds for the target with this state. Blocking.
pub(crate) fn standing(mirror: &Mirror, name: &TargetName, saved: &Saved) -> Result<Standing, StoreError> {
    let Some(flag) = restored::flag(saved) else { return Ok(Standing::Verified) };
    if flag == Flag::Approved {
        return Ok(Standing::Leaving(Leaving::Approved));
    }
    let waiting = mirror.read(|tx: &mut ReadTx<'_>| restored::waiting(tx))?;
    if waiting.is_empty() {
        return Ok(Standing::Leaving(Leaving::Rebaselined));
    }
    let list: Vec<String> = waiting.iter().map(ToString::to_string).collect();
    Ok(Standing::Whole(format!(
        "the mirror was restored from a backup, so nothing is added or taken away: `rosterd directory rebaseline ID \
         --within 24h` for {}, or look at `rosterd plan {name}` and `rosterd approve {name} --restored`",
        list.join(", ")
    )))
}

/// Whether the target waits for a word after a restore.
pub(crate) fn is_unverified(saved: &Saved) -> bool {
    restored::flag(saved).is_some()
}

/// Ends the waiting: makes the mirror's memory of the target what can be believed of it. `None` if that cannot be told
/// from what lies there; the target then stays as it is.
pub(crate) fn settle(
    mirror: &Mirror,
    name: &TargetName,
    stored: &Stored,
    ended: &Ended<'_>,
    now: Timestamp,
) -> Result<Option<()>, StoreError> {
    let before = stored.book.clone();
    let mut after = before.clone();
    let (mut gone, mut put) = (Vec::new(), Vec::new());
    if ended.leaving == Leaving::Rebaselined
        && let Shown::Bytes(bytes) = ended.shown
    {
        let is_there = |name: &str| occurs(bytes, name);
        if !stored.holdings.is_empty() && !stored.holdings.iter().any(|one| is_there(&one.name)) {
            return Ok(None);
        }
        let lost = |one: &&Holding| !ended.base.contains_key(&plan::key_of(one)) && !is_there(&one.name);
        gone.extend(stored.holdings.iter().filter(lost).map(plan::key_of));
        after.exceptions.retain(|_, one| is_there(&one.name));
        // A backup may be of the moment between the file and its record, or older than what was written last: whom
        // the file shows does not go without the guard for that.
        let known: BTreeSet<_> = stored.holdings.iter().map(plan::key_of).collect();
        let is_new = |key: &plan::Key| !ended.base.contains_key(key) && !known.contains(key);
        let found = ended.unnamed.iter().filter(|(key, one)| is_new(key) && is_there(&one.name));
        put.extend(found.map(|(_, one)| one.clone()));
    }
    if let Shown::Unseen = ended.shown {
        gone.extend(stored.holdings.iter().map(plan::key_of).filter(|key| ended.base.contains_key(key)));
    }
    if ended.leaving == Leaving::Approved {
        approve(&mut after, &stored.holdings, ended.base, now);
    }
    let (target, written) = (name.clone(), ended.written.clone());
    record::update(mirror, name, move |tx, saved| {
        target::update_holdings(tx, &target, &gone, &put)?;
        record::save_book(tx, &target, saved, &before, &after)?;
        if written.is_some() {
            saved.record.written = written;
        }
        restored::set(saved, None);
        Ok(())
    })?;
    Ok(Some(()))
}

/// Lets everything go that access does not have, as a person approved.
fn approve(book: &mut Book, holdings: &[Holding], base: &Wanted, now: Timestamp) {
    book.exceptions.retain(|_, one| one.verdict != Verdict::Held);
    book.hold = None;
    for holding in holdings {
        let key = plan::key_of(holding);
        if !base.contains_key(&key) && !book.has(&key) {
            book.passed.insert(key, Passed { holding: holding.clone(), at: now, how: How::Approved });
        }
    }
}

/// Whether `name` stands in `bytes` by itself, as it is or as JSON writes it.
fn occurs(bytes: &[u8], name: &str) -> bool {
    let json = serde_json::Value::from(name).to_string();
    let inner = json.trim_matches('"').as_bytes();
    has_word(bytes, name.as_bytes()) || has_word(bytes, inner)
}

fn has_word(bytes: &[u8], word: &[u8]) -> bool {
    let is_part = |byte: Option<&u8>| {
        byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"@.-_+".contains(byte) || *byte >= 0x80)
    };
    !word.is_empty()
        && bytes.windows(word.len()).enumerate().any(|(at, found)| {
            found == word
                && !is_part(at.checked_sub(1).and_then(|before| bytes.get(before)))
                && !is_part(bytes.get(at.saturating_add(word.len())))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_by_itself_only() {
        let text = br#"{"members":["alice@example.com","bob"]} carol,x"#;
        assert!(occurs(text, "alice@example.com"));
        assert!(occurs(text, "bob"));
        assert!(occurs(text, "carol"));
        assert!(!occurs(text, "alice"));
        assert!(!occurs(text, "ice@example.com"));
        assert!(!occurs(text, "dave"));
        assert!(occurs(br#"["a\"b"]"#, "a\"b"));
        assert!(!occurs(text, ""));
    }
}
