//! One `reload` for all files of a batch: targets with the same command whose runs overlap share one running of it.
//!
//! A run enters before it reads anything and asks once its swap is recorded. The command starts when nobody who
//! entered or is about to is still on the way, or after [`GATHER`]; who asks while it runs waits for the next. Whether it is owed is
//! in the mirror, so a crash or a failure in here loses none.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::downstream::command::Argv;
use crate::downstream::file::{self, FileSpec, Via};
use crate::reconcile::settings::FileSettings;

/// Longest that a reload waits for other runs of its batch.
const GATHER: Duration = Duration::from_secs(1);

/// How soon a run must be due for a reload to wait for it.
const SOON: Duration = Duration::from_millis(50);

/// What came of a command: the error in words.
type Ended = Result<(), String>;

/// The reload commands of all targets.
#[derive(Debug, Default)]
pub(crate) struct Reloads {
    groups: Mutex<BTreeMap<Vec<String>, Group>>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Group {
    /// Runs under way that have not asked yet.
    coming: usize,
    /// Runs that a change has been promised, by number, and when they are due.
    expected: BTreeMap<u64, Instant>,
    last_expected: u64,
    is_running: bool,
    /// Times it was started.
    started: u64,
    /// The last time that ended, and how.
    ended: Option<(u64, Ended)>,
}

/// One run's part in its batch; dropped, it no longer keeps anybody waiting.
#[derive(Debug)]
pub(crate) struct Turn {
    reloads: Arc<Reloads>,
    key: Vec<String>,
    is_coming: bool,
}

/// A run to come, for those it shares a reload with; dropped once it has entered or will not come.
#[derive(Debug)]
pub(crate) struct Expected {
    reloads: Arc<Reloads>,
    key: Vec<String>,
    number: u64,
}

impl Drop for Expected {
    fn drop(&mut self) {
        if let Some(group) = self.reloads.groups().get_mut(&self.key) {
            group.expected.remove(&self.number);
        }
        self.reloads.changed.notify_all();
    }
}

impl Reloads {
    /// Says that a run of `file` is due at `due`; `None` without a reload command.
    pub(crate) fn expect(self: &Arc<Self>, file: &FileSettings, due: Instant) -> Option<Expected> {
        let key = key(file)?;
        let mut groups = self.groups();
        let group = groups.entry(key.clone()).or_default();
        group.last_expected += 1;
        let number = group.last_expected;
        group.expected.insert(number, due);
        drop(groups);
        Some(Expected { reloads: Arc::clone(self), key, number })
    }

    /// The part of a run of `file`; `None` without a reload command.
    pub(crate) fn enter(self: &Arc<Self>, file: &FileSettings) -> Option<Turn> {
        let key = key(file)?;
        self.groups().entry(key.clone()).or_default().coming += 1;
        Some(Turn { reloads: Arc::clone(self), key, is_coming: true })
    }

    fn groups(&self) -> MutexGuard<'_, BTreeMap<Vec<String>, Group>> {
        // Counters: one left by a panic costs at most a wait.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What makes commands the same.
fn key(file: &FileSettings) -> Option<Vec<String>> {
    if let Via::Installer { .. } = file.spec.via {
        // It knows the command, one for each target; no argument list is empty in front.
        return Some(vec![String::new(), file.spec.target.to_string()]);
    }
    let argv = file.reload.as_ref()?;
    let mut key = argv.words().to_vec();
    if argv.mentions_file() {
        // Each file's own command.
        key.push(file.spec.path.display().to_string());
    }
    Some(key)
}

impl Turn {
    /// Runs the command, or waits for the one that the batch shares. Blocking.
    pub(crate) fn reload(&mut self, argv: Option<&Argv>, spec: &FileSpec) -> Ended {
        self.share(|| {
            let output = file::reload(spec, argv).map_err(|error| error.to_string())?;
            let Some(output) = output.filter(|output| !output.is_success()) else { return Ok(()) };
            let text: String = output.text().trim().chars().take(300).collect();
            Err(format!("`reload` ended with {}: {text}", output.status))
        })
    }

    fn share(&mut self, run: impl FnOnce() -> Ended) -> Ended {
        let reloads = Arc::clone(&self.reloads);
        let until = Instant::now() + GATHER;
        let mut groups = reloads.groups();
        let group = groups.entry(self.key.clone()).or_default();
        // Under one lock: whoever starts because nobody is coming any more must count this one in.
        if std::mem::take(&mut self.is_coming) {
            group.coming = group.coming.saturating_sub(1);
        }
        // One that has started may have read the files before this one's swap.
        let mine = group.started + 1;
        reloads.changed.notify_all();
        loop {
            let group = groups.entry(self.key.clone()).or_default();
            if let Some((_, ended)) = group.ended.as_ref().filter(|(round, _)| *round >= mine) {
                return ended.clone();
            }
            let left = until.saturating_duration_since(Instant::now());
            let soon = Instant::now() + SOON;
            let is_alone = group.coming == 0 && !group.expected.values().any(|due| *due <= soon);
            if !group.is_running && (is_alone || left.is_zero()) {
                group.is_running = true;
                group.started += 1;
                let round = group.started;
                drop(groups);
                let ended = run();
                let mut groups = reloads.groups();
                let group = groups.entry(self.key.clone()).or_default();
                group.is_running = false;
                group.ended = Some((round, ended.clone()));
                drop(groups);
                reloads.changed.notify_all();
                return ended;
            }
            // While one runs its end is told; otherwise the time to gather bounds the wait.
            let wait = if group.is_running { GATHER } else { left };
            groups = reloads.changed.wait_timeout(groups, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn leave(&mut self) {
        if std::mem::take(&mut self.is_coming) {
            let mut groups = self.reloads.groups();
            if let Some(group) = groups.get_mut(&self.key) {
                group.coming = group.coming.saturating_sub(1);
            }
            drop(groups);
            self.reloads.changed.notify_all();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn turn(reloads: &Arc<Reloads>) -> Turn {
        let key = vec!["reload".to_owned()];
        reloads.groups().entry(key.clone()).or_default().coming += 1;
        Turn { reloads: Arc::clone(reloads), key, is_coming: true }
    }

    #[test]
    fn runs_that_overlap_share_one_command_and_its_outcome() {
        let reloads = Arc::new(Reloads::default());
        let ran = AtomicU32::new(0);
        let turns: Vec<Turn> = (0..8).map(|_| turn(&reloads)).collect();
        std::thread::scope(|scope| {
            let asked: Vec<_> = turns
                .into_iter()
                .map(|mut turn| {
                    let ran = &ran;
                    scope.spawn(move || {
                        turn.share(|| {
                            ran.fetch_add(1, Ordering::SeqCst);
                            Err("refused".to_owned())
                        })
                    })
                })
                .collect();
            for one in asked {
                assert_eq!(one.join().unwrap(), Err("refused".to_owned()));
            }
        });
        assert_eq!(ran.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn who_asks_while_it_runs_gets_one_of_its_own() {
        let reloads = Arc::new(Reloads::default());
        let (mut first, mut second) = (turn(&reloads), None);
        let late = &mut second;
        first
            .share(|| {
                *late = Some(turn(&reloads));
                Ok(())
            })
            .unwrap();
        let mut ran = false;
        second
            .unwrap()
            .share(|| {
                ran = true;
                Ok(())
            })
            .unwrap();
        assert!(ran);
    }

    #[test]
    fn a_run_that_is_due_is_waited_for_and_one_that_is_not_is_not() {
        let reloads = Arc::new(Reloads::default());
        let mut asks = turn(&reloads);
        let expect = |number: u64, due: Instant| {
            reloads.groups().entry(asks.key.clone()).or_default().expected.insert(number, due);
            Expected { reloads: Arc::clone(&reloads), key: asks.key.clone(), number }
        };
        let _far = expect(1, Instant::now() + Duration::from_hours(1));
        let near = expect(2, Instant::now());
        let has_left = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let has_left = &has_left;
            scope.spawn(move || {
                std::thread::yield_now();
                has_left.store(true, Ordering::SeqCst);
                drop(near);
            });
            asks.share(|| {
                assert!(has_left.load(Ordering::SeqCst));
                Ok(())
            })
            .unwrap();
        });
    }

    #[test]
    fn a_run_that_ends_without_asking_keeps_nobody_waiting() {
        let reloads = Arc::new(Reloads::default());
        let (mut asks, gives_up) = (turn(&reloads), turn(&reloads));
        drop(gives_up);
        assert_eq!(reloads.groups().values().next().unwrap().coming, 1);
        asks.share(|| Ok(())).unwrap();
    }
}
