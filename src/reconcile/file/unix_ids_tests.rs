//! A number is one owner's for ever, whatever crashes or is restored.

use std::ops::RangeInclusive;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::mirror::Settings;
use crate::model::{RoleName, SystemClock};

const FILE_NAME: &str = "unix-ids.log";
const RANGE: RangeInclusive<u32> = 60_000..=60_004;

fn wanted(names: &[&str], range: RangeInclusive<u32>) -> Vec<UnixIdWanted> {
    let owner = |name: &&str| UnixIdOwner::Role(RoleName::parse(name).unwrap());
    names.iter().map(owner).map(|owner| UnixIdWanted { owner, range: range.clone() }).collect()
}

fn open(folder: &Path, name: &str) -> Mirror {
    std::fs::create_dir_all(folder.join(name)).unwrap();
    Mirror::open(&Settings::at(folder.join(name).join("mirror.db")), Arc::new(SystemClock)).unwrap()
}

fn numbers(mirror: &Mirror, path: &Path, names: &[&str], range: RangeInclusive<u32>) -> Vec<Option<u32>> {
    let wanted = wanted(names, range);
    let given = give(mirror, path, &wanted).unwrap_or_else(|error| panic!("{error:?}"));
    wanted.iter().map(|one| given.get(&one.owner).copied()).collect()
}

#[test]
fn a_number_is_kept_never_used_again_and_a_full_range_gives_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let (mirror, path) = (open(folder.path(), "a"), folder.path().join(FILE_NAME));
    assert_eq!(numbers(&mirror, &path, &["b", "a"], RANGE), [Some(60_001), Some(60_000)]);
    // `a` is gone for a while; its number is nobody else's.
    assert_eq!(numbers(&mirror, &path, &["b", "c"], RANGE), [Some(60_001), Some(60_002)]);
    let all = ["a", "b", "c", "d", "e", "f"];
    let found = numbers(&mirror, &path, &all, RANGE);
    assert_eq!(
        found,
        [60_000, 60_001, 60_002, 60_003, 60_004].map(Some).into_iter().chain([None]).collect::<Vec<_>>()
    );
    // Another range is another number, and the first one still stands.
    assert_eq!(numbers(&mirror, &path, &["a"], 70_000..=70_009), [Some(70_000)]);
    assert_eq!(numbers(&mirror, &path, &["a"], RANGE), [Some(60_000)]);
    assert_eq!(numbers(&mirror, &path, &["x", "y"], 65_533..=65_536), [Some(65_533), Some(65_536)]);
}

#[test]
fn after_a_restore_of_an_older_mirror_no_number_changes_hands() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let newer = open(folder.path(), "newer");
    assert_eq!(numbers(&newer, &path, &["a", "b"], RANGE), [Some(60_000), Some(60_001)]);
    // The restored mirror knows neither; whoever comes first now gets a third number.
    let older = open(folder.path(), "older");
    assert_eq!(preview(&older, &path, &wanted(&["z"], RANGE)).unwrap().into_values().next(), Some(60_002));
    assert_eq!(numbers(&older, &path, &["z"], RANGE), [Some(60_002)]);
    assert_eq!(numbers(&older, &path, &["a", "b"], RANGE), [Some(60_000), Some(60_001)]);
    // The file is lost and comes again out of the mirror.
    std::fs::remove_file(&path).unwrap();
    assert_eq!(numbers(&older, &path, &["a"], RANGE), [Some(60_000)]);
    let third = open(folder.path(), "third");
    assert_eq!(numbers(&third, &path, &["q"], RANGE), [Some(60_003)]);
}

#[test]
fn a_line_that_a_crash_cut_off_goes_and_the_next_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (mirror, path) = (open(folder.path(), "a"), folder.path().join(FILE_NAME));
    std::fs::write(&path, "60000 gid admin\nnonsense\n60000 gid other\n60001 gid ad").unwrap();
    assert_eq!(numbers(&mirror, &path, &["ad", "admin"], RANGE), [Some(60_001), Some(60_000)]);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, "60000 gid admin\nnonsense\n60000 gid other\n60001 gid ad\n");
    // What the mirror says against the file's first line does not count.
    let other = open(folder.path(), "b");
    let swapped = Given::from([(60_000, wanted(&["ad"], RANGE).remove(0).owner)]);
    other.write_blocking(Origin::daemon(), move |tx: &mut WriteTx<'_>| unix_id::keep(tx, &swapped)).unwrap();
    assert_eq!(
        numbers(&other, &path, &["new", "ad", "admin"], RANGE),
        [Some(60_002), Some(60_001), Some(60_000)]
    );
}

proptest! {
    #[test]
    fn whoever_comes_and_goes_no_number_has_two_owners(
        rounds in proptest::collection::vec(proptest::collection::btree_set("[a-h]", 0..5), 1..8)
    ) {
        let mut known = Given::new();
        for names in rounds {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let (numbers, new) = assign(&known, &wanted(&names, 60_000..=60_005));
            prop_assert!(new.keys().all(|number| !known.contains_key(number)));
            known.extend(new);
            for (owner, number) in numbers {
                prop_assert_eq!(known.get(&number), Some(&owner));
            }
        }
    }
}
