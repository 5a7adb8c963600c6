//! The public halves of signing keys, for those who verify.

use serde_json::{Value, json};

use crate::downstream::webhook::{SigningSecret, TokenKey};
use crate::reconcile::settings::{Sending, TargetKind, TargetSettings};

use super::body::{BodyFormat, BodySettings};

/// What receivers verify with: `{"targets":[{"name","whpk":[…],"jwks":{"keys":[…]}}],"readers":[…]}`, for each target that
/// signs with a private key and each reader that fetches signed events. A shared secret has no public half.
pub fn public_keys<'a>(
    targets: &[TargetSettings],
    readers: impl Iterator<Item = (&'a str, &'a BodySettings)>,
) -> Value {
    let mut found = Vec::new();
    for target in targets {
        let TargetKind::Webhook(webhook) = &target.kind else { continue };
        let secrets = match &webhook.send {
            Sending::Http(http) => http.secrets.as_slice(),
            Sending::Exec(_) => &[],
        };
        let whpk: Vec<String> = secrets.iter().filter_map(SigningSecret::public).collect();
        let keys = token_keys(&webhook.body);
        if !whpk.is_empty() || !keys.is_empty() {
            found.push(json!({"name": target.name, "whpk": whpk, "jwks": {"keys": keys}}));
        }
    }
    let readers: Vec<Value> = readers
        .map(|(name, body)| json!({"name": name, "whpk": [], "jwks": {"keys": token_keys(body)}}))
        .collect();
    json!({ "targets": found, "readers": readers })
}

fn token_keys(body: &BodySettings) -> Vec<Value> {
    match &body.format {
        BodyFormat::ScimEvents(tokens) => tokens.key.iter().map(TokenKey::public).collect(),
        _ => Vec::new(),
    }
}
