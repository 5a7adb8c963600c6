//! `csv`: RFC 4180 rows under a header, columns fixed.

use crate::access::{View, ViewUser};

use super::fit::{self, Rules, unfit_char};
use super::{Format, OptionDoc, OptionKind, Options, RenderError, Rendered, csv_check, escape, json, lines};

pub(super) const FORMAT: Format = Format {
    name: "csv",
    summary: "rows of who is in which group and role, or of users, for spreadsheets and scripts",
    content_type: "text/csv; charset=utf-8",
    options: &[
        OptionDoc {
            name: "guard",
            kind: OptionKind::Flag,
            default: "false",
            description: "Leaves out who would be a cell that a spreadsheet runs as a formula (starts with = + - @).",
        },
        OptionDoc {
            name: "rows",
            kind: OptionKind::Choice(&["access", "users"]),
            default: "\"access\"",
            description: "One row for each user and group or role, or one for each user.",
        },
    ],
    render: super::Render::One(render),
    check,
    example: json::placeholder_options,
    ..super::PLAIN
};

const ACCESS_COLUMNS: &str = "user,kind,name,user_id,directory";
const USERS_COLUMNS: &str = "user,user_id,directory,user_name,display_name,email,external_id";

#[expect(clippy::unnecessary_wraps, reason = "the signature of every renderer")]
fn render(view: &View, options: &Options) -> Result<Rendered, RenderError> {
    let cell = if options.flag("guard") { escape::csv_guarded } else { escape::csv };
    let refuse = |text: &str| cell(text).err().map(str::to_owned);
    let label = |text: &str| cell(&shown(text)).err().map(str::to_owned);
    let is_users = options.text("rows", "access") == "users";
    let none: &dyn Fn(&str) -> Option<String> = &|_| None;
    let rules = Rules {
        name: &refuse,
        key: if is_users { &refuse } else { none },
        label: if is_users { &label } else { none },
    };
    let (view, left_out) = fit::without(view, &rules);
    // What the rules let pass has a cell.
    let row = |cells: &[&str]| {
        let cells: Vec<String> = cells.iter().map(|text| cell(text).unwrap_or_default()).collect();
        cells.join(",") + "\n"
    };
    let mut text = String::from(if is_users { USERS_COLUMNS } else { ACCESS_COLUMNS }) + "\n";
    for user in &view.users {
        if is_users {
            text.push_str(&row(&user_cells(user).each_ref().map(String::as_str)));
            continue;
        }
        let held = user.groups.iter().map(|name| ("group", name));
        for (kind, name) in held.chain(user.roles.iter().map(|name| ("role", name))) {
            text.push_str(&row(&[&user.name, kind, name, &user.id.to_string(), user.directory.as_str()]));
        }
    }
    Ok(Rendered { bytes: text.into_bytes(), left_out })
}

fn user_cells(user: &ViewUser) -> [String; 7] {
    let optional = |text: &Option<String>| text.clone().unwrap_or_default();
    [
        user.name.clone(),
        user.id.to_string(),
        user.directory.to_string(),
        user.user_name.clone(),
        user.display_name.as_deref().map(shown).unwrap_or_default(),
        optional(&user.email),
        optional(&user.external_id),
    ]
}

/// A display name is for people's eyes and names nobody, so what is unfit in it is replaced instead of refused.
fn shown(text: &str) -> String {
    text.chars().map(|c| if unfit_char(c).is_some() { '\u{fffd}' } else { c }).collect()
}

fn check(bytes: &[u8], options: &Options) -> Result<(), String> {
    let text = lines::text(bytes)?;
    let header = if options.text("rows", "access") == "users" { USERS_COLUMNS } else { ACCESS_COLUMNS };
    if text.lines().next() != Some(header) {
        return Err(format!("the first line is not `{header}`"));
    }
    csv_check::check(text)
}
