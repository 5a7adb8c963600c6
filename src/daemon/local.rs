//! Stub.
use bytes::Bytes;
use std::path::Path;

use super::client::Answer;

/// Local.
#[derive(Debug)]
pub struct Local {}

impl Local {
    /// Opens.
    pub fn open(_config: &Path) -> Result<Self, super::Error> {
        Ok(Self {})
    }
    /// Handles.
    pub async fn handle(&self, _method: &str, _path: &str, _body: Option<Bytes>) -> Answer {
        Answer { status: 500, body: Bytes::new() }
    }
}
