//! Style sheet, script and icon: part of the binary, named with a hash of their bytes so that browsers keep them.

use std::sync::LazyLock;

use hyper::HeaderMap;
use hyper::header::{CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH};
use sha2::{Digest as _, Sha256};

use crate::http::answer::Answer;

/// One file.
struct Asset {
    name: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
}

const ASSETS: [Asset; 3] = [
    Asset {
        name: "console.css",
        media_type: "text/css; charset=utf-8",
        bytes: include_bytes!("assets/console.css"),
    },
    Asset {
        name: "console.js",
        media_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("assets/console.js"),
    },
    Asset { name: "icon.svg", media_type: "image/svg+xml", bytes: include_bytes!("assets/icon.svg") },
];

static HASHES: LazyLock<Vec<String>> = LazyLock::new(|| ASSETS.iter().map(|one| hash(one.bytes)).collect());

/// The first 16 hex digits of the SHA-256.
pub(super) fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn find(name: &str) -> Option<(&'static Asset, &'static str)> {
    ASSETS
        .iter()
        .zip(HASHES.iter())
        .find(|(asset, _)| asset.name == name)
        .map(|(asset, hash)| (asset, hash.as_str()))
}

/// The address of a file; of one that is not there, the address where it would be.
pub(super) fn url(name: &str) -> String {
    format!("/assets/{name}?v={}", find(name).map_or("", |(_, hash)| hash))
}

/// The answer for `/assets/NAME`, if there is one.
pub(super) fn answer(path: &str, query: Option<&str>, request: &HeaderMap) -> Option<Answer> {
    let name = if path == "/favicon.ico" { "icon.svg" } else { path.strip_prefix("/assets/")? };
    let (asset, hash) = find(name)?;
    let tag = format!("\"{hash}\"");
    let is_named = query == Some(&format!("v={hash}"));
    let caching = if is_named { "public, max-age=31536000, immutable" } else { "no-cache" };
    let is_known = request.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let media_type = HeaderValue::from_static(asset.media_type);
    let (status, bytes): (u16, &'static [u8]) = if is_known { (304, &[]) } else { (200, asset.bytes) };
    Some(Answer::new(status, media_type, bytes).with(CACHE_CONTROL, caching).with(ETAG, &tag))
}
