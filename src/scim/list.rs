//! Queries: the parameters of a list (RFC 7644 §3.4.2) and of a search (§3.4.3), and the list answer.
//!
//! Parameters that no RFC names are ignored: identity providers put feature flags into the tenant URL.

use std::io::Write as _;
use std::num::IntErrorKind;

use serde_json::Value;

use super::error::Error;
use super::projection::Projection;

/// The URN of a list answer (RFC 7644 §3.4.2).
pub const LIST_RESPONSE_URN: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";
/// The URN of a search request (RFC 7644 §3.4.3).
pub const SEARCH_REQUEST_URN: &str = "urn:ietf:params:scim:api:messages:2.0:SearchRequest";

/// Bounds on a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Resources in a page where the client names no count. Default 100.
    pub count_default: u64,
    /// Most resources in a page. Default 1,000.
    pub count_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { count_default: 100, count_max: 1_000 }
    }
}

/// By what a list is sorted (RFC 7644 §3.4.2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sort {
    /// The attribute path as sent.
    pub path: String,
    /// True for `sortOrder` descending. Default ascending.
    pub descending: bool,
}

/// Which page of a list (RFC 7644 §3.4.2.4, RFC 9865).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Paging {
    /// By number.
    Index {
        /// The first resource's number, from 1.
        start_index: u64,
        /// Most resources in the page; 0 asks for `totalResults` alone.
        count: u64,
    },
    /// By cursor.
    Cursor {
        /// Where to go on, as an earlier page said; none for the first page.
        cursor: Option<String>,
        /// Most resources in the page, from 1.
        count: u64,
    },
}

impl Paging {
    /// Most resources in the page.
    pub fn count(&self) -> u64 {
        match self {
            Self::Index { count, .. } | Self::Cursor { count, .. } => *count,
        }
    }
}

/// A query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRequest {
    /// The filter's text, not yet parsed.
    pub filter: Option<String>,
    /// By what the list is sorted.
    pub sort: Option<Sort>,
    /// Which page.
    pub paging: Paging,
    /// Which attributes the answer shows.
    pub projection: Projection,
}

/// The parameters as they come, before they mean anything.
#[derive(Default)]
struct Raw {
    filter: Option<String>,
    sort_by: Option<String>,
    sort_order: Option<String>,
    start_index: Option<i64>,
    count: Option<i64>,
    cursor: Option<String>,
    attributes: Vec<String>,
    excluded: Vec<String>,
}

impl ListRequest {
    /// From the decoded pairs of a query string. Names are taken in any letter case; a parameter without a value
    /// counts as not given, but for `cursor`, where that asks for the first page, and `filter`.
    ///
    /// # Errors
    /// `invalidFilter`: a filter that is empty or given twice. `invalidValue`: a number that is none, an unknown
    /// sort order, parameters that exclude each other. `invalidCount`: RFC 9865's, with a cursor.
    pub fn from_query<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let mut raw = Raw::default();
        for (name, value) in pairs {
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            if is("filter") {
                if raw.filter.replace(value.to_owned()).is_some() {
                    return Err(Error::invalid_filter("`filter` is given twice"));
                }
            } else if is("cursor") {
                raw.cursor = Some(value.to_owned());
            } else if value.trim().is_empty() {
            } else if is("sortBy") {
                raw.sort_by = Some(value.to_owned());
            } else if is("sortOrder") {
                raw.sort_order = Some(value.to_owned());
            } else if is("startIndex") {
                raw.start_index = Some(number("startIndex", value)?);
            } else if is("count") {
                raw.count = Some(number("count", value)?);
            } else if is("attributes") {
                raw.attributes.extend(names(value));
            } else if is("excludedAttributes") {
                raw.excluded.extend(names(value));
            }
        }
        raw.finish(limits)
    }

    /// From the body of a POST to `.search`. Names are taken in any letter case, null counts as not given.
    ///
    /// # Errors
    /// As [`ListRequest::from_query`]; `invalidSyntax` for what is not an object of the RFC's types.
    pub fn from_search(body: Value, limits: &Limits) -> Result<Self, Error> {
        let Value::Object(body) = body else {
            return Err(Error::invalid_syntax("the search request must be a JSON object"));
        };
        let mut raw = Raw::default();
        for (name, value) in body {
            if value.is_null() {
                continue;
            }
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            if is("filter") {
                if raw.filter.replace(text("filter", value)?).is_some() {
                    return Err(Error::invalid_filter("`filter` is given twice"));
                }
            } else if is("cursor") {
                raw.cursor = Some(text("cursor", value)?);
            } else if is("sortBy") {
                raw.sort_by = Some(text("sortBy", value)?);
            } else if is("sortOrder") {
                raw.sort_order = Some(text("sortOrder", value)?);
            } else if is("startIndex") {
                raw.start_index = Some(json_number("startIndex", &value)?);
            } else if is("count") {
                raw.count = Some(json_number("count", &value)?);
            } else if is("attributes") {
                raw.attributes = name_list("attributes", value)?;
            } else if is("excludedAttributes") {
                raw.excluded = name_list("excludedAttributes", value)?;
            }
        }
        raw.finish(limits)
    }
}

impl Raw {
    fn finish(self, limits: &Limits) -> Result<ListRequest, Error> {
        if self.filter.as_ref().is_some_and(|filter| filter.trim().is_empty()) {
            return Err(Error::invalid_filter("the filter is empty; leave `filter` out to list everything"));
        }
        let order = self.sort_order.as_deref().map(str::trim).filter(|order| !order.is_empty());
        let descending = match order {
            None => false,
            Some(order) if order.eq_ignore_ascii_case("ascending") => false,
            Some(order) if order.eq_ignore_ascii_case("descending") => true,
            Some(_) => return Err(Error::invalid_value("`sortOrder` must be ascending or descending")),
        };
        let sort = self
            .sort_by
            .map(|path| path.trim().to_owned())
            .filter(|path| !path.is_empty())
            .map(|path| Sort { path, descending });
        let paging = match self.cursor {
            Some(cursor) => cursor_paging(cursor, self.start_index, self.count, limits)?,
            None => Paging::Index {
                // RFC 7644 §3.4.2.4: less than 1 is 1, a negative count is 0.
                start_index: u64::try_from(self.start_index.unwrap_or(1)).unwrap_or(1).max(1),
                count: self
                    .count
                    .map_or(limits.count_default, |count| u64::try_from(count).unwrap_or(0))
                    .min(limits.count_max),
            },
        };
        Ok(ListRequest {
            filter: self.filter,
            sort,
            paging,
            projection: Projection::from_names(self.attributes, self.excluded)?,
        })
    }
}

/// RFC 9865 §2: an empty cursor asks for the first page; the count is from 1 to the page's limit.
fn cursor_paging(
    cursor: String,
    start_index: Option<i64>,
    count: Option<i64>,
    limits: &Limits,
) -> Result<Paging, Error> {
    if start_index.is_some() {
        return Err(Error::invalid_value("`startIndex` and `cursor` exclude each other; send one of them"));
    }
    let count = match count {
        None => limits.count_default.min(limits.count_max),
        Some(count) => u64::try_from(count)
            .ok()
            .filter(|count| (1..=limits.count_max).contains(count))
            .ok_or_else(|| {
                Error::invalid_count(format!("with a cursor `count` must be from 1 to {}", limits.count_max))
            })?,
    };
    Ok(Paging::Cursor { cursor: Some(cursor).filter(|cursor| !cursor.is_empty()), count })
}

fn names(list: &str) -> impl Iterator<Item = String> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned)
}

/// A whole number of any size; what does not fit counts as the largest or smallest.
fn number(name: &str, text: &str) -> Result<i64, Error> {
    match text.trim().parse::<i64>() {
        Ok(number) => Ok(number),
        Err(error) => match error.kind() {
            IntErrorKind::PosOverflow => Ok(i64::MAX),
            IntErrorKind::NegOverflow => Ok(i64::MIN),
            _ => Err(Error::invalid_value(format!("`{name}` must be a whole number"))),
        },
    }
}

fn json_number(name: &str, value: &Value) -> Result<i64, Error> {
    match value {
        Value::Number(value) if value.is_i64() => Ok(value.as_i64().unwrap_or_default()),
        Value::Number(value) if value.is_u64() => Ok(i64::MAX),
        Value::String(text) => number(name, text),
        _ => Err(Error::invalid_value(format!("`{name}` must be a whole number"))),
    }
}

fn text(name: &str, value: Value) -> Result<String, Error> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(Error::invalid_syntax(format!("`{name}` must be a string"))),
    }
}

/// An array of names, or what a query string would have.
fn name_list(name: &str, value: Value) -> Result<Vec<String>, Error> {
    match value {
        Value::String(text) => Ok(names(&text).collect()),
        Value::Array(items) => {
            let mut found = Vec::with_capacity(items.len());
            for item in items {
                found.extend(names(&text(name, item)?));
            }
            Ok(found)
        }
        _ => Err(Error::invalid_syntax(format!("`{name}` must be an array of strings"))),
    }
}

/// What a list answer says beside its resources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// How many resources match in all.
    pub total: u64,
    /// How many stand in this page.
    pub items: usize,
    /// The first one's number; none with cursor paging.
    pub start_index: Option<u64>,
    /// Where the next page begins, with cursor paging and if there is one.
    pub next_cursor: Option<String>,
    /// Where the page before begins, with cursor paging and if it can be had.
    pub previous_cursor: Option<String>,
}

/// Writes a list answer. `resource` is called for each number below [`Page::items`] and writes that resource.
/// `Resources` is there even when it is empty: clients look for it.
pub fn write_list(out: &mut Vec<u8>, page: &Page, mut resource: impl FnMut(usize, &mut Vec<u8>)) {
    // Writing into memory does not fail.
    let _ = write!(
        out,
        "{{\"schemas\":[\"{LIST_RESPONSE_URN}\"],\"totalResults\":{},\"itemsPerPage\":{}",
        page.total, page.items
    );
    if let Some(start_index) = page.start_index {
        let _ = write!(out, ",\"startIndex\":{start_index}");
    }
    for (name, cursor) in [("nextCursor", &page.next_cursor), ("previousCursor", &page.previous_cursor)] {
        if let Some(cursor) = cursor {
            let _ = write!(out, ",\"{name}\":{}", Value::from(cursor.as_str()));
        }
    }
    out.extend_from_slice(b",\"Resources\":[");
    for at in 0..page.items {
        if at > 0 {
            out.push(b',');
        }
        resource(at, out);
    }
    out.extend_from_slice(b"]}");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Result<ListRequest, Error> {
        ListRequest::from_query(pairs.iter().copied(), &Limits::default())
    }

    fn index(pairs: &[(&str, &str)]) -> (u64, u64) {
        match query(pairs).unwrap().paging {
            Paging::Index { start_index, count } => (start_index, count),
            Paging::Cursor { .. } => panic!("a cursor"),
        }
    }

    #[test]
    fn start_index_below_one_is_one_and_a_negative_count_is_zero() {
        assert_eq!(index(&[]), (1, 100));
        assert_eq!(index(&[("startIndex", "0"), ("count", "-1")]), (1, 0));
        assert_eq!(index(&[("startIndex", "-5"), ("count", "0")]), (1, 0));
        assert_eq!(index(&[("startIndex", "101"), ("count", "100000")]), (101, 1000));
        assert_eq!(
            index(&[("STARTINDEX", "99999999999999999999"), ("Count", "5")]),
            (9_223_372_036_854_775_807, 5)
        );
        assert_eq!(index(&[("startIndex", ""), ("count", " ")]), (1, 100));
    }

    #[test]
    fn numbers_that_are_none_are_refused_by_name() {
        for text in ["x", "1.5", "1e3", "0x10"] {
            assert_eq!(
                query(&[("startIndex", text)]).unwrap_err(),
                Error::invalid_value("`startIndex` must be a whole number")
            );
            assert_eq!(
                query(&[("count", text)]).unwrap_err(),
                Error::invalid_value("`count` must be a whole number")
            );
        }
    }

    #[test]
    fn unknown_parameters_are_ignored() {
        let request = query(&[("aadOptscim062020", ""), ("", ""), ("filter", "userName pr")]).unwrap();
        assert_eq!(request.filter.as_deref(), Some("userName pr"));
    }

    #[test]
    fn a_filter_that_is_empty_or_doubled_never_lists_everything() {
        assert_eq!(
            query(&[("filter", " ")]).unwrap_err(),
            Error::invalid_filter("the filter is empty; leave `filter` out to list everything")
        );
        assert_eq!(
            query(&[("filter", "a pr"), ("Filter", "b pr")]).unwrap_err(),
            Error::invalid_filter("`filter` is given twice")
        );
    }

    #[test]
    fn sort_order_is_ascending_unless_said_otherwise() {
        let sort = |pairs: &[(&str, &str)]| query(pairs).unwrap().sort;
        assert_eq!(
            sort(&[("sortBy", "userName")]),
            Some(Sort { path: "userName".into(), descending: false })
        );
        assert_eq!(
            sort(&[("sortBy", " name.familyName "), ("sortOrder", "Descending")]),
            Some(Sort { path: "name.familyName".into(), descending: true })
        );
        assert_eq!(sort(&[("sortOrder", "descending")]), None);
        assert_eq!(
            query(&[("sortOrder", "up")]).unwrap_err(),
            Error::invalid_value("`sortOrder` must be ascending or descending")
        );
    }

    #[test]
    fn an_empty_cursor_asks_for_the_first_page() {
        assert_eq!(query(&[("cursor", "")]).unwrap().paging, Paging::Cursor { cursor: None, count: 100 });
        assert_eq!(
            query(&[("cursor", "abc"), ("count", "7")]).unwrap().paging,
            Paging::Cursor { cursor: Some("abc".into()), count: 7 }
        );
        for count in ["0", "-1", "1001"] {
            assert_eq!(
                query(&[("cursor", ""), ("count", count)]).unwrap_err(),
                Error::invalid_count("with a cursor `count` must be from 1 to 1000")
            );
        }
        assert_eq!(
            query(&[("cursor", ""), ("startIndex", "1")]).unwrap_err(),
            Error::invalid_value("`startIndex` and `cursor` exclude each other; send one of them")
        );
    }

    #[test]
    fn a_search_body_says_the_same_as_a_query_string() {
        let body = json!({
            "schemas": [SEARCH_REQUEST_URN], "attributes": ["displayName", "userName"],
            "filter": "displayName sw \"smith\"", "startIndex": 1, "count": 10, "sortBy": "userName",
            "sortOrder": "descending", "cursor": null, "x": {},
        });
        let searched = ListRequest::from_search(body, &Limits::default()).unwrap();
        let queried = query(&[
            ("attributes", "displayName,userName"),
            ("filter", "displayName sw \"smith\""),
            ("startIndex", "1"),
            ("count", "10"),
            ("sortBy", "userName"),
            ("sortOrder", "descending"),
        ]);
        assert_eq!(Ok(searched), queried);
    }

    #[test]
    fn a_search_body_of_other_types_is_refused() {
        let search = |body| ListRequest::from_search(body, &Limits::default()).unwrap_err();
        assert_eq!(search(json!([])), Error::invalid_syntax("the search request must be a JSON object"));
        assert_eq!(search(json!({"filter": 1})), Error::invalid_syntax("`filter` must be a string"));
        assert_eq!(search(json!({"count": 1.5})), Error::invalid_value("`count` must be a whole number"));
        assert_eq!(
            search(json!({"attributes": {}})),
            Error::invalid_syntax("`attributes` must be an array of strings")
        );
        assert_eq!(
            search(json!({"attributes": [1]})),
            Error::invalid_syntax("`attributes` must be a string")
        );
    }

    #[test]
    fn a_list_answer_counts_in_numbers_and_always_has_resources() {
        let mut out = Vec::new();
        let page = Page { total: 0, items: 0, start_index: Some(1), ..Page::default() };
        write_list(&mut out, &page, |_, _| {});
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!(
                r#"{{"schemas":["{LIST_RESPONSE_URN}"],"totalResults":0,"itemsPerPage":0,"startIndex":1,"Resources":[]}}"#
            )
        );
        let mut out = Vec::new();
        let page = Page { total: 9, items: 2, next_cursor: Some("n\"".into()), ..Page::default() };
        write_list(&mut out, &page, |at, out| out.extend_from_slice(at.to_string().as_bytes()));
        assert_eq!(
            serde_json::from_slice::<Value>(&out).unwrap(),
            json!({"schemas": [LIST_RESPONSE_URN], "totalResults": 9, "itemsPerPage": 2, "nextCursor": "n\"", "Resources": [0, 1]})
        );
    }
}
