//! The pages, a file each.

pub(super) mod activity;
pub(super) mod directories;
pub(super) mod directory;
pub(super) mod docs;
pub(super) mod groups;
pub(super) mod health;
pub(super) mod overview;
pub(super) mod resource;
pub(super) mod styleguide;
pub(super) mod tokens;
pub(super) mod users;
