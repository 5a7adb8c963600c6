//! Paths and query strings of the SCIM API, read as tolerantly as identity providers write them: letter case,
//! trailing and doubled slashes, percent-encoding, `+` for a space, stray delimiters.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::model::ResourceType;

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// The base itself: a query over all resource types (RFC 7644 §3.4.2.1).
    Root,
    /// `/.search` (`None`) or `/Users/.search`.
    Search(Option<ResourceType>),
    /// `/Users`.
    Collection(ResourceType),
    /// `/Users/{id}`; the id as sent, decoded.
    Resource(ResourceType, String),
    /// `/Bulk`.
    Bulk,
    /// `/Me`, which a directory token has no answer for.
    Me,
    /// `/ServiceProviderConfig`.
    ServiceProviderConfig,
    /// `/ResourceTypes`.
    ResourceTypes,
    /// `/ResourceTypes/{name}`.
    ResourceTypeOne(String),
    /// `/Schemas`.
    Schemas,
    /// `/Schemas/{urn}`.
    SchemaOne(String),
    /// Nothing we serve.
    Unknown,
}

impl Route {
    /// The route of `path` below `base` (`/scim/v2`).
    pub(super) fn parse(base: &str, path: &str) -> Self {
        let Some(segments) = below(base, path) else { return Self::Unknown };
        let mut segments = segments.into_iter();
        let Some(first) = segments.next() else { return Self::Root };
        let (second, third) = (segments.next(), segments.next());
        if third.is_some() {
            return Self::Unknown;
        }
        let kind = |name: &str| {
            [ResourceType::User, ResourceType::Group]
                .into_iter()
                .find(|kind| kind.endpoint().eq_ignore_ascii_case(name))
        };
        let lower = first.to_ascii_lowercase();
        match (lower.as_str(), second) {
            (_, Some(second)) if kind(&first).is_some() && second.eq_ignore_ascii_case(".search") => {
                Self::Search(kind(&first))
            }
            (_, second) if let Some(kind) = kind(&first) => match second {
                Some(id) => Self::Resource(kind, id.into_owned()),
                None => Self::Collection(kind),
            },
            (".search", None) => Self::Search(None),
            ("bulk", None) => Self::Bulk,
            ("me", _) => Self::Me,
            ("serviceproviderconfig" | "serviceproviderconfigs", None) => Self::ServiceProviderConfig,
            ("resourcetypes", None) => Self::ResourceTypes,
            ("resourcetypes", Some(name)) => Self::ResourceTypeOne(name.into_owned()),
            ("schemas", None) => Self::Schemas,
            ("schemas", Some(urn)) => Self::SchemaOne(urn.into_owned()),
            _ => Self::Unknown,
        }
    }

    /// A name for logs and metrics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Root => "/",
            Self::Search(None) => ".search",
            Self::Search(Some(ResourceType::User)) => "Users/.search",
            Self::Search(Some(ResourceType::Group)) => "Groups/.search",
            Self::Collection(ResourceType::User) => "Users",
            Self::Collection(ResourceType::Group) => "Groups",
            Self::Resource(ResourceType::User, _) => "Users/{id}",
            Self::Resource(ResourceType::Group, _) => "Groups/{id}",
            Self::Bulk => "Bulk",
            Self::Me => "Me",
            Self::ServiceProviderConfig => "ServiceProviderConfig",
            Self::ResourceTypes => "ResourceTypes",
            Self::ResourceTypeOne(_) => "ResourceTypes/{name}",
            Self::Schemas => "Schemas",
            Self::SchemaOne(_) => "Schemas/{urn}",
            Self::Unknown => "unknown",
        }
    }

    /// The methods it serves, as `Allow` lists them.
    pub(super) fn allow(&self) -> &'static str {
        match self {
            Self::Search(_) | Self::Bulk => "POST, OPTIONS",
            Self::Collection(_) => "GET, HEAD, POST, OPTIONS",
            Self::Resource(..) => "GET, HEAD, PUT, PATCH, DELETE, OPTIONS",
            Self::Me => "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
            _ => "GET, HEAD, OPTIONS",
        }
    }

    /// True for routes whose body may be as large as a group's whole member list.
    pub(super) fn takes_large_body(&self) -> bool {
        matches!(
            self,
            Self::Collection(ResourceType::Group) | Self::Resource(ResourceType::Group, _) | Self::Bulk
        )
    }
}

/// The decoded segments of `path` below `base`, or `None` if it lies elsewhere or does not decode. Empty segments
/// (`//Users`, `/Users/`) say nothing and are dropped.
fn below<'a>(base: &str, path: &'a str) -> Option<Vec<Cow<'a, str>>> {
    let mut segments = path.split('/').filter(|s| !s.is_empty());
    for expected in base.split('/').filter(|s| !s.is_empty()) {
        if !segments.next()?.eq_ignore_ascii_case(expected) {
            return None;
        }
    }
    segments.map(|segment| percent_decode_str(segment).decode_utf8().ok()).collect()
}

/// The decoded pairs of a query string: `+` is a space, `%2B` a plus; empty pairs are skipped, a pair without `=`
/// has an empty value. `None` if an escape is not UTF-8.
pub(in crate::http) fn query_pairs(query: Option<&str>) -> Option<Vec<(String, String)>> {
    let decode = |text: &str| {
        let spaced = if text.contains('+') { text.replace('+', " ") } else { text.to_owned() };
        percent_decode_str(&spaced).decode_utf8().ok().map(Cow::into_owned)
    };
    query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(path: &str) -> Route {
        Route::parse("/scim/v2", path)
    }

    #[test]
    fn paths_are_read_in_any_case_and_with_stray_slashes() {
        use ResourceType::{Group, User};
        assert_eq!(route("/scim/v2/Users"), Route::Collection(User));
        assert_eq!(route("/scim/v2//users/"), Route::Collection(User));
        assert_eq!(route("//SCIM/v2/Groups/abc/"), Route::Resource(Group, "abc".into()));
        assert_eq!(route("/scim/v2/Users/a%2Fb%20c"), Route::Resource(User, "a/b c".into()));
        assert_eq!(route("/scim/v2/Users/.search"), Route::Search(Some(User)));
        assert_eq!(route("/scim/v2/.search"), Route::Search(None));
        assert_eq!(route("/scim/v2"), Route::Root);
        assert_eq!(route("/scim/v2/Schemas/urn:a:b"), Route::SchemaOne("urn:a:b".into()));
        assert_eq!(route("/scim/v2/ServiceProviderConfig"), Route::ServiceProviderConfig);
        assert_eq!(route("/scim/v2/Me"), Route::Me);
        for unknown in
            ["/", "/scim", "/scim/v2/Users/1/2", "/scim/v2/Robots", "/scim/v2x/Users", "/scim/v2/Users/%FF"]
        {
            assert_eq!(route(unknown), Route::Unknown, "{unknown}");
        }
    }

    #[test]
    fn a_plus_is_a_space_and_stray_delimiters_are_nothing() {
        let pairs = query_pairs(Some("&filter=userName+eq+%22a%2Bb%22&&x&count=1&")).unwrap();
        let expected = [("filter", "userName eq \"a+b\""), ("x", ""), ("count", "1")];
        assert_eq!(pairs, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert!(query_pairs(None).unwrap().is_empty());
        assert!(query_pairs(Some("")).unwrap().is_empty());
        assert!(query_pairs(Some("a=%FF")).is_none());
    }

    #[test]
    fn the_feature_flag_in_front_of_the_query_is_just_an_unknown_parameter() {
        let pairs = query_pairs(Some("aadOptscim062020&filter=x")).unwrap();
        assert_eq!(pairs.iter().find(|(n, _)| n == "filter").map(|(_, v)| v.as_str()), Some("x"));
    }
}
