//! Words that several layers share: ids, sequence numbers, time, secrets, who did it.
//!
//! No I/O, no async, no SCIM. Every type parses or refuses at its border, so that the layers above hold
//! values that are already right.

mod actor;
mod id;
mod secret;
mod seq;
mod slug;
mod time;
mod unix_id;

pub use actor::{Actor, Origin};
pub use id::{
    AdminName, DirectoryId, DirectoryKind, GrantId, IdError, RequestId, ResourceId, ResourceType, RoleName,
    Subject, TargetName, TokenId,
};
pub use secret::Secret;
pub use seq::{ChangeId, Epoch, EventId, Seq};
pub use slug::slug;
pub use time::{Clock, ManualClock, SystemClock, Timestamp};
pub use unix_id::{UnixIdOwner, UnixIdOwnerError, UnixIdWanted};
