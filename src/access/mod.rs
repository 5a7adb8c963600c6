//! Who holds what, and why: facts and roles in, entitlements with their reasons and problems out.
//!
//! Pure: no I/O, no clock, no async, no SQL. It never fails: one bad name costs one subject, and the rest stands
//! (DESIGN §1, §6.3, §6.5). INVARIANT: the result depends on the arguments only, never on the order in which
//! users, groups or members arrive; the order of [`Facts::directories`] alone carries meaning (precedence).

mod closure;
mod compute;
mod entitlement;
mod explain;
mod facts;
mod name;
mod problem;
mod resolve;
mod role;
mod view;

pub use compute::{Access, LeftOut, Reason, access};
pub use entitlement::{Entitlement, EntitlementError};
pub use explain::{Explanation, UNCONFIRMED, explain, path_text, say, shut_text};
pub use facts::{DirectoryFacts, Doc, Facts, Grant, GroupFacts, Release, Shut, UserFacts};
pub use name::{AttributePath, Fold, SubjectAttribute, SubjectAttributeError};
pub use problem::Problem;
pub use resolve::{BindingKey, Bindings, Bound};
pub use role::{GroupRule, OnRename, Role, RoleError, UserFilter};
pub use view::{Exception, Verdict, View, ViewGroup, ViewInput, ViewRole, ViewUser, view};
