//! `/etc/rosterd/installer.toml`: what the root process obeys, and nobody but root may write.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use super::problem::{Kind, Problems, Source};
use super::reader::{Report, Table, Value, what};
use super::server::span;
use super::shape::option_values;
use super::target::argv;
use super::value::parse_size;
use crate::downstream::format::{self, Format, Options};
use crate::downstream::installer::bounds::{Bounds, KNOWN};
use crate::downstream::installer::member::{Names, Pattern};
use crate::downstream::installer::settings::{Account, Place, Settings, Target};
use crate::downstream::installer::wire::{COMMAND_TIME_MAX, FILE_BYTES_MAX};
use crate::model::TargetName;

/// Longest `installer.toml` that is read.
const BYTES_MAX: u64 = 1 << 20;

/// Reads and checks the installer's config. The file must belong to root, and neither it nor a folder above it may be
/// writable for anybody else: whoever can change it decides what root writes where.
///
/// # Errors
/// Every problem found, in the order of the file.
pub fn load_installer(path: &Path) -> Result<Settings, Problems> {
    let file = path.display().to_string();
    let source = Source { text: root_text(path, &file)?, file };
    read(&source, &Accounts::of_this_machine())
}

fn read(source: &Source, accounts: &Accounts) -> Result<Settings, Problems> {
    let (document, errors) = DeTable::parse_recoverable(&source.text);
    let report = Report::new(source);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        report.fail(Kind::Invalid, &span, None, what(format!("not TOML: {}", error.message())));
    }
    let settings =
        errors.is_empty().then(|| settings(Table::root(document.get_ref(), &report), accounts)).flatten();
    let (problems, _) = report.into_parts();
    match (settings, Problems::new(problems)) {
        (Some(settings), None) => Ok(settings),
        (_, Some(problems)) => Err(problems),
        (None, None) => Err(Problems::unplaced(
            Kind::Invalid,
            &source.file,
            "the file cannot be used".to_owned(),
            "this is a bug; report it",
        )),
    }
}

/// The text of a file that root alone can change. Judged by the open file, so that it cannot be swapped in between.
fn root_text(path: &Path, file: &str) -> Result<String, Problems> {
    use std::io::{ErrorKind, Read as _};
    let fail = |kind, message: String, help: &str| Err(Problems::unplaced(kind, file, message, help));
    let nofollow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(nofollow).open(path);
    let mut opened = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let kind = match error.kind() {
                ErrorKind::NotFound => Kind::MissingFile,
                ErrorKind::PermissionDenied => Kind::Denied,
                _ => Kind::Invalid,
            };
            let help = "write it as root, mode 0600, no symlink; docs/installer.md shows one";
            return fail(kind, format!("cannot read the installer's config: {error}"), help);
        }
    };
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let facts = opened.metadata();
    let above = absolute.ancestors().skip(1).map(|folder| (folder, std::fs::symlink_metadata(folder)));
    for (place, facts) in std::iter::once((absolute.as_path(), facts)).chain(above) {
        let Ok(facts) = facts else {
            return fail(Kind::Invalid, format!("cannot look at `{}`", place.display()), "see that root can");
        };
        let place = place.display();
        if facts.uid() != 0 || facts.file_type().is_symlink() {
            let message =
                format!("`{place}` is not root's own: it belongs to user {}, or is a symlink", facts.uid());
            return fail(
                Kind::Invalid,
                message,
                "give it to root (chown root:root); what it says, root does",
            );
        }
        // In a sticky folder such as /tmp nobody can rename what is root's.
        let is_sticky = facts.is_dir() && facts.mode() & 0o1000 != 0;
        if (facts.mode() & 0o002 != 0 || (facts.mode() & 0o020 != 0 && facts.gid() != 0)) && !is_sticky {
            let message = format!("`{place}` can be written by others than root");
            return fail(Kind::Invalid, message, "take that away (chmod go-w); what it says, root does");
        }
    }
    let mut text = String::new();
    match opened.by_ref().take(BYTES_MAX).read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) => {
            fail(Kind::Invalid, format!("cannot read the installer's config: {error}"), "TOML is UTF-8")
        }
    }
}

/// Local accounts and groups by name, from the files themselves: a name service may be one that rosterd fills.
struct Accounts {
    passwd: String,
    group: String,
}

impl Accounts {
    fn of_this_machine() -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self { passwd: text("/etc/passwd"), group: text("/etc/group") }
    }

    /// The fields of the line that begins with `name`.
    fn line<'a>(text: &'a str, name: &str) -> Option<Vec<&'a str>> {
        text.lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.first() == Some(&name))
    }

    fn number(fields: &[&str], at: usize) -> Option<u32> {
        fields.get(at)?.parse().ok()
    }

    fn user(&self, name: &str) -> Result<Account, String> {
        let missing =
            || "this machine has no such user in /etc/passwd; name one there, or its number".to_owned();
        if let Ok(uid) = name.parse::<u32>() {
            let line = self.passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
            let gid =
                line.filter(|fields| Self::number(fields, 2) == Some(uid)).find_map(|f| Self::number(&f, 3));
            return Ok(Account { name: name.to_owned(), uid, gid: gid.unwrap_or(uid) });
        }
        let fields = Self::line(&self.passwd, name).ok_or_else(missing)?;
        match (Self::number(&fields, 2), Self::number(&fields, 3)) {
            (Some(uid), Some(gid)) => Ok(Account { name: name.to_owned(), uid, gid }),
            _ => Err(missing()),
        }
    }

    fn group(&self, name: &str) -> Result<u32, String> {
        let missing =
            || "this machine has no such group in /etc/group; name one there, or its number".to_owned();
        name.parse()
            .or_else(|_| Self::line(&self.group, name).and_then(|f| Self::number(&f, 2)).ok_or_else(missing))
    }
}

fn settings(root: Table<'_>, accounts: &Accounts) -> Option<Settings> {
    let user = match root.get("user") {
        Some(value) => value.parsed(|name| accounts.user(name)),
        None => match accounts.user("rosterd") {
            Ok(user) => Some(user),
            Err(why) => {
                root.fail(what(format!("`user` = `rosterd`: {why}")));
                None
            }
        },
    };
    if let (Some(value), Some(Account { uid: 0, .. })) = (root.get("user"), &user) {
        value.fail(what("`user` is root; the daemon is to have a user of its own"));
    }
    let socket = root.get("socket").and_then(|value| value.parsed(absolute));
    let state = root.get("state").and_then(|value| value.parsed(absolute));
    let idle =
        root.get("idle").and_then(|value| span(&value, (Duration::from_secs(1), Duration::from_hours(1))));
    let mut targets = BTreeMap::new();
    let mut paths: Vec<PathBuf> = Vec::new();
    for section in root.tables("target") {
        let name = section.get("name");
        let Some(target) = target(section, accounts) else { continue };
        let path = target.place.path().to_owned();
        if paths.contains(&path) || targets.contains_key(&target.name) {
            let text = format!("target `{}`, or its path `{}`, is there twice", target.name, path.display());
            if let Some(value) = &name {
                value.fail(what(text));
            }
        }
        paths.push(path);
        targets.insert(target.name.clone(), target);
    }
    root.finish();
    Some(Settings {
        user: user?,
        socket,
        state: state.unwrap_or_else(|| "/var/lib/rosterd-install".into()),
        idle: idle.unwrap_or(Duration::from_secs(30)),
        targets,
    })
}

fn target(section: Table<'_>, accounts: &Accounts) -> Option<Target> {
    let name = section
        .require("name", "the target's name in rosterd.toml")
        .and_then(|value| value.parsed(TargetName::parse));
    let place = place(&section);
    let is_tree = matches!(place, Some(Place::Tree { .. }));
    let uid = section.get("owner").and_then(|value| value.parsed(|name| accounts.user(name)));
    let gid = section.get("group").and_then(|value| value.parsed(|name| accounts.group(name)));
    let mode = section.get("mode").and_then(|value| value.parsed(parse_mode));
    let format = section.require("format", "whose check the bytes must pass, such as `sudoers`");
    let format = format.and_then(|value| named_format(&value));
    let mut options = Options::new(name.clone().or_else(|| TargetName::parse("unnamed").ok())?);
    if let Some(values) = section.get("options").and_then(|value| option_values(&value)) {
        options.values = values;
    }
    let bounds = bounds(&section, format);
    let bytes_max = section.get("max_bytes").and_then(|value| value.parsed(size));
    let check = command(&section, "check", true);
    let verify = command(&section, "verify", false);
    let reload = command(&section, "reload", false);
    let timeout =
        section.get("timeout").and_then(|value| span(&value, (Duration::from_secs(1), COMMAND_TIME_MAX)));
    let keep = section.get("keep").and_then(|value| value.integer(0..=1_000));
    let adopt = section.get("adopt").and_then(|value| value.bool());
    let remove = section.get("remove").and_then(|value| value.bool());
    section.finish();
    Some(Target {
        name: name?,
        place: place?,
        uid: uid.map_or(0, |user| user.uid),
        gid: gid.unwrap_or(0),
        mode: mode.unwrap_or(0o644),
        format: format?,
        options,
        bounds,
        bytes_max: bytes_max.unwrap_or(1 << 20),
        check,
        verify,
        reload,
        timeout: timeout.unwrap_or(Duration::from_secs(30)),
        keep: keep.and_then(|keep| usize::try_from(keep).ok()).unwrap_or(5),
        adopt: adopt.unwrap_or_default(),
        remove: remove.unwrap_or(is_tree),
    })
}

fn place(section: &Table<'_>) -> Option<Place> {
    let kind = section.require("type", "`file`, or `tree` for a folder whose files the daemon names");
    let is_tree = kind.and_then(|value| value.word(&[("file", false), ("tree", true)]));
    let path =
        section.require("path", "the file, or the folder of a tree").and_then(|value| value.parsed(absolute));
    let members = section.get("members");
    let deny = section.get("deny");
    if !is_tree? {
        for value in members.iter().chain(&deny) {
            value.fail_key(what(format!("`{}` belongs to `type = \"tree\"`", value.path())));
        }
        return path.map(Place::File);
    }
    section.require("members", "which files the daemon may name, such as `[\"deploy\", \"app-*\"]`");
    let allow = members.as_ref().map(patterns).unwrap_or_default();
    if let (Some(value), true) = (&members, allow.is_empty()) {
        value.fail(what("no file could be written; name some, with `*` for any text"));
    }
    let deny = deny.map(|value| folded(&value)).unwrap_or_default();
    Some(Place::Tree { folder: path?, members: Names { allow, deny } })
}

fn bounds(section: &Table<'_>, format: Option<&'static Format>) -> Bounds {
    let given = section.get("bounds");
    let name = format.map_or("", |format| format.name);
    let known = KNOWN.iter().find(|(known, ..)| *known == name);
    let Some(table) = given.as_ref().and_then(Value::table) else {
        if let Some((_, true, keys)) = known {
            let key = keys.first().unwrap_or(&"");
            section.fail(
                what(format!("`{}`: format `{name}` needs `bounds.{key}`", section.path()))
                    .help("without it the daemon alone would decide; docs/installer.md says what it means"),
            );
        }
        return Bounds::default();
    };
    let bounds = Bounds {
        people: Names {
            allow: table.get("names").map(|value| patterns(&value)).unwrap_or_default(),
            deny: table.get("deny").map(|value| folded(&value)).unwrap_or_default(),
        },
        ids: table.get("ids").and_then(|value| range(&value)),
        groups: table.get("groups").map(|value| patterns(&value)).unwrap_or_default(),
        rules: table.get("rules").map(|value| rules(&value)).unwrap_or_default(),
        shells: table.get("shells").map(|value| patterns(&value)).unwrap_or_default(),
        homes: table.get("homes").map(|value| patterns(&value)).unwrap_or_default(),
        always: table.get("always").and_then(|value| value.texts()).unwrap_or_default(),
        origins: table.get("origins").and_then(|value| value.text()).map(str::to_owned),
    };
    for (key, value) in table.entries() {
        let is_foreign = !known.is_some_and(|(.., keys)| keys.contains(&key));
        if is_foreign && KNOWN.iter().any(|(.., keys)| keys.contains(&key)) {
            value.fail_key(what(format!("format `{name}` has no bound `{key}`")));
        }
    }
    if let Some((_, true, keys)) = known
        && let Some(key) = keys.first()
        && !table.entries().any(|(given, _)| given == *key)
    {
        table.fail(what(format!("format `{name}` needs `bounds.{key}`")));
    }
    table.finish();
    bounds
}

fn patterns(value: &Value<'_>) -> Vec<Pattern> {
    value.list_or_one().iter().filter_map(|value| value.parsed(Pattern::parse)).collect()
}

fn folded(value: &Value<'_>) -> std::collections::BTreeSet<String> {
    value.texts().unwrap_or_default().iter().map(|name| name.to_lowercase()).collect()
}

fn range(value: &Value<'_>) -> Option<std::ops::RangeInclusive<u64>> {
    let numbers: Vec<_> =
        value.list()?.iter().filter_map(|value| value.integer(0..=u64::from(u32::MAX))).collect();
    match numbers.as_slice() {
        [low, high] if low <= high => Some(*low..=*high),
        _ => {
            value.fail(what(format!(
                "`{}` must be the lowest and the highest, such as `[60000, 60999]`",
                value.path()
            )));
            None
        }
    }
}

/// The rule behind each alias, of printable ASCII on one line.
fn rules(value: &Value<'_>) -> BTreeMap<String, String> {
    let Some(table) = value.table() else { return BTreeMap::new() };
    let mut rules = BTreeMap::new();
    for (alias, value) in table.entries() {
        let is_alias = alias.starts_with(|c: char| c.is_ascii_uppercase())
            && alias.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        let Some(rule) = value.text() else { continue };
        if !is_alias
            || !rule.contains('=')
            || !rule.chars().all(|c| matches!(c, ' '..='~'))
            || rule.ends_with('\\')
        {
            value.fail(
                what(format!("`{}` is not an alias with its rule", value.path()))
                    .help("write `{ ROSTERD_OPS = \"ALL=(root) /usr/bin/systemctl restart app\" }`"),
            );
            continue;
        }
        rules.insert(alias.to_owned(), rule.to_owned());
    }
    rules
}

fn named_format(value: &Value<'_>) -> Option<&'static Format> {
    let name = value.text()?;
    match format::find(name) {
        // What a template makes has no check of its own that bytes could be held to.
        Some(format) if format.name != "template" => Some(format),
        _ => {
            let names: Vec<_> =
                format::FORMATS.iter().map(|format| format.name).filter(|n| *n != "template").collect();
            value.fail(
                what(format!("`{}` cannot be `{}`", value.path(), crate::telemetry::escape(name)))
                    .help(format!("use one of {}", names.join(", "))),
            );
            None
        }
    }
}

fn command(
    section: &Table<'_>,
    key: &'static str,
    needs_file: bool,
) -> Option<crate::downstream::command::Argv> {
    let value = section.get(key)?;
    let argv = argv(&value)?;
    if !argv.program().starts_with('/') {
        value.fail(what(format!("`{}` must name the program by its full path; root runs it", value.path())));
    }
    if needs_file && !argv.mentions_file() {
        value.fail(what(format!(
            "`{}` does not name the staged file; put `{{file}}` where it belongs",
            value.path()
        )));
    }
    Some(argv)
}

fn absolute(text: &str) -> Result<PathBuf, &'static str> {
    let odd = text.split('/').skip(1).any(|part| matches!(part, "" | "." | ".."));
    if !text.starts_with('/') || odd || text.contains('\0') {
        return Err("write an absolute path without `.`, `..` and empty parts");
    }
    Ok(text.into())
}

fn size(text: &str) -> Result<u64, String> {
    let size = parse_size(text)?;
    if (1..=FILE_BYTES_MAX).contains(&size) { Ok(size) } else { Err("use 1 B to 64 MiB".to_owned()) }
}

/// Unlike the daemon's files these may be read-only for their owner: root writes new ones.
fn parse_mode(text: &str) -> Result<u32, &'static str> {
    let shaped = (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    match u32::from_str_radix(text, 8) {
        Ok(mode) if shaped && mode & 0o7000 == 0 && mode & 0o022 == 0 && mode & 0o400 != 0 => Ok(mode),
        _ => Err(
            "use octal digits in quotes, such as \"0440\": readable for its owner, writable for nobody else",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUDO: &str = "user = \"nobody\"\n[[target]]\nname = \"sudo\"\ntype = \"file\"\npath = \"/etc/sudoers.d/rosterd\"\n\
        mode = \"0440\"\nformat = \"sudoers\"\nbounds = { rules = { ROSTERD_OPS = \"ALL=(root) /bin/true\" } }\n\
        check = [\"/usr/sbin/visudo\", \"-c\", \"-s\", \"-q\", \"-f\", \"{file}\"]\n";

    fn load(text: &str) -> Result<Settings, Problems> {
        let accounts = Accounts {
            passwd: "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n".to_owned(),
            group: "root:x:0:\nshadow:x:42:\n".to_owned(),
        };
        read(&Source { file: "installer.toml".to_owned(), text: text.to_owned() }, &accounts)
    }

    #[test]
    fn a_whole_config_is_read_and_its_defaults_are_tight() {
        let settings = load(SUDO).unwrap();
        assert_eq!((settings.user.uid, settings.state.to_str()), (65534, Some("/var/lib/rosterd-install")));
        let sudo = settings.targets.values().next().unwrap();
        assert_eq!((sudo.mode, sudo.uid, sudo.gid, sudo.adopt, sudo.remove), (0o440, 0, 0, false, false));
        assert_eq!(sudo.bounds.rules.len(), 1);
        let tree = "user = \"nobody\"\n[[target]]\nname = \"ssh\"\ntype = \"tree\"\npath = \"/etc/ssh/principals\"\n\
            members = [\"deploy\", \"app-*\"]\ngroup = \"shadow\"\nformat = \"ssh-principals\"\n";
        let settings = load(tree).unwrap();
        let ssh = settings.targets.values().next().unwrap();
        assert_eq!((ssh.gid, ssh.remove), (42, true));
    }

    #[test]
    fn a_template_has_no_check_of_root_s_own_and_is_refused() {
        let text = SUDO.replace("\"sudoers\"", "\"template\"");
        let problems = load(&text).expect_err("a template");
        assert!(problems.iter().any(|one| one.message.contains("template")), "{problems:?}");
    }

    #[test]
    fn accounts_need_their_numbers_bounded() {
        let tree = "user = \"nobody\"\n[[target]]\nname = \"u\"\ntype = \"tree\"\npath = \"/etc/userdb\"\nmembers = [\"*.user\"]\n\
            format = \"userdb\"\n";
        assert!(load(tree).is_err());
        let settings =
            load(&format!("{tree}bounds = {{ ids = [60000, 64999], shells = [\"/bin/bash\"] }}\n")).unwrap();
        let target = settings.targets.values().next().unwrap();
        assert_eq!(target.bounds.shells.len(), 1);
    }

    #[test]
    fn what_would_leave_the_decision_to_the_daemon_is_refused() {
        for (from, to, part) in [
            ("bounds = { rules = { ROSTERD_OPS = \"ALL=(root) /bin/true\" } }\n", "", "needs `bounds.rules`"),
            ("rules =", "names = [\"*\"] #", "not TOML"),
            ("ROSTERD_OPS =", "ops =", "is not an alias with its rule"),
            ("\"{file}\"", "\"/x\"", "does not name the staged file"),
            ("/usr/sbin/visudo", "visudo", "full path"),
            ("0440", "0666", "writable for nobody else"),
            ("\"sudoers\"", "\"template\"", "cannot be `template`"),
            ("/etc/sudoers.d/rosterd", "/etc/sudoers.d/../shadow", "absolute path"),
            ("user = \"nobody\"", "user = \"root\"", "`user` is root"),
            ("user = \"nobody\"", "user = \"nobody2\"", "no such user"),
            ("mode =", "mod =", "unknown key `mod`"),
            ("type = \"file\"", "type = \"tree\"", "`target.sudo.members` is missing"),
            ("type = \"file\"", "type = \"file\"\nmembers = [\"*\"]", "belongs to `type = \"tree\"`"),
            ("rules = {", "ids = [1, 2], rules = {", "has no bound `ids`"),
        ] {
            assert!(SUDO.contains(from), "{from}");
            let problems = load(&SUDO.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(problems.contains(part), "{to}: {problems}");
        }
        let twice = format!("{SUDO}{}", SUDO.split_once('\n').unwrap().1);
        assert!(load(&twice).unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn a_config_that_others_can_write_is_refused() {
        use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "this test needs root");
            println!("SKIP a_config_that_others_can_write_is_refused: it needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("installer.toml");
        std::fs::write(&path, SUDO.replace("nobody", "65534")).unwrap();
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let refused = |part: &str| {
            let problems = load_installer(&path).unwrap_err();
            assert_eq!(problems.kind(), Kind::Invalid);
            assert!(problems.to_string().contains(part), "{problems}");
        };
        mode(&path, 0o600);
        load_installer(&path).unwrap();
        mode(&path, 0o602);
        refused("can be written by others");
        mode(&path, 0o600);
        chown(&path, Some(61_999), None).unwrap();
        refused("belongs to user 61999");
        chown(&path, Some(0), Some(61_999)).unwrap();
        load_installer(&path).unwrap();
        mode(&path, 0o660);
        refused("can be written by others");
        mode(&path, 0o600);
        mode(dir.path(), 0o777);
        refused("can be written by others");
        mode(dir.path(), 0o755);
        chown(dir.path(), Some(61_999), None).unwrap();
        refused("belongs to user 61999");
        chown(dir.path(), Some(0), None).unwrap();
        let link = dir.path().join("link.toml");
        symlink(&path, &link).unwrap();
        assert!(load_installer(&link).is_err());
    }
}
