use super::*;

fn id(text: &str) -> DirectoryId {
    DirectoryId::parse(text).unwrap()
}

fn whole(document: &Document) -> String {
    let sections =
        document.sections.iter().map(|section| [section.title.as_str(), section.html.as_str()].join("\n"));
    sections.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_guide_shows_own_values_and_no_example_address() {
    let id = id("zeta-42");
    for kind in DirectoryKind::ALL {
        for base_url in ["https://people.zeta.test/scim/v2", "http://127.0.0.1:8080/deep/scim/v2"] {
            let values = Values { id: &id, name: "Zeta Staff", kind, base_url };
            let text = whole(&guide(&values));
            assert!(!text.contains("scim.example.com"), "{kind:?}");
            assert!(!text.contains("rosterd.example.com"), "{kind:?}");
            assert!(text.contains(base_url), "{kind:?}");
            let (_, example_id, example_name) = example(kind);
            assert!(!text.contains(example_id), "{kind:?}: {example_id}");
            assert!(!text.contains(&format!("“{example_name}”")), "{kind:?}");
            assert!(text.contains("rosterd directory remove zeta-42"), "{kind:?}");
            assert!(text.contains(&format!("--kind {}", kind.as_str())), "{kind:?}");
            assert!(text.len() > 2_000, "{kind:?}");
        }
    }
}

#[test]
fn the_pages_name_the_example_values_that_guides_replace() {
    for kind in DirectoryKind::ALL {
        let (page, id, name) = example(kind);
        let (_, text) = PAGES.iter().find(|(known, _)| *known == page).unwrap();
        for wanted in [EXAMPLE_BASE, id, name] {
            assert!(text.contains(wanted), "docs/{page}.md does not name `{wanted}` any more");
        }
    }
}

#[test]
fn a_directory_called_like_markup_stays_a_name() {
    let id = id("x");
    let name = "<script>alert(1)</script> [a](https://evil.test) `b` & \"c\"";
    for kind in DirectoryKind::ALL {
        let base_url = "https://a.test/<b>\"&/scim/v2";
        let text = whole(&guide(&Values { id: &id, name, kind, base_url }));
        assert!(!text.contains("<script"), "{kind:?}");
        assert!(!text.contains("href=\"https://evil"), "{kind:?}");
        assert!(!text.contains("<b>"), "{kind:?}");
        assert!(text.contains("&lt;script&gt;alert(1)&lt;/script&gt; [a](https://evil.test)"), "{kind:?}");
    }
}

#[test]
fn raw_html_comes_out_as_text_and_links_lead_to_what_is_served() {
    let text = "# T\n\n<script>x</script>\n\na <b onclick=x>b</b> [one](okta.md#4-connect) [two](../x.conf) \
                [three](#here) [four](https://rfc.test/) [five](javascript:x) ![pic](http://a.test/p.png)\n\n## Here & `there`\n";
    let page = render(text, "g-", &|text| text.to_owned());
    let html = whole(&page);
    assert!(!html.contains("<script") && !html.contains("<b ") && !html.contains("<img"), "{html}");
    assert!(html.contains("<a href=\"/docs/okta#4-connect\">one</a>"), "{html}");
    assert!(html.contains("<a href=\"#g-here\">three</a>") && html.contains(" two "), "{html}");
    assert!(!html.contains("javascript:") && html.contains("five") && html.contains("pic"), "{html}");
    assert_eq!((page.title.as_str(), page.sections[1].id.as_str()), ("T", "g-here--there"));
}

#[test]
fn a_replacement_is_never_replaced_again() {
    assert_eq!(own("a b a", &[("a", "b"), ("b", "c")]), "b c b");
    assert_eq!(own("äöü", &[]), "äöü");
}

#[test]
fn every_page_renders_and_its_links_to_other_pages_hold() {
    for (name, title) in pages() {
        let page = page(name).unwrap();
        assert_eq!(page.title, title);
        assert!(!page.sections.is_empty(), "{name}");
    }
    let anchors = |name: &str| -> Vec<String> {
        let page = page(name).unwrap();
        let mut ids: Vec<String> = page.sections.iter().map(|section| section.id.clone()).collect();
        for section in &page.sections {
            ids.extend(
                section
                    .html
                    .split("<h3 id=\"")
                    .skip(1)
                    .map(|rest| rest.split('"').next().unwrap().to_owned()),
            );
        }
        ids
    };
    for (name, _) in pages() {
        let html = whole(&page(name).unwrap());
        for to in html.split("href=\"/docs/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            let (to, anchor) = to.split_once('#').unwrap_or((to, ""));
            assert!(anchor.is_empty() || anchors(to).iter().any(|id| id == anchor), "{name}: {to}#{anchor}");
        }
    }
}

#[test]
fn vendors_sections_of_the_common_page_go_to_their_kind_alone() {
    let id = id("x");
    let titles = |kind| -> Vec<String> {
        let values = Values { id: &id, name: "X", kind, base_url: "https://a.test/scim/v2" };
        guide(&values).sections.into_iter().map(|section| section.title).collect()
    };
    let has = |kind, title: &str| titles(kind).iter().any(|one| one == title);
    assert!(has(DirectoryKind::Cyberark, "CyberArk Identity") && !has(DirectoryKind::Cyberark, "Rippling"));
    assert!(has(DirectoryKind::Rippling, "Rippling") && !has(DirectoryKind::Generic, "Rippling"));
    assert!(has(DirectoryKind::Generic, "A client of your own"));
    assert!(titles(DirectoryKind::Okta).iter().any(|title| title.ends_with("Add the directory")));
}
