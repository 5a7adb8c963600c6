//! The console as the admin listener sees it.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use hyper::Method;
use hyper::http::request::Parts;

use super::{Console, Visitor};
use crate::http::admin::{Session, Site, Visit};
use crate::http::admin_api::Caller;
use crate::http::answer::Answer;

impl Site for Console {
    fn answer<'a>(&'a self, visit: Visit<'a>) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>> {
        Box::pin(async move {
            let visitor = Visitor { address: visit.address, is_secure: visit.secure };
            self.answer(visit.head, &visit.body, visitor).await
        })
    }

    fn session(&self, head: &Parts, address: Option<IpAddr>) -> Session {
        let Some((key, user)) = self.session_of(&head.headers) else { return Session::None };
        let reads = head.method == Method::GET || head.method == Method::HEAD;
        if reads || self.is_from_page(&head.headers, key) {
            Session::Of(Caller::User { name: user.name, role: user.role, address })
        } else {
            Session::Unproven(user.role)
        }
    }
}
