use proptest::prelude::*;
use serde_json::json;

use super::super::facts;
use super::super::tests::{Store, reference};
use super::*;
use crate::mirror::directory;
use crate::mirror::resource::Stored;
use crate::scim::patch::MemberEdit;

/// One thing an identity provider or an operator does.
#[derive(Debug, Clone)]
enum Step {
    NewUser,
    NewGroup(u8),
    Rename(u8),
    Toggle(u8),
    Join(u8, u8),
    Leave(u8, u8),
    Delete(u8),
    Disable,
    AnotherDirectory,
    /// The facts are brought up to date here.
    Look,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::NewUser),
        2 => any::<u8>().prop_map(Step::NewGroup),
        2 => any::<u8>().prop_map(Step::Rename),
        2 => any::<u8>().prop_map(Step::Toggle),
        5 => (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Step::Join(a, b)),
        3 => (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Step::Leave(a, b)),
        2 => any::<u8>().prop_map(Step::Delete),
        1 => Just(Step::Disable),
        1 => Just(Step::AnotherDirectory),
        4 => Just(Step::Look),
    ]
}

struct World {
    store: Store,
    users: Vec<Stored>,
    groups: Vec<Stored>,
    made: u32,
}

fn pick(of: &[Stored], n: u8) -> Option<&Stored> {
    of.get(usize::from(n).checked_rem(of.len())?)
}

impl World {
    fn take(&mut self, step: &Step) {
        self.made += 1;
        let name = format!("n{}", self.made);
        match step {
            Step::NewUser => self.users.push(self.store.user(&name)),
            Step::NewGroup(n) => {
                let members: Vec<&Stored> = pick(&self.users, *n).into_iter().collect();
                self.groups.push(self.store.group(&name, &members));
            }
            Step::Rename(n) => {
                for one in pick(&self.users, *n).into_iter().chain(pick(&self.groups, *n)) {
                    drop(self.store.set(one, "displayName", json!(name)).unwrap());
                }
            }
            Step::Toggle(n) => {
                if let Some(one) = pick(&self.users, *n) {
                    drop(self.store.set(one, "active", json!(self.made.is_multiple_of(2))).unwrap());
                }
            }
            Step::Join(group, n) | Step::Leave(group, n) => {
                // Every fourth member is a group, so that nesting is exercised too.
                let others = if n % 4 == 0 { &self.groups } else { &self.users };
                let (Some(group), Some(one)) = (pick(&self.groups, *group), pick(others, *n)) else { return };
                let edit = match step {
                    Step::Join(..) => MemberEdit::Add(vec![reference(one)]),
                    _ => MemberEdit::Remove(vec![one.id.to_string()]),
                };
                // A group may not be able to hold itself; then nothing happened.
                drop(self.store.edit_members(group, vec![edit]));
            }
            Step::Delete(n) => {
                let list = if n % 3 == 0 { &mut self.groups } else { &mut self.users };
                if !list.is_empty() {
                    let one = list.swap_remove(usize::from(*n) % list.len());
                    self.store.delete(&one).unwrap();
                }
            }
            Step::Disable => {
                let (id, on) = (self.store.acme.id.clone(), self.made.is_multiple_of(2));
                drop(self.store.write(move |tx, _| directory::set_enabled(tx, &id, on)).unwrap());
            }
            Step::AnotherDirectory => {
                super::super::tests::add_directory(&self.store.mirror, &name);
            }
            Step::Look => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn facts_brought_up_to_date_equal_facts_loaded_afresh(steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World { store: Store::new(), users: vec![], groups: vec![], made: 0 };
        let mut facts = world.store.read(|tx| Ok(facts::load(tx, &[])?));
        for step in steps.iter().chain([&Step::Look]) {
            world.take(step);
            if matches!(step, Step::Look) {
                facts = world.store.read(|tx| Ok(advance(tx, facts, &[])?));
                let fresh = world.store.read(|tx| Ok(facts::load(tx, &[])?));
                prop_assert_eq!(format!("{facts:?}"), format!("{fresh:?}"));
            }
        }
    }
}

#[test]
fn a_directory_removed_and_made_anew_under_its_name_starts_empty() {
    let store = Store::new();
    store.user("alice");
    let facts = store.read(|tx| Ok(facts::load(tx, &[])?));
    assert_eq!(facts.directories[0].users.len(), 1);
    let id = store.acme.id.clone();
    store.write(move |tx, _| directory::remove(tx, &id)).unwrap();
    super::super::tests::add_directory(&store.mirror, "acme");
    let facts = store.read(|tx| Ok(advance(tx, facts, &[])?));
    assert!(facts.directories[0].users.is_empty());
}
