//! Who is at the other end.

use std::net::IpAddr;

pub use stub::{AdminName, AdminRole, Refused, SignedIn, Users};

/// Where a request comes from, a trusted proxy's word already taken into account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visitor {
    /// The browser's address; `None` behind a unix socket.
    pub address: Option<IpAddr>,
    /// True if the browser speaks TLS, with us or with a trusted proxy.
    pub is_secure: bool,
}

/// What the admin API will bring.
#[expect(missing_docs, clippy::unused_async, reason = "stands in for the admin API's own")]
mod stub {
    use std::net::IpAddr;
    use std::sync::Arc;
    use std::time::Duration;

    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct AdminName(String);

    impl AdminName {
        pub fn parse(text: &str) -> Result<Self, std::convert::Infallible> {
            Ok(Self(text.to_owned()))
        }

        pub fn as_str(&self) -> &str {
            &self.0
        }
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum AdminRole {
        View,
        Operate,
        Admin,
    }

    impl AdminRole {
        pub fn as_str(self) -> &'static str {
            match self {
                Self::View => "view",
                Self::Operate => "operate",
                Self::Admin => "admin",
            }
        }
    }

    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct SignedIn {
        pub name: AdminName,
        pub role: AdminRole,
        pub stamp: [u8; 32],
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Refused {
        Wrong,
        Wait(Duration),
        Busy(Duration),
    }

    #[derive(Debug)]
    pub struct Users;

    impl Users {
        pub fn find(&self, _: &AdminName) -> Option<SignedIn> {
            None
        }

        pub async fn sign_in(
            self: &Arc<Self>,
            _: &str,
            _: &str,
            _: Option<IpAddr>,
        ) -> Result<SignedIn, Refused> {
            Err(Refused::Wrong)
        }
    }
}
