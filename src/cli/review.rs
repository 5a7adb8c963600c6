//! An access review as CSV and as one page of HTML. Pure.

use std::fmt::Write as _;

use serde_json::Value;

use super::access::{by, since, why};
use super::output;

/// One line for each holder of each role, RFC 4180. A cell that a spreadsheet would take for a formula gets a `'`.
pub(super) fn csv(answer: &Value) -> String {
    let mut out = String::from(
        "role,user_name,display_name,directory,id,since,seq,change,actor,request,why,as_of_seq,as_of\r\n",
    );
    let (as_of_seq, as_of) = (output::number(answer, "seq").to_string(), output::text(answer, "at"));
    for role in output::list(answer, "roles") {
        for holder in output::list(role, "holders") {
            let cause = holder.get("since").unwrap_or(&Value::Null);
            let seq =
                if cause.is_object() { output::number(cause, "seq").to_string() } else { String::new() };
            let cells = [
                output::text(role, "role"),
                output::text(holder, "user_name"),
                output::text(holder, "display_name"),
                output::text(holder, "directory"),
                output::text(holder, "id"),
                &since(holder),
                &seq,
                output::text(cause, "kind"),
                output::text(cause, "actor"),
                output::text(cause, "request"),
                &why(holder),
                &as_of_seq,
                as_of,
            ];
            let cells: Vec<String> = cells.iter().map(|cell| csv_cell(cell)).collect();
            out.push_str(&cells.join(","));
            out.push_str("\r\n");
        }
    }
    out
}

fn csv_cell(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    let text = format!("{guard}{text}");
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

const STYLE: &str = "body{font:14px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1a1a1a}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;padding:.35rem .6rem;border-bottom:1px solid #ccc;overflow-wrap:anywhere}\
th{border-bottom:2px solid #555}.dim{color:#666}.decide{white-space:nowrap}\
@media print{body{margin:0;max-width:none;font-size:11px}h2{break-after:avoid}tr{break-inside:avoid}thead{display:table-header-group}}";

/// One page: nothing is loaded from elsewhere, everything that came from outside is escaped.
pub(super) fn html(answer: &Value) -> String {
    let mut out = String::new();
    // Writing to a `String` cannot fail.
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>Access review</title><style>{STYLE}</style></head><body>\n<h1>Access review</h1>\n\
         <p>Who held which role at <strong>{}</strong> (change {}).</p>\n",
        escape(output::text(answer, "at")),
        output::number(answer, "seq")
    );
    for problem in output::list(answer, "problems").iter().filter_map(Value::as_str) {
        let _ = writeln!(out, "<p class=\"dim\">Note: {}</p>", escape(problem));
    }
    for role in output::list(answer, "roles") {
        let holders = output::list(role, "holders");
        let _ = write!(
            out,
            "<h2>{} <span class=\"dim\">({})</span></h2>\n<table><thead><tr><th>User</th><th>Directory</th><th>Since</th>\
             <th>By</th><th>Why</th><th>Keep / remove</th></tr></thead><tbody>\n",
            escape(output::text(role, "role")),
            holders.len()
        );
        for holder in holders {
            let _ = writeln!(
                out,
                "<tr><td>{}<br><span class=\"dim\">{}</span></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
                 <td class=\"decide\">\u{2610} keep \u{2610} remove</td></tr>",
                escape(output::text(holder, "user_name")),
                escape(output::text(holder, "display_name")),
                escape(output::text(holder, "directory")),
                escape(&since(holder)),
                escape(&by(holder)),
                escape(&why(holder))
            );
        }
        out.push_str("</tbody></table>\n");
    }
    out.push_str("<p>Reviewed by: ____________________ Date: ____________</p>\n</body></html>\n");
    out
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(name: &str) -> Value {
        json!({"seq": 9, "at": "2026-11-20T00:00:00.000Z", "problems": [], "roles": [
            {"role": "ops", "holders": [
                {"subject": "acme/1", "directory": "acme", "id": "1", "user_name": name, "display_name": "D, \"q\"",
                 "why": ["member of \"Ops\""],
                 "since": {"seq": 4, "at": "2026-11-19T00:00:00.000Z", "kind": "group.updated",
                           "actor": "token:tok_x", "request": null}},
                {"subject": "acme/2", "directory": "acme", "id": "2", "user_name": "old", "display_name": null,
                 "why": [], "since": null}]}]})
    }

    #[test]
    fn a_spreadsheet_gets_cells_and_never_formulas() {
        let text = csv(&answer("=cmd()"));
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(
            lines[1],
            "ops,'=cmd(),\"D, \"\"q\"\"\",acme,1,2026-11-19T00:00:00.000Z,4,group.updated,token:tok_x,,\
             \"member of \"\"Ops\"\"\",9,2026-11-20T00:00:00.000Z"
        );
        assert_eq!(lines[2], "ops,old,,acme,2,before the log,,,,,,9,2026-11-20T00:00:00.000Z");
    }

    #[test]
    fn a_page_loads_nothing_and_runs_nothing() {
        let text = html(&answer("<script>alert('x')</script>"));
        assert!(text.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"), "{text}");
        for bad in ["<script", "src=", "href=", "http://", "https://", "@import", "url("] {
            assert!(!text.contains(bad), "{bad} in {text}");
        }
        assert!(text.contains("#4 group.updated, token:tok_x") && text.contains("before the log"), "{text}");
    }
}
