//! What somebody who signed in may do.

use std::fmt;
use std::str::FromStr;

/// The roles of `[[admin.user]]`, each with everything the one before it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AdminRole {
    /// Reads everything that is no secret.
    View,
    /// Also runs, decides and repairs: sync, approve, reject, shut, grants, deliveries, reload.
    Operate,
    /// Also adds and takes away: directories, tokens, forgetting, import.
    Admin,
}

impl AdminRole {
    /// From the least.
    pub const ALL: [Self; 3] = [Self::View, Self::Operate, Self::Admin];

    /// As the config writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for AdminRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AdminRole {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or("a role is `view`, `operate` or `admin`")
    }
}
