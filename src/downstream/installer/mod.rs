//! The installer for destinations that belong to root (DESIGN §6.9): what the daemon and the root process say to each
//! other, and what root's own config bounds.
//!
//! The daemon never runs as root. A second, tiny process of the same binary (`rosterd installer`) does, and takes from
//! the daemon nothing but *which* target, *which* member of a tree, and bytes. Paths, owners, modes, commands and what
//! may stand in a file come from `/etc/rosterd/installer.toml`, which only root can write.
//!
//! # The protocol, version 1
//!
//! A stream socket in the file system. One connection carries one request:
//!
//! 1. The installer greets: a frame with [`wire::Greeting`], holding its version and a `session` made at random for
//!    this connection. To a peer that is not the daemon's user (`SO_PEERCRED`) it says `refused` and hangs up.
//! 2. The daemon sends a frame with one [`wire::Request`] that repeats the `session`, so that what was recorded on
//!    one connection means nothing on another; behind the frame of an `apply` stand its bytes, as many as it said.
//! 3. The installer sends a frame with one [`wire::Answer`] and hangs up.
//!
//! A frame is its length as four bytes, the highest first, then that much JSON. Requests with a field that this
//! version does not know, with a length beyond the target's, or that come slower than [`wire::REQUEST_TIME_MAX`] are
//! refused. Answers may gain fields.
//!
//! INVARIANT: no path, owner, mode or argument list ever travels from the daemon to the installer.
//!
//! - [`wire`]: the frames; [`client`]: the daemon's side; [`settings`]: what `installer.toml` says;
//! - [`member`]: which names a tree may hold; [`bounds`]: what may stand in a file.

pub mod bounds;
pub mod client;
pub mod member;
pub mod settings;
pub mod wire;
