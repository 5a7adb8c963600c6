//! Keeps every target true: compares what it should hold with what it holds, and closes the gap.
//!
//! Level-triggered: a change, a schedule, a drift or an operator only wakes a target; the run then reads one
//! snapshot and compares states, so a lost wake-up, a crash or a restart delays and never loses. Each target is a
//! task of its own; one that fails or hangs never delays another. Must not know HTTP routes, TOML or argv of ours.
//!
//! INVARIANTS: wanted = access + exceptions. A verdict on a removal is stored before the removal is acted upon. What must survive a crash (applied seq, holding, exceptions, "swapped,
//! reload pending", the webhook cursor and deliveries) is in the mirror before it is acted upon or before the act is
//! called done. A directory nobody has pushed to prunes nothing.

mod about;
mod deadlines;
mod explain;
mod file;
mod handle;
mod held;
mod latency;
mod offline;
mod pulse;
mod questions;
mod record;
mod restored;
mod settings;
mod shelf;
mod snapshot;
mod status;
mod task;
mod verify;

pub mod event;
pub mod guard;
pub mod manage;
pub mod plan;
pub mod pull;
pub mod timing;
pub mod webhook;

pub use about::{About, about};
pub use explain::AtTarget;
pub use file::look::Evidence;
pub use file::pin::NoVersion;
pub use file::present::{DiffLine, Member, Presented, Shown as ShownFile};
pub use guard::book::{Book, Decided, Decision, Hold, Refused};
pub use handle::{Error, Reconciler};
pub use held::{Held, HeldLine, HeldPerson, Limits, Scope as HeldScope};
pub use latency::{Late, Unenforced};
pub use offline::{decide_offline, deliver_offline, held_offline, plan_offline, present_offline};
pub use plan::Plan;
pub use settings::{
    Apply, BATCH_EVENTS_MAX, Batch, CONCURRENCY, DirectorySettings, Drift, Each, FileSettings, NameKey,
    NamePattern, OnIllegal, Ordering, POLL_DEFAULT, Part, Publish, Sending, Settings, Shape, TargetKind,
    TargetSettings, Tree, WebhookSettings,
};
pub use shelf::{Edition, Shelf, Shown};
pub use status::{DecisionReport, State, SyncReport, TargetStatus, Traffic};
pub use verify::{Bytes, TargetVerified, verify_offline};
pub use webhook::command::{DeliveryOrder, DeliveryRefused, DeliveryReport, ReplayFrom};
