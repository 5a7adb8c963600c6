//! The admin API: JSON below `/api/v1`, over the admin socket and in process.
//!
//! One function, [`handle`], answers every request; the socket server and commands that open the mirror
//! themselves both call it, so that there is one set of rules and one set of JSON shapes.

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// A process on the admin socket, by its user id.
    Peer(u32),
    /// The command itself, having opened the mirror: the operating system has decided already.
    InProcess(u32),
}

/// An answer: a status and a JSON document (`Null` for an empty body).
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The document; for an error `{"error":{"message","hint"}}`.
    pub body: serde_json::Value,
}
