//! Bulk (RFC 7644 §3.7).

use super::pipeline::Call;
use super::{ScimApi, error};
use crate::http::answer::Answer;
use crate::mirror;
use crate::scim::dialect::Used;

impl ScimApi {
    pub(super) async fn bulk(&self, call: &Call, used: &mut Used) -> Result<Answer, mirror::Error> {
        let _ = (call, used);
        Ok(error::plain(501, "bulk is not served"))
    }
}
