//! Who a request speaks for. One indexed look-up, and none at all while nothing has changed since the last one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::mirror::token::{self, Principal};
use crate::mirror::{Mirror, StoreError};
use crate::model::Seq;

/// Longest a look-up is trusted: a token that expires is refused this much later at most. Revocation and
/// disabling are changes with a `seq` and act at once.
const AGE_MAX: Duration = Duration::from_secs(1);
/// Most tokens remembered; there are as many as live directories have.
const ENTRIES_MAX: usize = 4_096;

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
    /// The principal of `presented`, or `None` if the token is not valid.
    pub(super) fn principal(
        &self,
        mirror: &Mirror,
        newest: Seq,
        presented: &str,
    ) -> Result<Option<Arc<Principal>>, StoreError> {
        // Most typos end here, without touching the store.
        if presented.starts_with(token::PREFIX) && !token::is_well_formed(presented) {
            return Ok(None);
        }
        let digest: [u8; 32] = Sha256::digest(presented.as_bytes()).into();
        let now = Instant::now();
        {
            let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(entry) = entries.get(&digest)
                && entry.seq == newest
                && now.duration_since(entry.at) < AGE_MAX
            {
                return Ok(Some(Arc::clone(&entry.principal)));
            }
        }
        let found = mirror.read_one::<_, StoreError>(|tx| token::authenticate(tx, presented))?.map(Arc::new);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        match &found {
            Some(principal) => {
                if entries.len() >= ENTRIES_MAX {
                    entries.clear();
                }
                entries.insert(digest, Entry { principal: Arc::clone(principal), seq: newest, at: now });
            }
            None => {
                entries.remove(&digest);
            }
        }
        Ok(found)
    }
}
