//! Revocations always land (DESIGN §6.4): in every format, whatever names, collisions, refusals and failures come, who
//! lost access is out of the bytes at the next run.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use proptest::prelude::*;

use super::outcome::{Cause, Outcome};
use super::run::FileRun;
use crate::access::{DirectoryFacts, Doc, Facts, GroupFacts, Role, SubjectAttribute, UserFacts, access};
use crate::downstream::command::Argv;
use crate::downstream::file::FileSpec;
use crate::downstream::format::{FORMATS, Format, Options, Template, Validate};
use crate::mirror::moving::Moving;
use crate::mirror::{Mirror, Settings};
use crate::model::{Clock, DirectoryId, ResourceId, RoleName, Seq, SystemClock, TargetName, Timestamp};
use crate::reconcile::settings::{
    Apply, Drift, Each, FileSettings, NameKey, NamePattern, OnIllegal, Part, Shape, TargetKind,
    TargetSettings, Tree,
};
use crate::reconcile::snapshot::{Rules, Snapshot};
use crate::reconcile::timing::schedule::Wait;
use crate::reconcile::{POLL_DEFAULT, State, guard::Guard};

/// One user at one moment. Fewer than five, so that no guard holds a removal.
#[derive(Debug, Clone)]
struct Person {
    name: usize,
    is_active: bool,
    is_in: bool,
}

type Moment = [Person; 4];

/// What user `n` may be called. Each name but the shared ones has a mark of the user's own that every format keeps.
fn names(n: usize) -> Vec<String> {
    let mut names: Vec<String> =
        ["m#q7", "M#Q7", "m#q7@example.com", "m#q7 a,b:\"#c", "m#q7\n", "-m#q7", "*m#q7", "(m#q7)"]
            .iter()
            .map(|name| name.replacen('#', &n.to_string(), 1))
            .collect();
    names.extend(["shared", "SHARED", "root", ""].map(str::to_owned));
    // One to a reader only before the `@`; a directory itself has no two of one userName.
    names.extend(["shared@a.example", "SHARED@b.example"].map(str::to_owned));
    names
}

fn person() -> impl Strategy<Value = Person> {
    (0..12_usize, proptest::bool::weighted(0.8), proptest::bool::weighted(0.6))
        .prop_map(|(name, is_active, is_in)| Person { name, is_active, is_in })
}

fn moments() -> impl Strategy<Value = Vec<Moment>> {
    proptest::collection::vec([person(), person(), person(), person()], 2..5)
}

fn snapshot(moment: &Moment, seq: u64) -> Snapshot {
    let id = |n: usize| ResourceId::new(1, &[u8::try_from(n).unwrap(); 10]);
    let user = |(n, person): (usize, &Person)| {
        let name = names(n)[person.name].clone();
        UserFacts {
            id: id(n),
            active: person.is_active,
            doc: Arc::new(Doc::from_iter([("userName".to_owned(), name.clone().into())])),
            user_name: name,
            created: Timestamp(0),
            last_modified: Timestamp(0),
        }
    };
    let members = moment.iter().enumerate().filter(|(_, person)| person.is_in).map(|(n, _)| id(n));
    let directory = DirectoryFacts {
        id: DirectoryId::parse("acme").unwrap(),
        enabled: true,
        pushed: true,
        claims: Vec::new(),
        groups: vec![GroupFacts {
            id: id(99),
            display_name: "sre".into(),
            external_id: None,
            users: members.collect(),
            groups: Vec::new(),
        }],
        users: moment.iter().enumerate().map(user).collect(),
    };
    let roles = vec![Role {
        name: RoleName::parse("admin").unwrap(),
        groups: vec!["sre".parse().unwrap()],
        users: None,
        directories: None,
        protected: false,
        on_rename: crate::access::OnRename::Follow,
    }];
    let facts = Facts { seq: Seq(seq), directories: vec![directory], ..Facts::default() };
    let access = access(&facts, &roles, Timestamp(0));
    let rules = Arc::new(Rules { roles, directories: Vec::new() });
    Snapshot { facts, access, rules, moving: Moving::default() }
}

/// A template that fails as soon as somebody's name has a capital.
fn template() -> Arc<Template> {
    let text = "{% for user in users %}{{ user.name }} {% if user.name != user.name|lower %}{{ nothing }}{% endif %}\n{% endfor %}";
    Arc::new(Template::compile("t.j2", text.into(), Validate::Lines).unwrap())
}

struct World {
    folder: tempfile::TempDir,
    mirror: Mirror,
    clock: Arc<dyn Clock>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let mirror = Mirror::open(&Settings::at(folder.path().join("mirror.db")), clock.clone()).unwrap();
        Self { folder, mirror, clock }
    }

    fn target(&self, name: &str, format: &'static Format, on_illegal: OnIllegal) -> TargetSettings {
        let target = TargetName::parse(name).unwrap();
        let path = self.folder.path().join(name);
        let mut spec =
            FileSpec::new(target.clone(), path.clone(), self.folder.path().join("state").join(name));
        spec.keep = 0;
        let shape = if format.is_tree() { Shape::Tree(Tree::Own) } else { Shape::File };
        if format.is_tree() {
            std::fs::create_dir(&path).unwrap();
        }
        let options = Options { target: target.clone(), template: Some(template()), ..(format.example)() };
        let file = FileSettings {
            publish: crate::reconcile::Publish::Off,
            spec,
            shape,
            format,
            options,
            reload: None,
            drift: Drift::Repair,
            on_illegal,
            poll: POLL_DEFAULT,
        };
        TargetSettings {
            name: target,
            map: std::collections::BTreeMap::new(),
            unix_ids: self.folder.path().join("unix-ids.log"),
            subject: SubjectAttribute::UserName,
            attributes: Vec::new(),
            apply: Apply::Auto,
            on_change: true,
            schedule: None,
            guard: Guard::default(),
            wait: Wait::default(),
            kind: TargetKind::File(file),
        }
    }

    /// A tree with one file for each of these. `is_checked`: a check of the operator's takes no capitals in a file.
    fn tree(&self, format: &str, each: Each, is_checked: bool) -> TargetSettings {
        let name = format!("{format}-{each:?}-{is_checked}").to_lowercase();
        let mut target =
            self.target(&name, crate::downstream::format::find(format).unwrap(), OnIllegal::Skip);
        std::fs::create_dir(self.folder.path().join(&name)).unwrap();
        let TargetKind::File(file) = &mut target.kind else { panic!("a file") };
        let name = NamePattern { before: String::new(), key: NameKey::Name, after: String::new() };
        file.shape = Shape::Tree(Tree::Each { each, name });
        file.spec.check = is_checked.then(no_capitals);
        target
    }

    /// A set of two files, of which the first fails for a capital.
    fn set(&self, is_checked: bool) -> TargetSettings {
        let find = |name| crate::downstream::format::find(name).unwrap();
        let mut target = self.target(&format!("set-{is_checked}"), find("apache-groups"), OnIllegal::Skip);
        let TargetKind::File(file) = &mut target.kind else { panic!("a file") };
        let part = |name: &str, format: &'static Format| Part {
            name: crate::downstream::format::RelativeName::parse(name).unwrap(),
            format,
            options: Options { template: Some(template()), ..(format.example)() },
        };
        let first = if is_checked { "nginx-map" } else { "template" };
        file.shape = Shape::Set(vec![part("first", find(first)), part("second", find("apache-groups"))]);
        file.spec.check = is_checked.then(|| {
            let check = ["/bin/sh", "-c", "! grep -q '[A-Z]' \"$0/second\"", "{file}"].map(str::to_owned);
            Argv::parse(check.to_vec()).unwrap()
        });
        target
    }

    fn run(&self, settings: &TargetSettings, snapshot: &Snapshot) -> Outcome {
        let TargetKind::File(file) = &settings.kind else { panic!("a file") };
        let shelf = crate::reconcile::Shelf::default();
        let (mirror, clock, shelf) = (&self.mirror, &self.clock, &shelf);
        let mut run = FileRun {
            mirror,
            clock,
            settings,
            file,
            shelf,
            turn: None,
            origin: crate::model::Origin::daemon(),
            cause: None,
        };
        run.run(snapshot, Cause::Wake)
    }
}

fn no_capitals() -> Argv {
    Argv::parse(["/bin/sh", "-c", "! grep -q 'M[0-9]Q7' \"$0\"", "{file}"].map(str::to_owned).to_vec())
        .unwrap()
}

/// Every file beneath a folder, as a reader sees it.
fn beneath(path: &Path) -> String {
    let Ok(entries) = std::fs::read_dir(path) else { return String::new() };
    let text = |path: std::path::PathBuf| {
        format!("{}\n{}\n", path.display(), std::fs::read_to_string(&path).unwrap_or_default())
    };
    entries.map(|entry| text(entry.unwrap().path())).collect()
}

/// All that a reader sees: names and bytes; of what only adds, what it is told to hold.
fn seen(format: &Format, path: &Path) -> String {
    if format.is_tree() {
        let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        let text = |path: std::path::PathBuf| {
            format!("{}\n{}\n", path.display(), std::fs::read_to_string(&path).unwrap_or_default())
        };
        return entries.map(text).collect();
    }
    let bytes = std::fs::read(path).unwrap_or_default();
    if !format.is_text() && !bytes.is_empty() {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut text).unwrap();
        return text;
    }
    let text = String::from_utf8(bytes).unwrap();
    let is_held = |line: &&str| !line.contains("\"deletes\"") && !line.contains("OPERATION_DELETE");
    text.lines().filter(is_held).flat_map(|line| [line, "\n"]).collect()
}

/// Whether anything in the file names user `n`, by whatever name it ever had.
fn is_named(text: &str, n: usize) -> bool {
    let folded = text.to_lowercase();
    let encoded = |name: &String| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(name);
    let own = names(n).into_iter().filter(|name| name.to_lowercase().contains("q7"));
    folded.contains(&format!("{n}q7")) || own.map(|name| encoded(&name)).any(|id| text.contains(&id))
}

/// Formats that show who holds a role, and nobody else.
fn shows_holders_only(format: &Format) -> bool {
    format.has_local_power()
        || matches!(
            format.name,
            "apache-groups"
                | "border0-policy"
                | "casbin"
                | "csv"
                | "haproxy-map"
                | "nginx-map"
                | "openfga-tuples"
                | "spicedb-relationships"
        )
}

fn hold(format: &'static Format, moment: &Moment, outcome: &Outcome, text: &str) {
    let word = format!("{} {outcome:?}\n{moment:?}\n{text}", format.name);
    for (n, person) in moment.iter().enumerate() {
        let may_stand = person.is_active && (person.is_in || !shows_holders_only(format));
        assert!(may_stand || !is_named(text, n), "{n} is still in {word}");
    }
    let is_shared = |(n, person): (usize, &Person)| {
        let name = names(n)[person.name].to_lowercase();
        person.is_active && name == "shared"
    };
    let encoded = |name: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(name);
    let names_shared = text.to_lowercase().contains("shared")
        || text.contains(&encoded("shared"))
        || text.contains(&encoded("SHARED"));
    // A template that fails shows people under the names it last could.
    let is_as_before = format.name == "template";
    assert!(
        is_as_before || !names_shared || moment.iter().enumerate().any(is_shared),
        "nobody is called so in {word}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn in_every_format_the_revoked_are_out_of_the_bytes_at_the_next_run(
        moments in moments(), is_strict in any::<bool>()
    ) {
        let world = World::new();
        let on_illegal = if is_strict { OnIllegal::Error } else { OnIllegal::Skip };
        for format in FORMATS {
            let target = world.target(format.name, format, on_illegal);
            for (n, moment) in moments.iter().enumerate() {
                let outcome = world.run(&target, &snapshot(moment, n as u64 + 1));
                let TargetKind::File(file) = &target.kind else { panic!("a file") };
                let text = seen(format, &file.spec.path);
                hold(format, moment, &outcome, &text);
                // Data alone never keeps a built-in format from being written.
                let may_fail = is_strict || format.name == "template";
                prop_assert!(may_fail || outcome.state == State::InSync, "{}: {:?}", format.name, outcome);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn in_trees_and_sets_the_revoked_are_out_whatever_cannot_be_written(moments in moments()) {
        let world = World::new();
        let mut targets = vec![world.set(false), world.set(true), world.tree("ssh-principals", Each::Role, true)];
        for each in [Each::Subject, Each::Group, Each::Role] {
            targets.push(world.tree("template", each, false));
            targets.push(world.tree("template", each, true));
        }
        for each in [Each::Subject, Each::Group] {
            targets.push(world.tree("json", each, true));
        }
        for target in &targets {
            let path = world.folder.path().join(target.name.as_str());
            for (at, moment) in moments.iter().enumerate() {
                let outcome = world.run(target, &snapshot(moment, at as u64 + 1));
                let text = beneath(&path);
                for (n, person) in moment.iter().enumerate() {
                    // The template of a set lists everybody.
                    let may_stand = person.is_active && (person.is_in || target.name.as_str() == "set-false");
                    prop_assert!(
                        may_stand || !is_named(&text, n),
                        "{n} is still in {} at {at}: {outcome:?}\n{moments:?}\n{text}", target.name
                    );
                }
            }
        }
    }
}

#[test]
fn one_file_that_fails_keeps_the_rest_of_its_tree_up_to_date_and_loses_the_revoked() {
    let world = World::new();
    let target = world.tree("template", Each::Role, false);
    let file = world.folder.path().join(target.name.as_str()).join("admin");
    let text = || std::fs::read_to_string(&file).unwrap();
    let steps = [
        ([(0, true, true), (0, true, true), (0, false, true), (0, false, true)], "m0q7 \nm1q7 \n", false),
        // 0 is gone; 2 is new and makes the file fail; 3 is new and waits.
        ([(0, false, true), (0, true, true), (1, true, true), (0, true, true)], "m1q7 \n", true),
        // The last of those who were in it goes too.
        ([(0, false, true), (0, false, true), (1, true, true), (0, true, true)], "", true),
        ([(0, false, true), (0, false, true), (0, true, true), (0, true, true)], "m2q7 \nm3q7 \n", false),
    ];
    for (n, (moment, wanted, fails)) in steps.into_iter().enumerate() {
        let outcome = world.run(&target, &snapshot(&people(moment), n as u64 + 1));
        assert_eq!((text().as_str(), outcome.state == State::Failing), (wanted, fails), "{outcome:?}");
        assert_eq!(outcome.error.is_some_and(|error| error.contains("additions to it wait")), fails);
    }
}

#[test]
fn a_principals_file_that_no_check_takes_goes_with_the_revoked_and_stays_without() {
    let world = World::new();
    let mut target = world.tree("ssh-principals", Each::Role, false);
    let file = world.folder.path().join(target.name.as_str()).join("admin");
    let first = people([(0, true, true), (0, true, true), (0, false, true), (0, false, true)]);
    assert_eq!(world.run(&target, &snapshot(&first, 1)).state, State::InSync);
    let TargetKind::File(settings) = &mut target.kind else { panic!("a file") };
    settings.spec.check = Some(Argv::parse(vec!["/bin/false".to_owned()]).unwrap());
    // One comes: nobody has to go, so that a check that is broken locks nobody out.
    let second = people([(0, true, true), (0, true, true), (0, true, true), (0, false, true)]);
    assert_eq!(world.run(&target, &snapshot(&second, 2)).state, State::Failing);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "m0q7\nm1q7\n");
    let third = people([(0, false, true), (0, true, true), (0, true, true), (0, false, true)]);
    assert_eq!(world.run(&target, &snapshot(&third, 3)).state, State::Failing);
    assert!(!file.exists(), "{}", std::fs::read_to_string(&file).unwrap());
}

fn people(four: [(usize, bool, bool); 4]) -> Moment {
    four.map(|(name, is_active, is_in)| Person { name, is_active, is_in })
}

#[test]
fn a_template_that_fails_for_one_loses_the_revoked_keeps_the_rest_and_gains_nobody() {
    type Step<'a> = ([(usize, bool, bool); 4], &'a str, State);
    let world = World::new();
    let format = crate::downstream::format::find("template").unwrap();
    let target = world.target("t", format, OnIllegal::Skip);
    let path = world.folder.path().join("t");
    let steps: [Step<'_>; 4] = [
        (
            [(0, true, true), (0, true, true), (0, false, true), (0, false, true)],
            "m0q7 \nm1q7 \n",
            State::InSync,
        ),
        // 0 is gone; 2 is new and makes the template fail; 3 is new and would not.
        ([(0, false, true), (0, true, true), (1, true, true), (0, true, true)], "m1q7 \n", State::Failing),
        // 1 itself gets the name that does: it stays under the old one.
        ([(0, false, true), (1, true, true), (0, false, true), (0, true, true)], "m1q7 \n", State::Failing),
        (
            [(0, false, true), (2, true, true), (0, true, true), (0, true, true)],
            "m1q7@example.com \nm2q7 \nm3q7 \n",
            State::InSync,
        ),
    ];
    for (n, (moment, text, state)) in steps.into_iter().enumerate() {
        let outcome = world.run(&target, &snapshot(&people(moment), n as u64 + 1));
        assert_eq!(
            (std::fs::read_to_string(&path).unwrap().as_str(), outcome.state),
            (text, state),
            "{outcome:?}"
        );
        assert_eq!(outcome.error.is_some(), state == State::Failing);
    }
}

#[test]
fn what_a_check_refuses_loses_the_revoked_all_the_same() {
    let world = World::new();
    let format = crate::downstream::format::find("apache-groups").unwrap();
    let mut target = world.target("apache", format, OnIllegal::Skip);
    let TargetKind::File(file) = &mut target.kind else { panic!("a file") };
    let check = ["/bin/sh", "-c", "! grep -q M2Q7 \"$0\"", "{file}"].map(str::to_owned);
    file.spec.check = Some(Argv::parse(check.to_vec()).unwrap());
    let text = || std::fs::read_to_string(world.folder.path().join("apache")).unwrap();
    let first = people([(0, true, true), (0, true, true), (0, false, true), (0, false, true)]);
    assert_eq!(world.run(&target, &snapshot(&first, 1)).state, State::InSync);
    assert!(text().contains("m0q7") && text().contains("m1q7"), "{}", text());
    let second = people([(0, false, true), (0, true, true), (1, true, true), (0, true, true)]);
    let outcome = world.run(&target, &snapshot(&second, 2));
    assert!(!text().contains("m0q7") && text().contains("m1q7"), "{}", text());
    assert!(!text().contains("3q7") && !text().contains("2Q7"), "additions wait: {}", text());
    assert_eq!(outcome.state, State::Failing);
    assert!(outcome.error.unwrap().contains("additions wait"));
}

#[test]
fn a_check_that_refuses_a_new_name_keeps_nobody_who_was_revoked_in() {
    let world = World::new();
    let format = crate::downstream::format::find("apache-groups").unwrap();
    let mut single = world.target("apache", format, OnIllegal::Skip);
    let TargetKind::File(file) = &mut single.kind else { panic!("a file") };
    file.spec.check = Some(no_capitals());
    let set = world.set(true);
    // 0 gets a name that the check refuses; 2 goes.
    let first = people([(0, true, true), (0, false, true), (0, true, true), (0, false, true)]);
    let second = people([(1, true, true), (0, false, true), (0, false, true), (0, false, true)]);
    for (target, file) in [(single, "apache"), (set, "set-true/second")] {
        let text = || std::fs::read_to_string(world.folder.path().join(file)).unwrap();
        assert_eq!(world.run(&target, &snapshot(&first, 1)).state, State::InSync);
        let outcome = world.run(&target, &snapshot(&second, 2));
        assert_eq!(text(), "admin: \"m0q7\"\n", "{outcome:?}");
        assert_eq!(outcome.state, State::Failing);
        assert!(outcome.error.unwrap().contains("additions wait"));
    }
    // A check that takes nothing at all leaves the revoked in, and the error says so.
    let mut target = world.target("broken", format, OnIllegal::Skip);
    assert_eq!(world.run(&target, &snapshot(&first, 1)).state, State::InSync);
    let TargetKind::File(file) = &mut target.kind else { panic!("a file") };
    file.spec.check = Some(Argv::parse(vec!["/bin/false".to_owned()]).unwrap());
    let error = world.run(&target, &snapshot(&second, 2)).error.unwrap();
    assert!(error.contains("whoever was revoked since is still in it"), "{error}");
}

#[test]
fn whoever_is_in_the_file_keeps_a_name_that_the_reader_folds() {
    let world = World::new();
    let format = crate::downstream::format::find("nginx-map").unwrap();
    let target = TargetSettings {
        subject: SubjectAttribute::UserNameLocal,
        ..world.target("nginx", format, OnIllegal::Skip)
    };
    let text = || std::fs::read_to_string(world.folder.path().join("nginx")).unwrap();
    // User 1 is SHARED and in; user 0, who is older, comes later as `shared`.
    let first = people([(0, true, false), (13, true, true), (0, false, false), (0, false, false)]);
    world.run(&target, &snapshot(&first, 1));
    assert_eq!(text(), "\"\\\\SHARED\" \"admin\";\n");
    let second = people([(12, true, true), (13, true, true), (0, false, false), (0, false, false)]);
    let outcome = world.run(&target, &snapshot(&second, 2));
    assert_eq!(text(), "\"\\\\SHARED\" \"admin\";\n");
    let told = outcome.problems.join("\n");
    assert!(told.contains("ASCII case") && told.matches("acme/").count() == 2, "{told}");
    let third = people([(12, true, true), (13, true, false), (0, false, false), (0, false, false)]);
    world.run(&target, &snapshot(&third, 3));
    assert!(!text().contains("SHARED"), "{}", text());
}
