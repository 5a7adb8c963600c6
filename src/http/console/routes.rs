//! Which page answers what. One row each: method, pattern, least role, function. `{name}` stands for one part of the
//! path, which the page reads with `call.part("name")`.

use std::future::Future;
use std::pin::Pin;

use hyper::Method;
use percent_encoding::percent_decode_str;

use super::call::{Call, Fault, Shown};
use super::pages::{
    activity, deliveries, directories, directory, docs, grants, groups, health, history, overview, plan,
    styleguide, target, targets, tokens, users,
};
use crate::http::admin_api::AdminRole;

/// A page at work.
pub(super) type Showing<'a> = Pin<Box<dyn Future<Output = Result<Shown, Fault>> + Send + 'a>>;

/// One row.
#[derive(Clone, Copy)]
pub(super) struct Page {
    /// `GET` (and `HEAD`) or `POST`. A POST is asked for the form's token before its function runs.
    pub(super) method: &'static str,
    /// The pattern.
    pub(super) path: &'static str,
    /// Who may.
    pub(super) least: AdminRole,
    /// What answers.
    pub(super) show: for<'a, 'b> fn(&'a Call<'b>) -> Showing<'a>,
}

macro_rules! page {
    ($method:ident $path:literal $least:ident $show:path) => {
        Page {
            method: stringify!($method),
            path: $path,
            least: AdminRole::$least,
            show: |call| Box::pin($show(call)),
        }
    };
}

/// Every page.
pub(super) const PAGES: &[Page] = &[
    page!(GET "/" View overview::show),
    page!(GET "/overview/now" View overview::now),
    page!(GET "/health" View health::show),
    page!(GET "/styleguide" View styleguide::show),
    // Directory services, users, groups.
    page!(GET "/directories" View directories::list),
    page!(GET "/now/directories" View directories::now),
    page!(GET "/add-directory" Admin directories::form),
    page!(POST "/add-directory" Admin directories::add),
    page!(GET "/directories/{id}" View directory::show),
    page!(GET "/directories/{id}/now" View directory::now),
    page!(GET "/directories/{id}/guide" View directory::guide),
    page!(GET "/directories/{id}/rename" Admin directory::rename_form),
    page!(POST "/directories/{id}/rename" Admin directory::rename),
    page!(GET "/directories/{id}/disable" Admin directory::disable_form),
    page!(POST "/directories/{id}/disable" Admin directory::disable),
    page!(GET "/directories/{id}/enable" Admin directory::enable_form),
    page!(POST "/directories/{id}/enable" Admin directory::enable),
    page!(GET "/directories/{id}/rebaseline" Operate directory::rebaseline_form),
    page!(POST "/directories/{id}/rebaseline" Operate directory::rebaseline),
    page!(GET "/directories/{id}/remove" Admin directory::remove_form),
    page!(POST "/directories/{id}/remove" Admin directory::remove),
    page!(GET "/directories/{id}/tokens/new" Admin tokens::form),
    page!(POST "/directories/{id}/tokens/new" Admin tokens::create),
    page!(GET "/directories/{id}/tokens/{token}/revoke" Admin tokens::revoke_form),
    page!(POST "/directories/{id}/tokens/{token}/revoke" Admin tokens::revoke),
    page!(GET "/users" View users::list),
    page!(GET "/users/{id}" View users::show),
    page!(GET "/users/{id}/access" View users::access),
    page!(GET "/users/{id}/history" View users::history),
    page!(GET "/users/{id}/shut" Operate users::shut_form),
    page!(POST "/users/{id}/shut" Operate users::shut),
    page!(GET "/users/{id}/open" Operate users::open_form),
    page!(POST "/users/{id}/open" Operate users::open),
    page!(GET "/users/{id}/grant" Operate users::grant_form),
    page!(POST "/users/{id}/grant" Operate users::grant),
    page!(GET "/groups" View groups::list),
    page!(GET "/groups/{id}" View groups::show),
    page!(GET "/groups/{id}/history" View groups::history),
    page!(GET "/docs" View docs::list),
    page!(GET "/docs/{name}" View docs::show),
    // Targets, plans, deliveries, history, grants.
    page!(GET "/targets" View targets::show),
    page!(GET "/targets/now" View targets::now),
    page!(GET "/targets/{name}" View target::show),
    page!(GET "/targets/{name}/now" View target::now),
    page!(GET "/targets/{name}/file" View target::file),
    page!(GET "/targets/{name}/plan" View plan::show),
    page!(POST "/targets/{name}/plan" Operate plan::ask),
    page!(POST "/targets/{name}/approve" Operate plan::approve),
    page!(POST "/targets/{name}/reject" Operate plan::reject),
    page!(GET "/targets/{name}/{order}" Operate target::ask),
    page!(POST "/targets/{name}/sync" Operate target::sync),
    page!(POST "/targets/{name}/adopt" Operate target::adopt),
    page!(POST "/targets/{name}/rollback" Operate target::roll_back),
    page!(POST "/targets/{name}/unpin" Operate target::unpin),
    page!(POST "/targets/{name}/restored" Operate target::restored),
    page!(POST "/targets/{name}/forget" Admin target::forget),
    page!(GET "/deliveries" View deliveries::show),
    page!(GET "/deliveries/{target}/{event}" View deliveries::one),
    page!(POST "/deliveries/{target}/{event}/retry" Operate deliveries::retry),
    page!(GET "/deliveries/{target}/{event}/skip" Operate deliveries::ask_skip),
    page!(POST "/deliveries/{target}/{event}/skip" Operate deliveries::skip),
    page!(GET "/deliveries/{target}/resume" Operate deliveries::ask_resume),
    page!(GET "/deliveries/{target}/replay" Operate deliveries::ask_replay),
    page!(GET "/deliveries/{target}/snapshot" Operate deliveries::ask_snapshot),
    page!(POST "/deliveries/{target}/resume" Operate deliveries::resume),
    page!(POST "/deliveries/{target}/replay" Operate deliveries::replay),
    page!(POST "/deliveries/{target}/snapshot" Operate deliveries::snapshot),
    page!(GET "/history" View history::show),
    page!(GET "/access" View history::access),
    page!(GET "/diff" View history::diff),
    page!(GET "/grants" View grants::show),
    page!(POST "/grants" Operate grants::grant),
    page!(GET "/grants/{id}/revoke" Operate grants::ask_revoke),
    page!(POST "/grants/{id}/revoke" Operate grants::revoke),
    page!(GET "/shut" Operate grants::ask_shut),
    page!(POST "/shut" Operate grants::shut),
    page!(GET "/shut/open" Operate grants::ask_open),
    page!(POST "/shut/open" Operate grants::open),
    // Activity.
    page!(GET "/activity" View activity::show),
    page!(GET "/activity/now" View activity::now),
    page!(GET "/activity/trace" View activity::trace),
    page!(POST "/activity/bodies" Operate activity::record),
    page!(POST "/activity/bodies/stop" Operate activity::stop),
    page!(GET "/activity/{id}" View activity::one),
];

/// An entry of the navigation.
pub(super) struct Entry {
    /// Where it leads.
    pub(super) path: &'static str,
    /// What it is called.
    pub(super) label: &'static str,
    /// Other first parts of paths that belong to it.
    pub(super) also: &'static [&'static str],
}

/// The navigation, in order. What has no page yet is left out by itself.
pub(super) const NAVIGATION: &[Entry] = &[
    Entry { path: "/", label: "Overview", also: &[] },
    Entry { path: "/directories", label: "Directory services", also: &["add-directory"] },
    Entry { path: "/users", label: "Users", also: &[] },
    Entry { path: "/groups", label: "Groups", also: &[] },
    Entry { path: "/targets", label: "Targets", also: &["plan"] },
    Entry { path: "/deliveries", label: "Deliveries", also: &[] },
    Entry { path: "/grants", label: "Grants & shuts", also: &["shut"] },
    Entry { path: "/history", label: "History", also: &["access", "diff"] },
    Entry { path: "/activity", label: "Activity", also: &[] },
    Entry { path: "/health", label: "Health", also: &[] },
];

impl Entry {
    /// Whether the page at `path` belongs to it.
    pub(super) fn holds(&self, path: &str) -> bool {
        let first =
            |path: &str| path.trim_start_matches('/').split('/').next().unwrap_or_default().to_owned();
        let asked = first(path);
        asked == first(self.path) || self.also.contains(&asked.as_str())
    }
}

/// What the path's named parts were.
pub(super) type Parts = Vec<(&'static str, String)>;

/// What answers a request, or the methods that would be answered there.
pub(super) enum Found {
    Page(&'static Page, Parts),
    Other(Vec<&'static str>),
    Nothing,
}

/// Finds the page. A pattern without named parts goes before one with them.
pub(super) fn find(method: &Method, path: &str) -> Found {
    let wanted = if method == Method::HEAD { "GET" } else { method.as_str() };
    let mut matching: Vec<(&Page, Parts)> =
        PAGES.iter().filter_map(|page| parts(page.path, path).map(|parts| (page, parts))).collect();
    matching.sort_by_key(|(_, parts)| parts.len());
    if let Some((page, parts)) = matching.iter().find(|(page, _)| page.method == wanted) {
        return Found::Page(page, parts.clone());
    }
    if matching.is_empty() {
        return Found::Nothing;
    }
    let mut methods: Vec<&str> = matching.iter().map(|(page, _)| page.method).collect();
    methods.sort_unstable();
    methods.dedup();
    Found::Other(methods)
}

/// Whether a GET of `path` is answered by a page.
pub(super) fn is_page(path: &str) -> bool {
    matches!(find(&Method::GET, path), Found::Page(..))
}

fn parts(pattern: &'static str, path: &str) -> Option<Parts> {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    let mut found = Vec::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(found),
            (Some(wanted), Some(given)) => {
                match wanted.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                    Some(name) if !given.is_empty() => {
                        let given = percent_decode_str(given).decode_utf8().ok()?;
                        found.push((name, given.into_owned()));
                    }
                    None if wanted == given => {}
                    _ => return None,
                }
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod role_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_matched_part_by_part() {
        assert_eq!(parts("/users/{id}", "/users/a%2Fb"), Some(vec![("id", "a/b".to_owned())]));
        assert_eq!(parts("/users/{id}", "/users/"), None);
        assert_eq!(parts("/users/{id}", "/users"), None);
        assert_eq!(parts("/users/{id}", "/users/a/b"), None);
        assert_eq!(parts("/", "/"), Some(vec![]));
        assert!(matches!(find(&Method::POST, "/"), Found::Other(methods) if methods == ["GET"]));
        assert!(matches!(find(&Method::HEAD, "/"), Found::Page(..)));
        assert!(matches!(find(&Method::GET, "/nothing/here"), Found::Nothing));
    }

    #[test]
    fn no_row_stands_twice_and_every_entry_that_has_a_page_is_plain() {
        let mut rows: Vec<_> = PAGES.iter().map(|page| (page.method, page.path)).collect();
        rows.sort_unstable();
        let all = rows.len();
        rows.dedup();
        assert_eq!(rows.len(), all);
        assert!(PAGES.iter().all(|page| matches!(page.method, "GET" | "POST")));
        assert!(PAGES.iter().all(|page| page.method == "GET" || page.least >= AdminRole::Operate));
    }
}
