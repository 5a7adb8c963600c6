//! Who a request speaks for. One indexed look-up, and none at all while nothing has changed since the last one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::mirror::token::{self, Presented, Principal};
use crate::mirror::{Mirror, StoreError};
use crate::model::{DirectoryId, Seq, Timestamp, TokenId};

/// Longest a look-up is trusted: a token that expires is refused this much later at most. Revocation and
/// disabling are changes with a `seq` and act at once.
const AGE_MAX: Duration = Duration::from_secs(1);
/// Most tokens remembered; there are as many as live directories have.
const ENTRIES_MAX: usize = 4_096;

/// A token that is refused. The client hears the same of both.
#[derive(Debug)]
pub(super) enum NotValid {
    Unknown,
    Ended(Box<Ended>),
}

/// A token that was a directory's.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) token: TokenId,
    pub(super) directory: DirectoryId,
    pub(super) at: Timestamp,
    pub(super) revoked: bool,
}

/// Look-ups that still hold.
///
/// INVARIANT: an entry is used only while the mirror's newest change is the one it was made at. Every creation,
/// revocation, enabling and disabling is a change, so none of them can be missed.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: Mutex<HashMap<[u8; 32], Entry>>,
}

#[derive(Debug)]
struct Entry {
    principal: Arc<Principal>,
    seq: Seq,
    at: Instant,
}

impl Cache {
    /// The principal of `presented`, or what it is instead of a valid token.
    pub(super) fn principal(
        &self,
        mirror: &Mirror,
        newest: Seq,
        presented: &str,
    ) -> Result<Result<Arc<Principal>, NotValid>, StoreError> {
        // Most typos end here, without touching the store.
        if presented.starts_with(token::PREFIX) && !token::is_well_formed(presented) {
            return Ok(Err(NotValid::Unknown));
        }
        let digest: [u8; 32] = Sha256::digest(presented.as_bytes()).into();
        let now = Instant::now();
        {
            let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(entry) = entries.get(&digest)
                && entry.seq == newest
                && now.duration_since(entry.at) < AGE_MAX
            {
                return Ok(Ok(Arc::clone(&entry.principal)));
            }
        }
        let found = mirror.read_one::<_, StoreError>(|tx| token::authenticate(tx, presented))?;
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match found {
            Presented::Live(principal) => {
                let principal = Arc::new(principal);
                if entries.len() >= ENTRIES_MAX {
                    entries.clear();
                }
                entries.insert(digest, Entry { principal: Arc::clone(&principal), seq: newest, at: now });
                Ok(principal)
            }
            Presented::Ended { token, directory, at, revoked } => {
                entries.remove(&digest);
                Err(NotValid::Ended(Box::new(Ended { token, directory, at, revoked })))
            }
            Presented::Unknown => {
                entries.remove(&digest);
                Err(NotValid::Unknown)
            }
        })
    }
}
