//! The pages, a file each.

pub(super) mod deliveries;
pub(super) mod grants;
pub(super) mod health;
pub(super) mod history;
pub(super) mod overview;
pub(super) mod plan;
#[cfg(test)]
pub(super) mod samples;
pub(super) mod styleguide;
pub(super) mod target;
pub(super) mod targets;
mod view;
