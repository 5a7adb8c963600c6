//! The pages, a file each.

pub(super) mod activity;
pub(super) mod health;
pub(super) mod overview;
