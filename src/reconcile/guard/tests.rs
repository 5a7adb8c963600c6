//! Each sentence of DESIGN §6.6 and of `[guard]` in §4, by name.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::access::Doc;
use crate::model::ResourceId;
use crate::reconcile::guard::book::{Decided, Decision, Refused};

const MINUTE: Duration = Duration::from_mins(1);

fn subject(n: u8) -> Subject {
    let directory = if n >= 200 { "small" } else { "acme" };
    Subject {
        directory: DirectoryId::parse(directory).unwrap(),
        user: ResourceId::new(u64::from(n), &[n; 10]),
    }
}

fn key(n: u8, role: &str) -> Key {
    (subject(n), Entitlement::Role(RoleName::parse(role).unwrap()))
}

fn holding((subject, entitlement): &Key) -> Holding {
    let name = format!("u{}", subject.user.to_string().chars().last().unwrap());
    let name = format!("{name}-{}", subject.user);
    Holding { subject: subject.clone(), entitlement: entitlement.clone(), name, attributes: Doc::new() }
}

/// A target whose runs always succeed: what the guard lets through is gone, what it keeps stays.
struct Target {
    guard: Guard,
    book: Book,
    now: Timestamp,
    seq: u64,
    holdings: BTreeSet<Key>,
    access: BTreeSet<Key>,
    protected: BTreeSet<String>,
    /// Whose removals a person's word asks for.
    word: BTreeSet<Subject>,
    /// Whose removals nobody asked for.
    nobody: BTreeSet<Subject>,
}

impl Target {
    /// `people` people who all hold `admin`.
    fn of(people: u8) -> Self {
        let access: BTreeSet<Key> = (0..people).map(|n| key(n, "admin")).collect();
        Self {
            guard: Guard::default(),
            book: Book::default(),
            now: Timestamp(1_700_000_000_000_000),
            seq: 1,
            holdings: access.clone(),
            access,
            protected: BTreeSet::new(),
            word: BTreeSet::new(),
            nobody: BTreeSet::new(),
        }
    }

    /// The identity provider takes these away, and a run follows.
    fn revoke(&mut self, people: impl IntoIterator<Item = u8>) -> Judged {
        for n in people {
            self.access.retain(|(who, _)| *who != subject(n));
        }
        self.run()
    }

    fn grant(&mut self, people: impl IntoIterator<Item = u8>) -> Judged {
        self.access.extend(people.into_iter().map(|n| key(n, "admin")));
        self.run()
    }

    fn judge(&mut self) -> Judged {
        self.seq += 1;
        let holdings: Vec<Holding> = self.holdings.iter().map(holding).collect();
        let base: Wanted = self.access.iter().map(|key| (key.clone(), holding(key))).collect();
        let protected = self.protected.clone();
        let is_protected = |key: &Key| protected.contains(&key.1.to_string());
        let (word, nobody) = (self.word.clone(), self.nobody.clone());
        let wanted_by = |key: &Key, _: &Doc| match key {
            key if word.contains(&key.0) => WantedBy::Word,
            key if nobody.contains(&key.0) => WantedBy::Nobody,
            _ => WantedBy::Sync,
        };
        let scene = Scene {
            now: self.now,
            seq: Seq(self.seq),
            holdings: &holdings,
            base: &base,
            is_protected: &is_protected,
            wanted_by: &wanted_by,
        };
        judge(&self.guard, &mut self.book, scene)
    }

    fn run(&mut self) -> Judged {
        let judged = self.judge();
        self.holdings = self.access.iter().chain(self.book.exceptions.keys()).cloned().collect();
        judged
    }

    fn wait(&mut self, span: Duration) -> Judged {
        self.now = self.now.plus(span);
        self.run()
    }

    fn decide(&mut self, decision: &Decision) -> Result<Decided, Refused> {
        let done = self.book.decide(&self.guard, decision, self.now);
        self.run();
        done
    }

    fn approve(&mut self, plan: &str) -> u64 {
        let decision = Decision::Approve { plan: Some(plan.to_owned()), subjects: Vec::new() };
        self.decide(&decision).unwrap().released
    }

    fn shown(&self, n: u8) -> bool {
        self.holdings.iter().any(|(who, _)| *who == subject(n))
    }

    fn count(&self) -> usize {
        self.holdings.len()
    }
}

#[test]
fn a_single_deactivation_passes_at_once() {
    let mut target = Target::of(50);
    target.revoke([7]);
    assert!(!target.shown(7) && target.count() == 49);
}

#[test]
fn over_any_one_of_the_limits_holds() {
    let mut by_share = Target::of(50);
    assert_eq!(by_share.revoke(0..6).held, 6);
    assert_eq!(by_share.count(), 50);
    let mut at_the_limit = Target::of(50);
    assert_eq!(at_the_limit.revoke(0..5).held, 0);
    let mut by_count = Target::of(100);
    by_count.guard.max_removals = vec![Limit::Percent(50), Limit::Count(7)];
    assert_eq!(by_count.revoke(0..7).held, 0);
    by_count.wait(MINUTE);
    let mut by_count_too = Target::of(100);
    by_count_too.guard.max_removals = vec![Limit::Percent(50), Limit::Count(7)];
    assert_eq!(by_count_too.revoke(0..8).held, 8);
}

#[test]
fn entitlements_are_counted_not_people() {
    let mut target = Target::of(100);
    for n in 0..6 {
        target.access.extend((0..20).map(|r| key(n, &format!("r{r}"))));
    }
    target.run();
    // Six of a hundred people, but 126 of 220 entitlements.
    assert_eq!(target.revoke(0..6).held, 126);
}

#[test]
fn each_role_is_measured_by_itself() {
    let mut target = Target::of(150);
    target.access.extend((0..40).map(|n| key(n, "dba")));
    target.run();
    target.access.retain(|key| {
        !(key.1.to_string() == "role:dba"
            && key < &crate::reconcile::plan::key_of(&holding(&self::key(5, "dba"))))
    });
    let gone = 190 - target.access.len();
    assert_eq!(gone, 5);
    // 5 of 190 at the target and 5 of 40 in the role.
    assert_eq!(target.run().held, 5);
}

#[test]
fn each_directory_is_measured_by_itself() {
    let mut target = Target::of(180);
    target.grant(200..220);
    assert_eq!(target.revoke(200..206).held, 6);
}

#[test]
fn a_plan_under_which_fewer_lose_something_is_never_held_even_if_it_empties() {
    let mut target = Target::of(4);
    target.revoke(0..4);
    assert_eq!(target.count(), 0);
}

#[test]
fn from_there_on_emptying_a_role_holds_at_any_percentage() {
    let mut target = Target::of(100);
    target.guard.max_removals = vec![Limit::Count(1_000)];
    target.access.insert(key(0, "root"));
    target.run();
    assert_eq!(target.revoke(0..5).held, 6);
    assert_eq!(target.count(), 101);
}

#[test]
fn from_there_on_emptying_a_target_holds_at_any_percentage() {
    let mut target = Target::of(5);
    target.guard.max_removals = vec![Limit::Percent(100)];
    assert_eq!(target.revoke(0..5).held, 5);
}

#[test]
fn removals_add_up_over_the_window() {
    let mut target = Target::of(50);
    target.revoke([0, 1]);
    target.wait(10 * MINUTE);
    target.revoke([2, 3]);
    assert_eq!(target.count(), 46);
    assert_eq!(target.revoke(4..10).held, 6);
    let mut apart = Target::of(50);
    apart.revoke(0..4);
    apart.wait(61 * MINUTE);
    assert_eq!(apart.revoke(4..8).held, 0);
}

#[test]
fn a_trickle_does_not_pass_a_limit_that_a_burst_would_hold_at() {
    let mut target = Target::of(100);
    for n in 0..60 {
        target.revoke([n]);
    }
    // Ten per cent, and the urgent budget of the hold that began there.
    assert_eq!(target.count(), 85);
    assert_eq!(target.book.held_count(), 45);
}

#[test]
fn the_single_removal_that_trips_the_limit_is_not_delayed() {
    let mut target = Target::of(50);
    target.revoke(0..5);
    target.wait(MINUTE);
    assert_eq!(target.revoke([9]).held, 0);
    assert!(!target.shown(9));
}

#[test]
fn a_verdict_is_taken_once_when_its_change_arrives() {
    let mut target = Target::of(50);
    target.access.retain(|(who, _)| *who > subject(3));
    // Let through, and then the run fails: nothing is applied.
    target.judge();
    let passed: Vec<Key> = target.book.passed.keys().cloned().collect();
    assert_eq!(passed.len(), 4);
    assert_eq!(target.revoke(10..30).held, 20);
    // What had been let through still goes, whatever came behind it.
    assert!(passed.iter().all(|key| !target.holdings.contains(key)));
}

#[test]
fn the_passing_of_the_window_releases_nothing() {
    let mut target = Target::of(50);
    target.revoke(0..20);
    for _ in 0..100 {
        target.wait(60 * MINUTE);
    }
    assert_eq!((target.count(), target.book.held_count()), (50, 20));
}

#[test]
fn a_held_removal_never_becomes_urgent() {
    let mut target = Target::of(50);
    target.revoke(0..20);
    for _ in 0..10 {
        target.wait(MINUTE);
    }
    assert!((0..20).all(|n| target.shown(n)));
    assert!(target.book.hold.as_ref().unwrap().urgent.is_empty());
}

#[test]
fn while_a_hold_stands_as_many_people_as_urgent_says_go_at_once() {
    let mut target = Target::of(100);
    target.revoke(0..50);
    for n in 50..55 {
        assert_eq!(target.revoke([n]).held, 0);
        assert!(!target.shown(n));
    }
    assert_eq!(target.revoke([55]).held, 1);
    assert!(target.shown(55));
}

#[test]
fn more_at_once_than_the_urgent_budget_has_left_are_held_and_use_none_of_it() {
    let mut target = Target::of(100);
    target.revoke(0..50);
    assert_eq!(target.revoke(50..56).held, 6);
    assert_eq!(target.revoke(56..61).held, 0);
}

#[test]
fn the_urgent_budget_starts_afresh_when_a_hold_begins() {
    let mut target = Target::of(200);
    target.revoke(0..50);
    target.revoke(50..55);
    let plan = target.book.hash();
    target.approve(&plan);
    assert!(target.book.hold.is_none());
    assert_eq!(target.revoke(60..100).held, 40);
    assert_eq!(target.revoke(100..105).held, 0);
    assert_eq!(target.revoke([105]).held, 1);
}

#[test]
fn a_plan_hash_covers_the_sorted_held_removals_only() {
    let mut one = Target::of(100);
    one.revoke(0..30);
    let mut other = Target::of(120);
    other.revoke((0..30).rev());
    assert_eq!(one.book.hash(), other.book.hash());
    let before = one.book.hash();
    one.grant(100..110);
    one.wait(MINUTE);
    one.revoke([50]);
    assert_eq!(one.book.hash(), before);
    one.revoke(60..80);
    assert_ne!(one.book.hash(), before);
}

#[test]
fn approving_a_plan_releases_its_removals_and_not_what_was_held_later() {
    let mut target = Target::of(150);
    target.revoke(0..30);
    let plan = target.book.hash();
    target.revoke(40..60);
    assert_eq!(target.approve(&plan), 30);
    assert!((0..30).all(|n| !target.shown(n)) && (40..60).all(|n| target.shown(n)));
    let plan = target.book.hash();
    assert_eq!(target.approve(&plan), 20);
    assert_eq!((target.count(), target.book.held_count()), (100, 0));
}

#[test]
fn approving_a_plan_releases_only_what_of_it_is_still_pending() {
    let mut target = Target::of(150);
    target.revoke(0..30);
    let plan = target.book.hash();
    target.grant([3]);
    target.revoke([3]);
    target.revoke(0..30);
    // 3 was granted again and taken again: another removal, with its own verdict (it was urgent).
    assert_eq!(target.approve(&plan), 29);
}

#[test]
fn a_hash_nobody_was_shown_is_refused() {
    let mut target = Target::of(100);
    target.revoke(0..30);
    let decision = Decision::Approve { plan: Some("00".into()), subjects: vec![] };
    assert_eq!(target.decide(&decision), Err(Refused::UnknownPlan("00".into())));
    let nothing = Decision::Approve { plan: None, subjects: vec![] };
    assert_eq!(target.decide(&nothing), Err(Refused::Unnamed));
    assert_eq!(target.count(), 100);
}

#[test]
fn what_a_person_approved_does_not_count_against_the_next() {
    let mut target = Target::of(200);
    target.revoke(0..100);
    let plan = target.book.hash();
    target.approve(&plan);
    assert_eq!(target.revoke(100..106).held, 0);
}

#[test]
fn subject_lets_single_people_out_at_any_time() {
    let mut target = Target::of(100);
    target.revoke(0..30);
    let name = subject(7).to_string();
    let out = Decision::Approve { plan: None, subjects: vec![name.clone()] };
    assert_eq!(target.decide(&out).unwrap().released, 1);
    assert!(!target.shown(7) && target.shown(8));
    assert_eq!(target.decide(&out), Err(Refused::UnknownSubject(name)));
    // Also after a reject.
    target.decide(&Decision::Reject { plan: None, window: false }).unwrap();
    let out = Decision::Approve { plan: None, subjects: vec![subject(8).user.to_string()] };
    assert_eq!(target.decide(&out).unwrap().released, 1);
    assert!(!target.shown(8) && target.shown(9));
}

#[test]
fn a_rejected_removal_stays_and_is_no_longer_held() {
    let mut target = Target::of(100);
    target.revoke(0..30);
    assert_eq!(target.decide(&Decision::Reject { plan: None, window: false }).unwrap().rejected, 30);
    assert_eq!((target.count(), target.book.held_count(), target.book.hold.is_none()), (100, 0, true));
    target.wait(1_000 * MINUTE);
    assert_eq!(target.count(), 100);
    assert_eq!(target.decide(&Decision::Reject { plan: None, window: false }), Err(Refused::NothingHeld));
}

#[test]
fn a_decision_about_an_older_plan_touches_only_what_that_covered() {
    for keeps in [false, true] {
        let mut target = Target::of(150);
        target.revoke(0..30);
        let shown = target.book.hash();
        // More comes to be held while a person looks at the first.
        target.revoke(40..60);
        assert_ne!(target.book.hash(), shown);
        if keeps {
            let decision = Decision::Reject { plan: Some(shown.clone()), window: false };
            assert_eq!(target.decide(&decision).unwrap().rejected, 30);
            assert!(target.shown(0));
            // Of that plan nothing is held any more.
            assert_eq!(target.decide(&decision), Err(Refused::NothingHeld));
        } else {
            assert_eq!(target.approve(&shown), 30);
            assert!(!target.shown(0));
        }
        assert_eq!((target.book.held_count(), target.book.hold.is_some()), (20, true));
        assert!((40..60).all(|n| target.shown(n)));
        target.decide(&Decision::Reject { plan: None, window: false }).unwrap();
        assert!(target.book.hold.is_none());
    }
    let mut target = Target::of(100);
    target.revoke(0..30);
    let unknown = Decision::Reject { plan: Some("00".into()), window: false };
    assert_eq!(target.decide(&unknown), Err(Refused::UnknownPlan("00".into())));
    assert_eq!(target.book.held_count(), 30);
}

#[test]
fn reject_window_also_gives_back_what_went_before_the_hold_began() {
    let mut target = Target::of(100);
    target.revoke([90]);
    target.wait(61 * MINUTE);
    target.revoke([0, 1, 2, 3]);
    target.wait(MINUTE);
    target.revoke(10..40);
    target.revoke([50]);
    // Decided long after the window passed: what counts is when the hold began.
    target.wait(600 * MINUTE);
    let done = target.decide(&Decision::Reject { plan: None, window: true }).unwrap();
    assert_eq!((done.rejected, done.given_back), (30, 4));
    assert!((0..4).all(|n| target.shown(n)));
    // Neither what went before the window nor what was urgent during the hold comes back.
    assert!(!target.shown(90) && !target.shown(50));
    let mut without = Target::of(100);
    without.revoke([0, 1]);
    without.revoke(10..40);
    without.decide(&Decision::Reject { plan: None, window: false }).unwrap();
    assert!(!without.shown(0));
}

#[test]
fn a_reject_ends_when_the_entitlement_is_granted_again() {
    let mut target = Target::of(100);
    target.revoke(0..30);
    target.decide(&Decision::Reject { plan: None, window: false }).unwrap();
    target.grant([3]);
    assert!(!target.book.exceptions.contains_key(&key(3, "admin")));
    assert_eq!(target.revoke([3]).held, 0);
    assert!(!target.shown(3) && target.shown(4));
}

#[test]
fn a_hold_ends_when_everything_is_granted_again() {
    let mut target = Target::of(100);
    target.revoke(0..30);
    target.grant(0..30);
    assert_eq!((target.count(), target.book.hold.is_none()), (100, true));
    assert!(target.book.exceptions.is_empty());
}

#[test]
fn additions_flow_meanwhile() {
    let mut target = Target::of(100);
    target.revoke(0..30);
    target.grant(100..120);
    assert!((100..120).all(|n| target.shown(n)) && target.count() == 120);
}

#[test]
fn max_hold_keeps_unless_told_to_apply() {
    let mut keeps = Target::of(100);
    keeps.revoke(0..30);
    assert_eq!(keeps.wait(Duration::from_hours(48)).expired, 0);
    assert_eq!((keeps.count(), deadline(&keeps.guard, &keeps.book)), (100, None));
    let mut applies = Target::of(100);
    applies.guard.max_hold_then = AfterHold::Apply;
    applies.revoke(0..30);
    assert_eq!(applies.wait(Duration::from_hours(23)).expired, 0);
    let due = deadline(&applies.guard, &applies.book).unwrap();
    assert_eq!(due.since(applies.now), Duration::from_hours(1));
    assert_eq!(applies.wait(Duration::from_hours(1)).expired, 30);
    assert_eq!((applies.count(), applies.book.hold.is_none()), (70, true));
}

#[test]
fn a_protected_role_is_never_removed_until_a_person_says_so() {
    let mut target = Target::of(100);
    target.protected.insert("role:admin".into());
    assert_eq!(target.revoke(0..100).held, 0);
    assert_eq!((target.count(), target.book.held_count()), (100, 0));
    let out = Decision::Approve { plan: None, subjects: vec![subject(7).to_string()] };
    assert_eq!(target.decide(&out).unwrap().released, 1);
    assert!(!target.shown(7) && target.count() == 99);
    // Protection that ends (the user is deactivated) leaves the removal to the guard.
    target.protected.clear();
    assert_eq!(target.run().held, 99);
}

/// One step of random traffic.
#[derive(Debug, Clone)]
enum Step {
    Revoke(Vec<u8>),
    Grant(Vec<u8>),
    Wait(u16),
    Fail(Vec<u8>),
    Crash(Vec<u8>),
    Approve(usize),
    Out(u8),
    Reject(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let people = || proptest::collection::vec(0u8..60, 1..25);
    prop_oneof![
        4 => people().prop_map(Step::Revoke),
        2 => people().prop_map(Step::Grant),
        2 => (0u16..120).prop_map(Step::Wait),
        1 => people().prop_map(Step::Fail),
        1 => people().prop_map(Step::Crash),
        1 => (0usize..4).prop_map(Step::Approve),
        1 => (0u8..60).prop_map(Step::Out),
        1 => any::<bool>().prop_map(Step::Reject),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_no_held_removal_is_applied_and_no_approved_one_missed(
        steps in proptest::collection::vec(step(), 1..40)
    ) {
        let mut target = Target::of(60);
        let mut plans: Vec<String> = Vec::new();
        for step in steps {
            let before = target.book.clone();
            let mut released: BTreeSet<Key> = BTreeSet::new();
            match step {
                Step::Revoke(people) => { target.revoke(people); }
                Step::Grant(people) => { target.grant(people); }
                Step::Wait(minutes) => { target.wait(MINUTE * u32::from(minutes)); }
                // Judged, and the process died before the verdicts were stored.
                Step::Crash(people) => {
                    for n in people {
                        target.access.retain(|(who, _)| *who != subject(n));
                    }
                    target.judge();
                    target.book = before.clone();
                }
                // Judged, and the run broke off before anything was applied.
                Step::Fail(people) => {
                    for n in people {
                        target.access.retain(|(who, _)| *who != subject(n));
                    }
                    target.judge();
                }
                Step::Approve(back) => {
                    if let Some(plan) = plans.iter().rev().nth(back) {
                        let upto = before.plans.iter().find(|(hash, _)| hash == plan).map(|(_, n)| *n);
                        released = before.held()
                            .filter(|one| upto.is_some_and(|upto| one.batch <= upto))
                            .map(|one| (one.subject.clone(), one.entitlement.clone()))
                            .collect();
                        target.approve(&plan.clone());
                    }
                }
                Step::Out(n) => {
                    let out = Decision::Approve { plan: None, subjects: vec![subject(n).to_string()] };
                    if target.decide(&out).is_ok() {
                        released.extend(before.exceptions.keys().filter(|(who, _)| *who == subject(n)).cloned());
                    }
                }
                Step::Reject(window) => { let _nothing_held = target.decide(&Decision::Reject { plan: None, window }); }
            }
            plans.extend(target.book.plans.last().map(|(hash, _)| hash.clone()));
            // No approved one missed.
            for key in &released {
                prop_assert!(!target.holdings.contains(key) || target.access.contains(key));
            }
            // No held or rejected removal applied: what was kept is there still, unless it was released.
            for key in before.exceptions.keys().filter(|key| !released.contains(key)) {
                prop_assert!(target.holdings.contains(key), "{key:?} was kept and is gone");
            }
            // A person's no is never taken for held again, nor the other way round.
            for (key, old) in &before.exceptions {
                if let Some(new) = target.book.exceptions.get(key) {
                    prop_assert!(new.verdict == old.verdict || new.verdict == Verdict::Rejected);
                }
            }
            prop_assert!(target.book.held_count() == 0 || target.book.hold.is_some());
            prop_assert!(target.book.hold.as_ref().is_none_or(|hold| hold.urgent.len() <= 5));
            // Additions never wait on a hold, and when idle the target equals access and exceptions.
            target.run();
            let expected: BTreeSet<Key> =
                target.access.iter().chain(target.book.exceptions.keys()).cloned().collect();
            prop_assert_eq!(&target.holdings, &expected);
            // Judging again what was judged changes nothing.
            let book = target.book.clone();
            target.judge();
            prop_assert_eq!(&target.book, &book);
        }
    }
}

#[test]
fn a_persons_word_passes_a_hold_that_stands_counts_for_nothing_and_takes_out_who_was_kept() {
    let mut target = Target::of(100);
    assert_eq!(target.revoke(0..40).held, 40);
    let before = target.book.held_count();
    // Somebody held, somebody who has all access still, and more people than any budget.
    target.word.extend((30..70).map(subject));
    target.revoke(30..70);
    assert!((30..70).all(|n| !target.shown(n)), "out at once");
    assert_eq!(target.book.held_count(), before - 10, "the others are held as they were");
    assert!((0..30).all(|n| target.shown(n)));
    let hold = target.book.hold.as_ref().unwrap();
    assert!(hold.urgent.is_empty(), "no budget was used");
}

#[test]
fn a_persons_word_passes_reject_and_protection() {
    let mut target = Target::of(20);
    target.protected.insert("role:admin".into());
    assert_eq!(target.revoke([1]).held, 0);
    assert!(target.shown(1), "protected");
    target.word.insert(subject(1));
    target.run();
    assert!(!target.shown(1));

    let mut target = Target::of(20);
    target.revoke(0..15);
    target.decide(&Decision::Reject { plan: None, window: false }).unwrap();
    assert!(target.shown(3));
    target.word.insert(subject(3));
    target.run();
    assert!(!target.shown(3) && target.shown(4));
}

#[test]
fn what_nobody_asked_for_is_held_however_few_and_slows_down_nothing_else() {
    let mut target = Target::of(100);
    target.nobody.insert(subject(1));
    assert_eq!(target.revoke([1]).held, 1, "one is enough");
    assert!(target.shown(1));
    // Ordinary removals are judged as if that hold were not there: ten pass, by the limit of ten per cent.
    assert_eq!(target.revoke(2..12).held, 0);
    assert!((2..12).all(|n| !target.shown(n)));
    // Once the identity provider speaks of the user again, the removal is its own.
    target.nobody.clear();
    target.wait(Duration::from_hours(2));
    assert!(!target.shown(1), "a single deactivation");
    assert_eq!(target.book.hold, None);
}

#[test]
fn what_nobody_asked_for_goes_with_an_approved_plan_and_stays_with_a_reject() {
    let mut target = Target::of(100);
    target.nobody.extend([subject(1), subject(2)]);
    target.revoke([1, 2]);
    let plan = target.book.hash();
    assert_eq!(target.approve(&plan), 2);
    assert!(!target.shown(1) && !target.shown(2));

    let mut target = Target::of(100);
    target.nobody.insert(subject(1));
    target.revoke([1]);
    target.decide(&Decision::Reject { plan: None, window: false }).unwrap();
    target.run();
    assert!(target.shown(1));
    assert_eq!(target.book.held_count(), 0);
}
