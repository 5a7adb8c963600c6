//! The pages, a file each.

pub(super) mod activity;
pub(super) mod overview;
