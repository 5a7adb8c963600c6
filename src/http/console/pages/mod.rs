//! The pages, a file each.

pub(super) mod activity;
pub(super) mod deliveries;
pub(super) mod directories;
pub(super) mod directory;
pub(super) mod docs;
pub(super) mod grants;
pub(super) mod groups;
pub(super) mod health;
pub(super) mod history;
pub(super) mod overview;
pub(super) mod plan;
pub(super) mod resource;
#[cfg(test)]
pub(super) mod samples;
pub(super) mod styleguide;
pub(super) mod target;
pub(super) mod targets;
pub(super) mod tokens;
pub(super) mod users;
mod view;
