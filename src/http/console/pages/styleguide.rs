//! Every piece that pages are made of, on one page: to look at, and for tests of the look.

use serde_json::json;

use crate::http::console::call::{Call, Fault, Shown};

/// `GET /styleguide`; no entry of the navigation leads there.
#[expect(clippy::unused_async, reason = "pages are async")]
pub(in crate::http::console) async fn show(call: &Call<'_>) -> Result<Shown, Fault> {
    let rows = json!([
        { "name": "Acme Okta", "kind": "okta", "state": "healthy", "users": 12_410, "at": call.now().to_string() },
        { "name": "Lab", "kind": "keycloak", "state": "waiting", "users": 0, "at": null },
    ]);
    Ok(Shown::page("Pieces of pages", "styleguide.html", json!({ "rows": rows })))
}
