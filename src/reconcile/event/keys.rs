//! The public halves of signing keys, for those who verify.

use serde_json::{Value, json};

use crate::downstream::webhook::{SigningSecret, TokenKey};
use crate::reconcile::settings::{Sending, TargetKind, TargetSettings};

use super::body::BodyFormat;

/// What receivers verify with: `{"targets":[{"name","whpk":[…],"jwks":{"keys":[…]}}]}`, for each target that signs with
/// a private key. A shared secret has no public half.
pub fn public_keys(targets: &[TargetSettings]) -> Value {
    let mut found = Vec::new();
    for target in targets {
        let TargetKind::Webhook(webhook) = &target.kind else { continue };
        let secrets = match &webhook.send {
            Sending::Http(http) => http.secrets.as_slice(),
            Sending::Exec(_) => &[],
        };
        let whpk: Vec<String> = secrets.iter().filter_map(SigningSecret::public).collect();
        let keys: Vec<Value> = match &webhook.body.format {
            BodyFormat::ScimEvents(tokens) => tokens.key.iter().map(TokenKey::public).collect(),
            _ => Vec::new(),
        };
        if !whpk.is_empty() || !keys.is_empty() {
            found.push(json!({"name": target.name, "whpk": whpk, "jwks": {"keys": keys}}));
        }
    }
    json!({ "targets": found })
}
