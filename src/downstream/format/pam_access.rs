//! `pam-access`: an `access.conf` for pam_access, `+:bob:ALL` for each holder and `-:ALL:ALL` at the end.
//!
//! The file fails open when it is empty, when no rule matches, when its last line has no newline and when a line is
//! too long; so it is always closed by the denial, and the built-in check refuses any other end. There is no escape:
//! blanks and commas part names, `x@y` means user x from host y, so only plain account names are written. Use it with
//! `nodefgroup`, without which a name that is no user may match a group.

use std::fmt::Write as _;

use crate::access::View;

use super::people::{self, Notation};
use super::{Format, OptionDoc, OptionKind, Options, RenderError, Rendered, account};

pub(super) const FORMAT: Format = Format {
    name: "pam-access",
    summary: "pam_access's access.conf: holders of roles may log in, everybody else may not",
    content_type: "text/plain; charset=utf-8",
    options: &[
        OptionDoc {
            name: "always",
            kind: OptionKind::Texts("the name of an account", account::is_plain),
            default: "[]",
            description: "Accounts of the machine itself that may always log in, such as `[\"root\"]`; they stand first.",
        },
        OptionDoc {
            name: "origins",
            kind: OptionKind::Shaped("origins as in access.conf, parted by blanks", are_origins),
            default: "\"ALL\"",
            description: "Where holders may come from: terminals, hosts or networks.",
        },
        people::ROLES_REQUIRED,
    ],
    render: super::Render::One(render),
    check,
    example: people::example_of_admins,
    has_local_power: true,
    ..super::PLAIN
};

/// The end of every file.
const CLOSE: &str = "-:ALL:ALL";

fn are_origins(text: &str) -> bool {
    let is_origin = |word: &str| {
        !word.is_empty()
            && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/'))
    };
    text.len() <= 1024 && text.split(' ').all(is_origin)
}

fn render(view: &View, options: &Options) -> Result<Rendered, RenderError> {
    if options.texts("roles").is_none() {
        return Err(people::missing(FORMAT.name, "roles"));
    }
    let origins = Some(options.text("origins", "ALL")).filter(|text| are_origins(text)).unwrap_or("ALL");
    let mut left_out = Vec::new();
    let listed = people::holders(&people::roles(view, options));
    let notation = Notation { write: &|name| account::account(name).map_err(str::to_owned) };
    let people = people::written(view, &|user| listed.contains(user.name.as_str()), &notation, &mut left_out);
    let always = options.texts("always").unwrap_or_default();
    let mut text = String::from("# Written by rosterd; changes here are undone.\n");
    for name in always.iter().filter(|name| account::is_plain(name)) {
        let _infallible = writeln!(text, "+:{name}:ALL");
    }
    for person in people.values().filter(|person| !always.contains(&person.written.as_str())) {
        let _infallible = writeln!(text, "+:{}:{origins}", person.written);
    }
    text.push_str(CLOSE);
    text.push('\n');
    Ok(Rendered { bytes: text.into_bytes(), left_out })
}

fn check(bytes: &[u8], _options: &Options) -> Result<(), String> {
    let mut last = "";
    for (n, line) in people::lines(bytes)? {
        if last == CLOSE {
            return Err(format!("line {n} stands behind the denial that closes the file"));
        }
        last = line;
        if line.starts_with('#') || line == CLOSE {
            continue;
        }
        let row = line.strip_prefix("+:").and_then(|row| row.split_once(':'));
        if !row.is_some_and(|(name, origins)| account::is_plain(name) && are_origins(origins)) {
            return Err(format!("line {n} is not `+:account:origins`"));
        }
    }
    if last == CLOSE {
        Ok(())
    } else {
        Err(format!("it does not end in `{CLOSE}`, so everybody would get in"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::downstream::format::find;
    use crate::downstream::format::testing::{named, options, outcome};
    use proptest::prelude::*;

    fn admins() -> Options {
        options(&serde_json::json!({"roles": ["admin"], "always": ["root"], "origins": "tty1 10.0.0.0/8"}))
    }

    #[test]
    fn it_is_always_closed_by_the_denial_and_anything_else_is_refused() {
        let format = find("pam-access").unwrap();
        let (text, _) = outcome("pam-access", &View::default(), &admins());
        assert!(text.ends_with("\n+:root:ALL\n-:ALL:ALL\n"), "{text}");
        for open in [
            "",
            "+:bob:ALL\n",
            "-:ALL:ALL",
            "-:ALL:ALL\n+:bob:ALL\n",
            "+:bob sue:ALL\n-:ALL:ALL\n",
            "x\n-:ALL:ALL\n",
        ] {
            assert!(format.check(open.as_bytes(), &admins()).is_err(), "{open:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_name_only_it_is_let_in(name in "\\PC{1,40}|[a-z@,:()+ #-]{1,12}|root|ALL") {
            let (text, left_out) = outcome("pam-access", &named(&name), &admins());
            // pam_access: three fields by `:`, names by blanks and commas, the first line that matches decides.
            let rows: Vec<Vec<&str>> =
                text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(':').collect()).collect();
            prop_assert_eq!(rows.last().unwrap(), &vec!["-", "ALL", "ALL"]);
            prop_assert_eq!(&rows[0], &vec!["+", "root", "ALL"]);
            for row in &rows[1..rows.len() - 1] {
                prop_assert_eq!(row, &vec!["+", name.as_str(), "tty1 10.0.0.0/8"]);
                prop_assert!(name != "root" && !name.contains([' ', ',', '@', '(', '+', '#']));
            }
            prop_assert_eq!(rows.len() + left_out.len(), 3);
        }
    }
}
