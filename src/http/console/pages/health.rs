//! What the daemon finds when it looks its own installation over.

use serde_json::{Value, json};

use crate::http::admin_api::AdminRole;
use crate::http::console::call::{Call, Fault, Shown};
use crate::http::console::words::{list, text};

/// `GET /health`: everything that connects nowhere; with `?online=true` webhooks and the public address too.
pub(in crate::http::console) async fn show(call: &Call<'_>) -> Result<Shown, Fault> {
    let is_online = call.param("online") == Some("true") && call.may(AdminRole::Operate);
    let found = call.get("doctor", &[("online", if is_online { "true" } else { "" })]).await?;
    let status = call.get("status", &[]).await?;
    let checks: Vec<&Value> = list(&found, "checks").iter().collect();
    let count = |level: &str| checks.iter().filter(|one| text(one, "level") == level).count();
    let of = |level: &str| -> Vec<Value> {
        checks.iter().filter(|one| text(one, "level") == level).map(|one| shown(one)).collect()
    };
    let (fail, warn, ok) = (count("fail"), count("warn"), count("ok"));
    Ok(Shown::page(
        "Health",
        "health.html",
        json!({
            "bad": of("fail").into_iter().chain(of("warn")).collect::<Vec<_>>(),
            "good": of("ok"),
            "fail": fail, "warn": warn, "ok": ok,
            "tone": if fail > 0 { "bad" } else if warn > 0 { "warn" } else { "good" },
            "online": is_online,
            "ready": status.get("ready"), "why": status.get("not_ready_because"),
            "version": status.get("version"), "epoch": status.get("epoch"), "seq": status.get("seq"),
        }),
    ))
}

fn shown(one: &Value) -> Value {
    json!({
        "code": one.get("code"), "level": one.get("level"), "what": one.get("what"), "hint": one.get("hint"),
        "about": about(text(one, "code")),
    })
}

/// What a code is about, in a word or two; docs/doctor.md has the whole sentence.
fn about(code: &str) -> &'static str {
    match code {
        "D001" | "D002" => "Configuration",
        "D003" => "Secret files",
        "D004" => "State directory",
        "D005" | "D006" => "Mirror",
        "D007" => "Disk",
        "D008" => "Write-ahead log",
        "D009" => "Clock",
        "D010" => "Certificates",
        "D011" => "Folders of targets",
        "D012" => "Daemon",
        "D013" => "Targets",
        "D014" => "Directories",
        "D015" => "Tokens",
        "D016" => "Webhooks",
        "D017" => "Public address",
        "D018" => "Unit file",
        _ => "Other",
    }
}
