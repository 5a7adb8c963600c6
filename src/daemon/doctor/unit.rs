//! Whether the installed unit is the one this version ships.

use std::path::Path;

use super::Finding;

/// What this version ships.
const SHIPPED: &str = include_str!("../../../systemd/rosterd.service");
/// Where units lie, what wins first.
const PLACES: [&str; 3] = [
    "/etc/systemd/system/rosterd.service",
    "/usr/lib/systemd/system/rosterd.service",
    "/lib/systemd/system/rosterd.service",
];

pub(super) fn look() -> Vec<Finding> {
    let found =
        PLACES.iter().find_map(|place| std::fs::read_to_string(place).ok().map(|text| (*place, text)));
    found.map_or_else(Vec::new, |(place, text)| vec![compare(Path::new(place), &text)])
}

fn compare(place: &Path, text: &str) -> Finding {
    let (ours, theirs) = (directives(SHIPPED), directives(text));
    let missing: Vec<&str> = ours.iter().copied().filter(|line| !theirs.contains(line)).collect();
    let more: Vec<&str> = theirs.iter().copied().filter(|line| !ours.contains(line)).collect();
    if missing.is_empty() && more.is_empty() {
        return Finding::ok("D018", format!("{} is the one of this version", place.display()));
    }
    let what = format!(
        "{} differs: {} lines missing{}, {} of its own",
        place.display(),
        missing.len(),
        missing.first().map(|line| format!(" (first: {line})")).unwrap_or_default(),
        more.len()
    );
    Finding::warn(
        "D018",
        what,
        "install the shipped one and keep changes in drop-ins: systemctl edit rosterd",
    )
}

/// The lines that say something.
fn directives(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn comments_are_no_difference_and_a_lost_directive_is() {
        let commented = format!("# ours\n\n{SHIPPED}");
        assert_eq!(compare(Path::new("/x"), &commented).level, Level::Ok);
        let less = SHIPPED.replace("NoNewPrivileges=yes\n", "");
        let found = compare(Path::new("/x"), &less);
        assert_eq!(found.level, Level::Warn);
        assert!(found.what.contains("NoNewPrivileges=yes"), "{}", found.what);
    }
}
