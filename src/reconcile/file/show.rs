//! What readers of a published target are shown: the bytes as last applied and recorded, never newer ones.

use bytes::Bytes;

use crate::downstream::file::{self, Digest};
use crate::mirror::StoreError;
use crate::mirror::target::{self, State as Saved};
use crate::model::Timestamp;
use crate::reconcile::record;
use crate::reconcile::settings::Publish;
use crate::reconcile::shelf::{self, Edition};

use super::outcome::Failed;
use super::run::FileRun;

impl FileRun<'_> {
    /// The bytes to show once they are recorded; `None` where nobody may read them.
    pub(super) fn published(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        (self.file.publish != Publish::Off).then(|| bytes.to_vec())
    }

    /// Since when readers are shown bytes of `digest`: as before, where they are the ones written last.
    pub(super) fn since(&self, saved: &Saved, digest: Digest) -> Timestamp {
        let is_same = saved.record.written.as_deref() == Some(digest.to_string().as_str());
        let before = record::shown_since(saved);
        before.filter(|_| is_same).unwrap_or_else(|| shelf::next_since(self.clock.now(), before))
    }

    /// Shows readers what has been applied and recorded.
    pub(super) fn show(&self, bytes: Vec<u8>, digest: Digest, since: Timestamp) {
        if self.file.publish != Publish::Off {
            let media_type = self.file.format.content_type;
            self.shelf.put(self.name(), Edition { bytes: Bytes::from(bytes), digest, media_type, since });
        }
    }

    /// Shows readers again what was applied last, before the first run of this life: it may take long, or decide that
    /// nothing is to be applied.
    pub(crate) fn show_again(&self) {
        if !self.shelf.is_empty(self.name()) {
            return;
        }
        let read = self.mirror.read::<_, StoreError>(|tx| target::state(tx, self.name()));
        let Some(saved) = read.ok().flatten() else { return };
        let Some(digest) = saved.record.written.as_deref().and_then(Digest::from_hex) else { return };
        // What cannot be read back is rendered by the run that follows.
        if let Ok(Some(bytes)) = file::content(&self.file.spec, digest) {
            self.show(bytes, digest, self.since(&saved, digest));
        }
    }

    pub(super) fn make_own_folder(&self) -> Result<(), Failed> {
        file::make_private_folder(&self.file.spec).map_err(|error| {
            let path = self.file.spec.path.display();
            let error = format!(
                "cannot make the folder of `{path}`: {error}; it is rosterd's own, below the state directory"
            );
            Failed::told(error, Vec::new())
        })
    }
}
