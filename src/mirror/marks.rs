//! Marks: uses of tokens, pushes and users named since the last flush. Kept in memory and written once a minute, since
//! none is worth a sync of its own; what was seen since the start is answered from memory, to the second.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::{Timestamp, TokenId};

use super::decision::rebaseline;
use super::directory::DirectoryRef;
use super::engine::{Param, StoreError};
use super::token::Principal;
use super::tx::WriteTx;

/// Longest program name kept.
const AGENT_MAX: usize = 200;

/// Who sent a request, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    address: Option<Arc<str>>,
    agent: Option<Arc<str>>,
}

impl Client {
    /// From an address and a `User-Agent`, of which at most 200 printable characters are kept.
    pub fn new(address: Option<IpAddr>, agent: Option<&str>) -> Self {
        let agent: String =
            agent.unwrap_or_default().chars().filter(|c| !c.is_control()).take(AGENT_MAX).collect();
        Self {
            address: address.map(|ip| ip.to_canonical().to_string().into()),
            agent: (!agent.trim().is_empty()).then(|| agent.trim().into()),
        }
    }

    pub(super) fn stored(address: Option<&str>, agent: Option<&str>) -> Self {
        Self { address: address.map(Into::into), agent: agent.map(Into::into) }
    }

    /// Where it came from.
    pub fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    /// What it calls itself.
    pub fn agent(&self) -> Option<&str> {
        self.agent.as_deref()
    }
}

/// What an identity provider was heard to do with a directory's tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// First request that came with a valid token.
    pub first_at: Timestamp,
    /// First of them that asked and changed nothing: a connection test, as a rule.
    pub tested_at: Option<Timestamp>,
    /// Last request.
    pub last_at: Timestamp,
    /// Who sent the last one.
    pub client: Client,
}

impl Contact {
    /// This, and then `later`.
    #[must_use]
    pub(super) fn then(self, later: Self) -> Self {
        Self {
            first_at: self.first_at.min(later.first_at),
            tested_at: self.tested_at.or(later.tested_at),
            last_at: self.last_at.max(later.last_at),
            client: later.client,
        }
    }
}

/// Notes since the start, and among them those that no flush has written yet.
#[derive(Debug, Default)]
pub(super) struct Marks {
    waiting: Mutex<Batch>,
    pushes: Mutex<HashMap<i64, Timestamp>>,
    contacts: Mutex<HashMap<i64, Contact>>,
    uses: Mutex<HashMap<TokenId, (Timestamp, Client)>>,
}

/// What a flush writes.
#[derive(Debug, Clone, Default)]
pub(super) struct Batch {
    used: HashMap<TokenId, (Timestamp, Client)>,
    pushed: HashMap<i64, Timestamp>,
    heard: HashMap<i64, Contact>,
    /// Users named, by directory.
    seen: HashMap<i64, HashSet<i64>>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.used.is_empty() && self.pushed.is_empty() && self.seen.is_empty() && self.heard.is_empty()
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn join(into: &mut HashMap<i64, Contact>, key: i64, later: Contact) {
    let joined = match into.remove(&key) {
        Some(earlier) => earlier.then(later),
        None => later,
    };
    into.insert(key, joined);
}

impl Marks {
    pub(super) fn note(&self, principal: &Principal, pushed: bool, client: Client, now: Timestamp) {
        let key = principal.directory.key;
        let contact = Contact {
            first_at: now,
            tested_at: (!pushed).then_some(now),
            last_at: now,
            client: client.clone(),
        };
        held(&self.uses).insert(principal.token.clone(), (now, client.clone()));
        join(&mut held(&self.contacts), key, contact.clone());
        let mut waiting = held(&self.waiting);
        waiting.used.insert(principal.token.clone(), (now, client));
        join(&mut waiting.heard, key, contact);
        if pushed {
            waiting.pushed.insert(key, now);
            held(&self.pushes).insert(key, now);
        }
    }

    /// Notes users that the identity provider of `directory` named.
    pub(super) fn see(&self, directory: &DirectoryRef, rids: impl Iterator<Item = i64>) {
        held(&self.waiting).seen.entry(directory.key).or_default().extend(rids);
    }

    /// Forgets who was named in a directory so far.
    pub(super) fn unsee(&self, directory: &DirectoryRef) {
        held(&self.waiting).seen.remove(&directory.key);
    }

    /// What was heard of a directory's identity provider since the start.
    pub(super) fn contact(&self, directory: &DirectoryRef) -> Option<Contact> {
        held(&self.contacts).get(&directory.key).cloned()
    }

    pub(super) fn last_use(&self, token: &TokenId) -> Option<(Timestamp, Client)> {
        held(&self.uses).get(token).cloned()
    }

    pub(super) fn note_token(&self, token: &TokenId, now: Timestamp) {
        held(&self.uses).insert(token.clone(), (now, Client::default()));
        held(&self.waiting).used.insert(token.clone(), (now, Client::default()));
    }

    pub(super) fn last_push(&self, directory: &DirectoryRef) -> Option<Timestamp> {
        held(&self.pushes).get(&directory.key).copied()
    }

    pub(super) fn take(&self) -> Batch {
        std::mem::take(&mut *held(&self.waiting))
    }

    /// Keeps what could not be written, unless something newer came meanwhile.
    pub(super) fn put_back(&self, batch: Batch) {
        let mut waiting = held(&self.waiting);
        for (token, used) in batch.used {
            waiting.used.entry(token).or_insert(used);
        }
        for (key, at) in batch.pushed {
            waiting.pushed.entry(key).or_insert(at);
        }
        for (key, earlier) in batch.heard {
            let joined = match waiting.heard.remove(&key) {
                Some(later) => earlier.then(later),
                None => earlier,
            };
            waiting.heard.insert(key, joined);
        }
        for (key, rids) in batch.seen {
            waiting.seen.entry(key).or_default().extend(rids);
        }
    }
}

/// Writes a batch.
pub(super) fn save(tx: &mut WriteTx<'_>, batch: &Batch) -> Result<(), StoreError> {
    for (token, (at, client)) in &batch.used {
        let params = [
            Param::Text(token.as_str()),
            Param::Int(at.0),
            Param::opt_text(client.address()),
            Param::opt_text(client.agent()),
        ];
        let sql = "UPDATE token SET last_used_at = ?2, last_address = ?3, last_agent = ?4 WHERE id = ?1";
        tx.execute(sql, &params)?;
    }
    for (key, contact) in &batch.heard {
        let params = [
            Param::Int(*key),
            Param::Int(contact.first_at.0),
            Param::opt_int(contact.tested_at.map(|at| at.0)),
            Param::opt_text(contact.client.address()),
            Param::opt_text(contact.client.agent()),
        ];
        let sql = "UPDATE directory SET first_used_at = COALESCE(first_used_at, ?2), \
                   tested_at = COALESCE(tested_at, ?3), last_address = ?4, last_agent = ?5 WHERE key = ?1";
        tx.execute(sql, &params)?;
    }
    for (key, at) in &batch.pushed {
        let params = [Param::Int(*key), Param::Int(at.0)];
        tx.execute("UPDATE directory SET last_push_at = ?2 WHERE key = ?1", &params)?;
    }
    if batch.seen.is_empty() {
        return Ok(());
    }
    for key in rebaseline::watched(tx)? {
        if let Some(rids) = batch.seen.get(&key) {
            let mut rids: Vec<i64> = rids.iter().copied().collect();
            rids.sort_unstable();
            rebaseline::see(tx, key, &rids)?;
        }
    }
    Ok(())
}
