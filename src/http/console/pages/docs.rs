//! The manual, as far as it is part of the binary.

use serde_json::{Value, json};

use crate::http::console::call::{Call, Fault, Shown};
use crate::http::console::guide;

/// `GET /docs`.
pub(in crate::http::console) async fn list(_: &Call<'_>) -> Result<Shown, Fault> {
    let pages: Vec<Value> =
        guide::pages().into_iter().map(|(name, title)| json!({ "name": name, "title": title })).collect();
    Ok(Shown::page("Manual", "docs.html", json!({ "pages": pages })))
}

/// `GET /docs/{name}`; links in the pages end in `.md` where they are read as files.
pub(in crate::http::console) async fn show(call: &Call<'_>) -> Result<Shown, Fault> {
    let name = call.part("name");
    let page = guide::page(name.strip_suffix(".md").unwrap_or(name)).ok_or_else(|| {
        Fault::new(404, "There is no such page in the manual", "The list of pages is at /docs")
    })?;
    let title = page.title.clone();
    Ok(Shown::page(title, "doc.html", json!({ "page": page })))
}
