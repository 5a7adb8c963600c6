//! Groups: the search, and a group's page.

use serde_json::{Value, json};

use super::resource::{self, Kind};
use crate::http::console::call::{Call, Fault, Shown};
use crate::http::console::template::encoded;

/// Members of one page.
const MEMBERS: &str = "50";

/// `GET /groups`.
pub(in crate::http::console) async fn list(call: &Call<'_>) -> Result<Shown, Fault> {
    Ok(Shown::page("Groups", "groups.html", resource::search(call, Kind::Groups).await?))
}

async fn read(call: &Call<'_>) -> Result<Value, Fault> {
    let behind = call.param("members").unwrap_or_default();
    let path = format!("groups/{}", encoded(call.part("id")));
    call.get(&path, &[("members", MEMBERS), ("members_cursor", behind)]).await
}

fn text<'a>(group: &'a Value, key: &str) -> &'a str {
    group.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn whole_name(group: &Value) -> String {
    format!("{}/{}", text(group, "directory"), text(group, "id"))
}

/// `GET /groups/{id}`; `?members=` is where the page of members begins.
pub(in crate::http::console) async fn show(call: &Call<'_>) -> Result<Shown, Fault> {
    let group = read(call).await?;
    let history = resource::history(call, "group", &whole_name(&group), "10").await?;
    let document = group.get("resource").cloned().unwrap_or_default();
    let next = group.get("members_next").and_then(Value::as_i64);
    let home = format!("/groups/{}", encoded(text(&group, "id")));
    let context = json!({
        "attributes": resource::attributes(&document),
        "raw": serde_json::to_string_pretty(&document).unwrap_or_default(),
        "history": history,
        "next": next.map(|next| format!("{home}?members={next}#members")),
        "first": call.param("members").map(|_| format!("{home}#members")),
        "group": group,
    });
    Ok(Shown::page(text(&group, "display_name"), "group.html", context))
}

/// `GET /groups/{id}/history`.
pub(in crate::http::console) async fn history(call: &Call<'_>) -> Result<Shown, Fault> {
    let group = read(call).await?;
    let history = resource::history(call, "group", &whole_name(&group), "50").await?;
    let name = text(&group, "display_name");
    let context = json!({
        "history": history, "home": format!("/groups/{}", encoded(text(&group, "id"))), "back": name,
        "is_first": call.param("after").is_none(),
    });
    Ok(Shown::page(format!("History of {name}"), "resource_history.html", context))
}
