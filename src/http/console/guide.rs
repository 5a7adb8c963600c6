//! Set-up guides and manual pages, made from `docs/*.md` as they stand: one source for the page in the repository and the
//! one in the console. A guide shows this installation's own values where the page has example ones.
//!
//! Markdown is rendered by pulldown-cmark; every text goes through its escaping, raw HTML comes out as text, and links
//! lead to pages served here or become text. What is replaced is replaced in texts, never in HTML, so that a directory
//! called `<script>` stays a name.

use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, TextMergeStream, html};

use crate::model::{DirectoryId, DirectoryKind};

/// Manual pages by name, as `/docs/NAME` serves them.
const PAGES: &[(&str, &str)] = &[
    ("okta", include_str!("../../../docs/okta.md")),
    ("entra", include_str!("../../../docs/entra.md")),
    ("google", include_str!("../../../docs/google.md")),
    ("onelogin", include_str!("../../../docs/onelogin.md")),
    ("jumpcloud", include_str!("../../../docs/jumpcloud.md")),
    ("ping", include_str!("../../../docs/ping.md")),
    ("keycloak", include_str!("../../../docs/keycloak.md")),
    ("authentik", include_str!("../../../docs/authentik.md")),
    ("generic", include_str!("../../../docs/generic.md")),
    ("connecting", include_str!("../../../docs/connecting.md")),
    ("idp-quirks", include_str!("../../../docs/idp-quirks.md")),
    ("decisions", include_str!("../../../docs/decisions.md")),
    ("guard", include_str!("../../../docs/guard.md")),
    ("targets", include_str!("../../../docs/targets.md")),
    ("formats", include_str!("../../../docs/formats.md")),
    ("webhooks", include_str!("../../../docs/webhooks.md")),
    ("events", include_str!("../../../docs/events.md")),
    ("publish", include_str!("../../../docs/publish.md")),
    ("installer", include_str!("../../../docs/installer.md")),
    ("import", include_str!("../../../docs/import.md")),
    ("activity", include_str!("../../../docs/activity.md")),
    ("history", include_str!("../../../docs/history.md")),
    ("backup", include_str!("../../../docs/backup.md")),
    ("operations", include_str!("../../../docs/operations.md")),
    ("console", include_str!("../../../docs/console.md")),
    ("api", include_str!("../../../docs/api.md")),
    ("json", include_str!("../../../docs/json.md")),
    ("tls", include_str!("../../../docs/tls.md")),
    ("security", include_str!("../../../docs/security.md")),
    ("configuration", include_str!("../../../docs/configuration.md")),
    ("doctor", include_str!("../../../docs/doctor.md")),
    ("incident", include_str!("../../../docs/incident.md")),
    ("metrics", include_str!("../../../docs/metrics.md")),
    ("performance", include_str!("../../../docs/performance.md")),
    ("scim", include_str!("../../../docs/scim.md")),
    ("troubleshooting", include_str!("../../../docs/troubleshooting.md")),
    ("upgrading", include_str!("../../../docs/upgrading.md")),
];

/// The base URL that all pages use as example.
const EXAMPLE_BASE: &str = "https://scim.example.com/scim/v2";
/// Its public name; also `public_url` and where `/healthz` is.
const EXAMPLE_ORIGIN: &str = "https://scim.example.com";
/// How the pages call rosterd as seen from inside a network, for agents.
const EXAMPLE_INSIDE: &str = "https://rosterd.example.com/scim/v2";

/// One heading of a page with what stands below it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Section {
    /// The heading as text; empty for what stands before the first.
    pub(super) title: String,
    /// Name of its anchor.
    pub(super) id: String,
    /// HTML that is safe as it is.
    pub(super) html: String,
    /// True for a step that is done once the directory is there.
    pub(super) done: bool,
}

/// A page, taken apart at its second-level headings.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Document {
    /// The first-level heading.
    pub(super) title: String,
    /// What stands before the first heading, if anything, and each heading.
    pub(super) sections: Vec<Section>,
}

/// A directory's own values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values<'a> {
    pub(super) id: &'a DirectoryId,
    pub(super) name: &'a str,
    pub(super) kind: DirectoryKind,
    pub(super) base_url: &'a str,
}

/// The vendor's own name of a kind.
pub(super) fn vendor(kind: DirectoryKind) -> &'static str {
    match kind {
        DirectoryKind::Okta => "Okta",
        DirectoryKind::Entra => "Microsoft Entra ID",
        DirectoryKind::Google => "Google Workspace",
        DirectoryKind::Onelogin => "OneLogin",
        DirectoryKind::Jumpcloud => "JumpCloud",
        DirectoryKind::Ping => "PingFederate, PingOne",
        DirectoryKind::Cyberark => "CyberArk Identity",
        DirectoryKind::Rippling => "Rippling",
        DirectoryKind::Keycloak => "Keycloak",
        DirectoryKind::Authentik => "authentik",
        DirectoryKind::Generic => "Any other SCIM 2.0 client",
    }
}

/// Which page guides through a kind, and the id and name of the directory that it uses as example.
fn example(kind: DirectoryKind) -> (&'static str, &'static str, &'static str) {
    match kind {
        DirectoryKind::Okta => ("okta", "acme-okta", "Acme Okta"),
        DirectoryKind::Entra => ("entra", "contoso", "Contoso"),
        DirectoryKind::Google => ("google", "acme-google", "Acme Google"),
        DirectoryKind::Onelogin => ("onelogin", "acme-onelogin", "Acme OneLogin"),
        DirectoryKind::Jumpcloud => ("jumpcloud", "acme-jumpcloud", "Acme JumpCloud"),
        DirectoryKind::Ping => ("ping", "acme-ping", "Acme Ping"),
        DirectoryKind::Keycloak => ("keycloak", "acme-keycloak", "Acme Keycloak"),
        DirectoryKind::Authentik => ("authentik", "acme-authentik", "Acme authentik"),
        DirectoryKind::Cyberark => ("generic", "acme-directory", "Acme CyberArk"),
        DirectoryKind::Rippling => ("generic", "acme-directory", "Acme Rippling"),
        DirectoryKind::Generic => ("generic", "acme-directory", "Acme Directory"),
    }
}

/// Sections of the page for all others that are of one vendor.
fn is_anothers(kind: DirectoryKind, title: &str) -> bool {
    match title {
        "CyberArk Identity" => kind != DirectoryKind::Cyberark,
        "Rippling" => kind != DirectoryKind::Rippling,
        "A client of your own" => matches!(kind, DirectoryKind::Cyberark | DirectoryKind::Rippling),
        _ => false,
    }
}

/// The set-up guide of a directory with its own values.
pub(super) fn guide(values: &Values<'_>) -> Document {
    let (page, id, name) = example(values.kind);
    let text = PAGES.iter().find(|(known, _)| *known == page).map_or("", |(_, text)| *text);
    let origin = values.base_url.strip_suffix("/scim/v2").unwrap_or_else(|| origin(values.base_url));
    let generic = if page == "generic" { "Acme Directory" } else { name };
    let kind = format!("--kind {}", values.kind.as_str());
    let as_told = format!(", {})", values.kind.as_str());
    let replaced = [
        (EXAMPLE_BASE, values.base_url),
        (EXAMPLE_INSIDE, values.base_url),
        (EXAMPLE_ORIGIN, origin),
        ("scim.example.com", origin.rsplit('/').next().unwrap_or(origin)),
        (name, values.name),
        (generic, values.name),
        ("--kind generic", &kind),
        (", generic)", &as_told),
        (id, values.id.as_str()),
    ];
    let mut document = render(text, "guide-", &|text| own(text, &replaced));
    document.sections.retain(|section| !is_anothers(values.kind, &section.title));
    for section in &mut document.sections {
        section.done = section.title.ends_with("Add the directory");
    }
    document
}

/// A manual page as it is.
pub(super) fn page(name: &str) -> Option<Document> {
    let (_, text) = PAGES.iter().find(|(known, _)| *known == name)?;
    Some(render(text, "", &|text| text.to_owned()))
}

/// Names and titles of all manual pages.
pub(super) fn pages() -> Vec<(&'static str, String)> {
    let title =
        |text: &str| text.lines().next().unwrap_or_default().trim_start_matches('#').trim().replace('`', "");
    PAGES.iter().map(|(name, text)| (*name, title(text))).collect()
}

fn origin(url: &str) -> &str {
    let Some((scheme, rest)) = url.split_once("://") else { return url };
    let host = rest.find('/').unwrap_or(rest.len());
    url.get(..scheme.len() + 3 + host).unwrap_or(url)
}

/// Replaces from left to right, at each place the first that fits, so that no replacement is replaced again.
fn own(text: &str, replaced: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    'next: while let Some(first) = rest.chars().next() {
        for (example, value) in replaced {
            if let Some(behind) = rest.strip_prefix(example) {
                out.push_str(value);
                rest = behind;
                continue 'next;
            }
        }
        out.push(first);
        rest = rest.get(first.len_utf8()..).unwrap_or_default();
    }
    out
}

/// Takes a page apart and renders it. `told` says what stands in place of a text.
fn render(text: &str, prefix: &str, told: &dyn Fn(&str) -> String) -> Document {
    let parser = Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH);
    let mut out = Document { title: String::new(), sections: Vec::new() };
    let mut section = Section { title: String::new(), id: String::new(), html: String::new(), done: false };
    let mut events: Vec<Event<'_>> = Vec::new();
    // The heading being read: its level and its text so far.
    let mut heading: Option<(HeadingLevel, String)> = None;
    let mut is_dead = false;
    for event in TextMergeStream::new(parser) {
        match event {
            Event::Start(Tag::Heading { level, .. }) => heading = Some((level, String::new())),
            Event::End(TagEnd::Heading(level)) => {
                let title = heading.take().map(|(_, title)| told(&title)).unwrap_or_default();
                match level {
                    HeadingLevel::H1 => out.title = title,
                    HeadingLevel::H2 => {
                        finish(&mut section, &mut events, &mut out);
                        section.id = format!("{prefix}{}", slug(&title));
                        section.title = title;
                    }
                    _ => events.extend(subheading(prefix, title)),
                }
            }
            Event::Text(text) | Event::Code(text) if heading.is_some() => {
                if let Some((_, title)) = &mut heading {
                    title.push_str(&text);
                }
            }
            // Links do not nest, so one mark is enough to leave out the end of one that leads nowhere.
            Event::Start(Tag::Link { dest_url, .. }) if leads(&dest_url, prefix).is_none() => is_dead = true,
            Event::End(TagEnd::Link) if is_dead => is_dead = false,
            event if heading.is_none() => events.extend(shown(event, prefix, told)),
            _ => {}
        }
    }
    finish(&mut section, &mut events, &mut out);
    out
}

fn finish(section: &mut Section, events: &mut Vec<Event<'_>>, out: &mut Document) {
    html::push_html(&mut section.html, std::mem::take(events).into_iter());
    if !section.html.trim().is_empty() || !section.title.is_empty() {
        out.sections.push(section.clone());
    }
    section.html.clear();
}

fn subheading(prefix: &str, title: String) -> [Event<'static>; 3] {
    let id = format!("{prefix}{}", slug(&title));
    let tag =
        Tag::Heading { level: HeadingLevel::H3, id: Some(id.into()), classes: Vec::new(), attrs: Vec::new() };
    [Event::Start(tag), Event::Text(title.into()), Event::End(TagEnd::Heading(HeadingLevel::H3))]
}

/// How one event comes out: raw HTML as text, pictures as their words, links to where they lead here.
fn shown<'a>(event: Event<'a>, prefix: &str, told: &dyn Fn(&str) -> String) -> Vec<Event<'a>> {
    match event {
        Event::Text(text) => vec![Event::Text(told(&text).into())],
        Event::Code(text) => vec![Event::Code(told(&text).into())],
        Event::Html(text) | Event::InlineHtml(text) => vec![Event::Text(text)],
        Event::Start(Tag::HtmlBlock | Tag::Image { .. }) | Event::End(TagEnd::HtmlBlock | TagEnd::Image) => {
            Vec::new()
        }
        Event::Start(Tag::Link { link_type, dest_url, id, .. }) => {
            let to = leads(&dest_url, prefix).unwrap_or_default();
            vec![Event::Start(Tag::Link { link_type, dest_url: to.into(), title: CowStr::from(""), id })]
        }
        // Wide tables scroll by themselves.
        Event::Start(Tag::Table(columns)) => {
            vec![raw("<div class=\"scroll\">"), Event::Start(Tag::Table(columns))]
        }
        Event::End(TagEnd::Table) => vec![Event::End(TagEnd::Table), raw("</div>")],
        Event::Start(Tag::CodeBlock(_)) => vec![raw("<pre><code>")],
        Event::End(TagEnd::CodeBlock) => vec![raw("</code></pre>\n")],
        other => vec![other],
    }
}

/// Our own constant HTML.
fn raw(html: &'static str) -> Event<'static> {
    Event::InlineHtml(html.into())
}

/// Where a link of a page leads in the console; `None` if that is served nowhere here.
fn leads(to: &str, prefix: &str) -> Option<String> {
    if let Some(anchor) = to.strip_prefix('#') {
        return Some(format!("#{prefix}{anchor}"));
    }
    if to.starts_with("https://") || to.starts_with("http://") {
        return Some(to.to_owned());
    }
    let (page, anchor) = to.split_once('#').map_or((to, None), |(page, anchor)| (page, Some(anchor)));
    let name = page.strip_suffix(".md")?;
    PAGES.iter().find(|(known, _)| *known == name)?;
    Some(anchor.map_or_else(|| format!("/docs/{name}"), |anchor| format!("/docs/{name}#{anchor}")))
}

/// The anchor of a heading, as GitHub makes it, so that links in the pages hold here too.
fn slug(title: &str) -> String {
    title
        .chars()
        .flat_map(char::to_lowercase)
        .filter_map(|c| match c {
            ' ' | '-' => Some('-'),
            c if c.is_alphanumeric() || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
#[path = "guide_tests.rs"]
mod tests;
