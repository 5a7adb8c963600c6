//! The table of pages, held to what each role may: by a list of its own, and by what each page answers.

use hyper::header::COOKIE;
use hyper::{Method, Request};

use super::*;
use crate::http::admin::tests::{state, user};
use crate::http::admin_api::{AdminName, Users};
use crate::http::console::{Console, Visitor, csrf};
use crate::http::testing::Store;
use std::sync::Arc;

/// Pages that look at something. None of them changes anything.
const VIEW: &[&str] = &[
    "GET /",
    "GET /overview/now",
    "GET /health",
    "GET /styleguide",
    "GET /directories",
    "GET /now/directories",
    "GET /directories/{id}",
    "GET /directories/{id}/now",
    "GET /directories/{id}/guide",
    "GET /users",
    "GET /users/{id}",
    "GET /users/{id}/access",
    "GET /users/{id}/history",
    "GET /groups",
    "GET /groups/{id}",
    "GET /groups/{id}/history",
    "GET /docs",
    "GET /docs/{name}",
    "GET /targets",
    "GET /targets/now",
    "GET /targets/{name}",
    "GET /targets/{name}/now",
    "GET /targets/{name}/file",
    "GET /targets/{name}/plan",
    "GET /deliveries",
    "GET /deliveries/{target}/{event}",
    "GET /history",
    "GET /access",
    "GET /diff",
    "GET /grants",
    "GET /activity",
    "GET /activity/now",
    "GET /activity/trace",
    "GET /activity/{id}",
];

/// Pages that run, decide and repair, and the questions before them.
const OPERATE: &[&str] = &[
    "GET /directories/{id}/rebaseline",
    "POST /directories/{id}/rebaseline",
    "GET /users/{id}/shut",
    "POST /users/{id}/shut",
    "GET /users/{id}/open",
    "POST /users/{id}/open",
    "GET /users/{id}/grant",
    "POST /users/{id}/grant",
    "POST /targets/{name}/plan",
    "POST /targets/{name}/approve",
    "POST /targets/{name}/reject",
    "GET /targets/{name}/{order}",
    "POST /targets/{name}/sync",
    "POST /targets/{name}/adopt",
    "POST /targets/{name}/rollback",
    "POST /targets/{name}/unpin",
    "POST /targets/{name}/restored",
    "POST /deliveries/{target}/{event}/retry",
    "GET /deliveries/{target}/{event}/skip",
    "POST /deliveries/{target}/{event}/skip",
    "GET /deliveries/{target}/resume",
    "GET /deliveries/{target}/replay",
    "GET /deliveries/{target}/snapshot",
    "POST /deliveries/{target}/resume",
    "POST /deliveries/{target}/replay",
    "POST /deliveries/{target}/snapshot",
    "POST /grants",
    "GET /grants/{id}/revoke",
    "POST /grants/{id}/revoke",
    "GET /shut",
    "POST /shut",
    "GET /shut/open",
    "POST /shut/open",
    "POST /activity/bodies",
    "POST /activity/bodies/stop",
];

/// Pages that add and take away.
const ADMIN: &[&str] = &[
    "GET /add-directory",
    "POST /add-directory",
    "GET /directories/{id}/rename",
    "POST /directories/{id}/rename",
    "GET /directories/{id}/disable",
    "POST /directories/{id}/disable",
    "GET /directories/{id}/enable",
    "POST /directories/{id}/enable",
    "GET /directories/{id}/remove",
    "POST /directories/{id}/remove",
    "GET /directories/{id}/tokens/new",
    "POST /directories/{id}/tokens/new",
    "GET /directories/{id}/tokens/{token}/revoke",
    "POST /directories/{id}/tokens/{token}/revoke",
    "POST /targets/{name}/forget",
];

#[test]
fn each_page_asks_for_the_role_that_its_doing_takes() {
    let lists = [(AdminRole::View, VIEW), (AdminRole::Operate, OPERATE), (AdminRole::Admin, ADMIN)];
    let mut wanted: Vec<(String, AdminRole)> =
        lists.iter().flat_map(|(role, pages)| pages.iter().map(|page| ((*page).to_owned(), *role))).collect();
    let mut found: Vec<(String, AdminRole)> =
        PAGES.iter().map(|page| (format!("{} {}", page.method, page.path), page.least)).collect();
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted, "a page without a role in these lists, or with another one");
}

/// The page itself refuses, before anything is asked of the API in somebody's name.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_refused_by_its_row_to_the_role_below_its_own() {
    let store = Store::new();
    let password = "a password that is long";
    let users: Vec<_> = AdminRole::ALL.map(|role| user(role.as_str(), role, password)).into();
    let users = Arc::new(Users::new(&users));
    let console = Console::new(state(&store), Arc::clone(&users)).unwrap();
    let visitor = Visitor { address: None, is_secure: false };
    let mut refused = 0;
    for role in AdminRole::ALL {
        let signed_in = users.find(&AdminName::parse(role.as_str()).unwrap()).unwrap();
        let now = console.state.mirror.now();
        let cookie = console.sessions.begin(signed_in, false, now).unwrap();
        let (key, _) = console.sessions.find(&cookie, false, now, true, |_| true).unwrap();
        let form = format!("{}={}", csrf::FIELD, console.forms.token(Some(key)));
        for page in PAGES {
            let path = page.path.replace(['{', '}'], "");
            let method = Method::from_bytes(page.method.as_bytes()).unwrap();
            let request =
                Request::builder().method(method).uri(&path).header("sec-fetch-site", "same-origin");
            let request = request.header(COOKIE, format!("rosterd={cookie}")).body(()).unwrap();
            let answer = console.answer(&request.into_parts().0, form.as_bytes(), visitor).await;
            let said = String::from_utf8_lossy(&answer.body).into_owned();
            let is_refused = said.contains("may look at this but not do it");
            assert_eq!(is_refused, role < page.least, "{role} {} {path}: {}", page.method, answer.status);
            if is_refused {
                assert_eq!(answer.status, 403, "{path}");
                assert!(
                    said.contains(&format!("it takes `{}`", page.least))
                        || said.contains(page.least.as_str())
                );
                refused += 1;
            }
        }
    }
    assert_eq!(refused, OPERATE.len() + 2 * ADMIN.len());
}
