//! The pages, a file each.

pub(super) mod overview;
