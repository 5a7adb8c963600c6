use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn read_text(format: Format, text: &str) -> Reading {
    read(format, text.as_bytes(), &Mapping::default())
}

fn bodies(reading: &Reading) -> Vec<Value> {
    assert_eq!(reading.problems, []);
    reading.records.iter().map(|record| Value::Object(record.body.clone())).collect()
}

fn mistakes(reading: &Reading) -> Vec<String> {
    reading.problems.iter().map(|one| format!("{}|{}|{}", one.at, one.attribute, one.message)).collect()
}

fn names(record: &Record) -> Vec<&str> {
    record.members.iter().flatten().map(|member| member.name.as_str()).collect()
}

#[test]
fn a_format_is_guessed_from_name_and_beginning() {
    for (name, bytes, wanted) in [
        ("a.json", "", Some(Format::Scim)),
        ("a.NDJSON", "", Some(Format::Jsonl)),
        ("a.ldif", "", Some(Format::Ldif)),
        ("a.tsv", "", Some(Format::Csv)),
        ("-", "\u{feff} [{}]", Some(Format::Scim)),
        ("dump", "dn: cn=a", Some(Format::Ldif)),
        ("dump", "a,b", None),
    ] {
        assert_eq!(Format::guess(name, bytes.as_bytes()), wanted, "{name} {bytes}");
    }
}

#[test]
fn documents_may_be_lists_arrays_and_single_resources_after_each_other() {
    let text = "{\"Resources\":[{\"userName\":\"a\"},\n{\"userName\":\"b\"}]}\n[{\"userName\":\"c\"}]\n\n{\"userName\":\"d\"}{\"userName\":\"e\"}";
    let reading = read_text(Format::Scim, text);
    let found: Vec<(String, String)> =
        reading.records.iter().map(|one| (one.at.clone(), one.body["userName"].to_string())).collect();
    let wanted = [("line 1", "a"), ("line 2", "b"), ("line 3", "c"), ("line 5", "d"), ("line 5", "e")];
    assert_eq!(found, wanted.map(|(at, name)| (at.to_owned(), format!("\"{name}\""))));
    let empty = "{\"schemas\":[\"urn:ietf:params:scim:api:messages:2.0:ListResponse\"],\"totalResults\":0}";
    assert_eq!(mistakes(&read_text(Format::Scim, empty)), ["line 1||the file names no user and no group"]);
}

#[test]
fn broken_documents_say_where() {
    for (text, wanted) in [
        ("[{\"userName\":\"a\"},\n{]", "line 2||this is not valid JSON (column 2)"),
        ("{\"Resources\":7}", "line 1|Resources|`Resources` must be an array of resources"),
        (
            "{\"Resources\":[],\"resources\":[]}",
            "line 1|Resources|`Resources` is given twice in one JSON object",
        ),
        (
            "\n\n[{\"userName\":\"a\",\n\"userName\":\"b\"}]",
            "line 3||`userName` is given twice in one JSON object",
        ),
        ("[7]", "line 1||a resource must be a JSON object"),
        (
            "{\"displayName\":\"x\"}",
            "line 1|schemas|this is neither a User nor a Group: say it with `schemas` or `meta.resourceType`",
        ),
        (
            "{\"displayName\":\"x\",\"members\":[{}]}",
            "line 1|members|a member names nobody: it needs `value`",
        ),
        (
            "{\"displayName\":\"x\",\"members\":[],\"Members\":[]}",
            "line 1|members|`members` is given twice, in different letter case",
        ),
    ] {
        assert_eq!(mistakes(&read_text(Format::Scim, text)), [wanted], "{text}");
    }
    let reading = read(Format::Scim, b"[\n\"\xff\"]", &Mapping::default());
    assert_eq!(mistakes(&reading), ["line 2||this is not UTF-8"]);
    let reading = read(Format::Csv, b"\xff\xfea\0", &Mapping::default());
    assert_eq!(mistakes(&reading), ["line 1||the file is UTF-16; save it as UTF-8"]);
}

#[test]
fn a_type_is_known_by_what_the_resource_says_of_itself() {
    for (text, kind) in [
        ("{\"meta\":{\"resourceType\":\"Group\"},\"userName\":\"x\"}", ResourceType::Group),
        (
            "{\"schemas\":[\"urn:ietf:params:scim:schemas:core:2.0:Group\"],\"displayName\":\"x\"}",
            ResourceType::Group,
        ),
        ("{\"schemas\":[\"URN:ietf:params:scim:schemas:core:2.0:User\"]}", ResourceType::User),
        ("{\"displayName\":\"x\",\"members\":null}", ResourceType::Group),
    ] {
        let reading = read_text(Format::Jsonl, text);
        assert_eq!(reading.records[0].kind, kind, "{text}");
        assert!(!reading.records[0].body.contains_key("members"));
    }
}

#[test]
fn members_are_taken_out_with_their_type_and_once() {
    let text = r#"{"id":"g","displayName":"G","members":[{"value":"a","type":"user"},{"value":"a"},"b",{"display":"C"}]}"#;
    let reading = read_text(Format::Jsonl, text);
    let record = &reading.records[0];
    assert_eq!((names(record), record.names.as_slice()), (vec!["a", "b", "C"], ["g".to_owned()].as_slice()));
    assert_eq!(record.members.as_ref().unwrap()[0].kind, Some(ResourceType::User));
}

#[test]
fn ldif_unfolds_decodes_and_skips_comments() {
    let text = "version: 1\n# a comment\n that goes on\ndn: uid=ad\n a,dc=x\nobjectClass: person\nuid: ada\ncn:: QWTDqQ==\nsn;lang-fr: no\nmail: a@example.com\nmail: b@example.com\n\n\n";
    let reading = read_text(Format::Ldif, text);
    assert_eq!(
        bodies(&reading),
        [json!({"displayName": "Adé", "userName": "ada", "emails": [
            {"value": "a@example.com", "type": "work", "primary": true}, {"value": "b@example.com", "type": "work"}]})]
    );
    assert_eq!(reading.records[0].names, ["uid=ada,dc=x", "uid=ada"]);
    assert_eq!(reading.records[0].at, "line 4");
}

#[test]
fn ldif_mistakes_say_where_and_cost_their_entry_only() {
    let text = " lost\ndn: cn=a\nobjectClass: person\nuid: a\n\nuid: b\n\ndn: cn=c\nuid:: !!\n\ndn: cn=d\nuid:< file:///etc/shadow\n\ndn: cn=e\nchangetype: delete\n\ndn: cn=f\nno colon\n\ndn: cn=g\nobjectClass: person\n\ndn: cn=h\nobjectClass: group\n\ndn: cn=i\ndn: cn=j\n";
    let reading = read_text(Format::Ldif, text);
    assert_eq!(reading.records.len(), 1);
    let mistakes = mistakes(&reading);
    for (mistake, wanted) in mistakes.iter().zip([
        "line 1||this continues",
        "line 6|uid|an entry begins",
        "line 9|uid|this is not base64",
        "line 12|uid|a URL",
        "line 15|changetype|",
        "line 18||this is no",
        "line 27|dn|a second `dn`",
        "line 20|uid|",
        "line 23|cn|",
    ]) {
        assert!(mistake.starts_with(wanted), "{mistake} does not start with {wanted}");
    }
    assert_eq!(mistakes.len(), 9, "{mistakes:?}");
}

#[test]
fn dns_compare_without_case_and_spaces_and_escapes_stay() {
    let text = "dn: CN=Smith\\, Ada , OU=x\nobjectClass: user\nsAMAccountName: ada\n\ndn: cn=g\nobjectClass: group\ncn: g\nmember: cn=smith\\, ada,ou=X\nmember: CN=G\nuniqueMember: cn=smith\\, ada,ou=x#'01'B\n";
    let reading = read_text(Format::Ldif, text);
    assert_eq!(reading.records[0].names, ["cn=smith\\, ada,ou=x"]);
    assert_eq!(names(&reading.records[1]), ["cn=smith\\, ada,ou=x"]);
    assert_eq!(reading.notes.len(), 1, "the group itself is left out: {:?}", reading.notes);
}

#[test]
fn active_directory_ids_and_flags_are_read() {
    let text = "dn: cn=a\nobjectClass: user\nuserPrincipalName: a@example.com\nuserAccountControl: 66050\nobjectGUID:: 4ubQ9nYq0kuVqHGqz1p0XQ==\n\ndn: cn=pc\nobjectClass: computer\n";
    let reading = read_text(Format::Ldif, text);
    assert_eq!(
        bodies(&reading),
        [
            json!({"externalId": "f6d0e6e2-2a76-4bd2-95a8-71aacf5a745d", "userName": "a@example.com", "active": false})
        ]
    );
}

#[test]
fn csv_finds_its_delimiter_headings_and_lines() {
    let text = "User-Name;First Name;E-Mail;Teams;Shoes\n\nada;\"A\nda\";a@x.example;Crew;7\nbob;;;\"crew ; Ops\";8\n";
    let reading = read_text(Format::Csv, text);
    assert_eq!(bodies(&reading)[0]["name"], json!({"givenName": "A\nda"}));
    let at: Vec<&str> = reading.records.iter().map(|one| one.at.as_str()).collect();
    assert_eq!(at, ["line 3", "line 5", "line 3", "line 5"]);
    assert_eq!(names(&reading.records[2]), ["ada", "bob"], "one group, in whatever case");
    assert_eq!(reading.notes, ["columns left out: `Shoes`"]);
}

#[test]
fn csv_mistakes_say_where() {
    for (text, wanted) in [
        ("userName,a\nx\n", "line 2||the row has 1 cells, the first line 2"),
        ("userName,active\nx,maybe\n", "line 2|active|`maybe` is neither true nor false"),
        ("userName,title\n,x\n", "line 2|userName|the row names nobody: its userName is empty"),
        ("shoes\n7\n", "line 1||no column is a userName; the columns are `shoes`. Name one with --map"),
        ("userName,userName\na,b\n", "line 1||column `userName` is there twice"),
    ] {
        assert_eq!(mistakes(&read_text(Format::Csv, text)), [wanted], "{text}");
    }
}

#[test]
fn a_formula_is_text_and_told_but_a_phone_number_is_none() {
    let reading = read_text(Format::Csv, "userName,name,phone\na,=1+1,+1 555-0100\nb,@SUM(A1),-\n");
    assert_eq!(bodies(&reading)[0]["displayName"], "=1+1");
    assert_eq!(reading.notes.len(), 2, "{:?}", reading.notes);
}

#[test]
fn a_bomb_is_read_up_to_a_bound_in_every_format() {
    let mistakes = |lines: &str| lines.repeat(PROBLEMS_MAX + 50);
    for (format, text) in [
        (Format::Csv, format!("userName,title\n{}", mistakes("a\n"))),
        (Format::Jsonl, mistakes("1\n")),
        (Format::Scim, mistakes("{}")),
        (Format::Scim, format!("[{}1]", mistakes("1,"))),
        (Format::Ldif, mistakes("x: y\n\n")),
    ] {
        let reading = read_text(format, &text);
        assert_eq!(reading.problems.len(), PROBLEMS_MAX + 1, "{format}");
        let last = &reading.problems[PROBLEMS_MAX].message;
        assert!(reading.is_cut && last.contains("reading ends here"), "{format}: {last}");
    }
    let formulas = format!("userName,title\n{}", "a,=1\n".repeat(NOTES_MAX + 50));
    assert_eq!(read_text(Format::Csv, &formulas).notes.len(), NOTES_MAX);
}

#[test]
fn values_and_headings_without_number_cost_no_quadratic_time() {
    let mails: Vec<String> = (0..200_000).map(|n| format!("mail: a{n}@example.com\n")).collect();
    let mails = mails.concat();
    let entry = format!("dn: uid=a,dc=x\nobjectClass: person\nuid: a\n{mails}");
    assert_eq!(mistakes(&read_text(Format::Ldif, &entry)), ["line 1|mail|it has more than 1000 values"]);
    let headings: Vec<String> = (0..300_000).map(|n| format!("h{n}")).collect();
    let reading = read_text(Format::Csv, &format!("userName,{}\n", headings.join(",")));
    assert!(reading.problems[0].message.contains("no user"), "{:?}", reading.problems);
}

#[test]
fn a_mapping_says_what_columns_become() {
    let mapping = Mapping::parse(
        "separator = \"|\"\ngroups = \"G\"\n[columns]\n\"A\" = [\"userName\", \"emails[type eq \\\"home\\\"].value\"]\n\
         \"N\" = { path = \"urn:x:y:1.0:Z:n\", type = \"integer\" }\n\"R\" = \"roles\"\n[constants]\n\"active\" = false\n",
    )
    .unwrap();
    let reading = read(Format::Csv, b"A,N,R,G,title\nx,7,p|q,One|Two,no\n", &mapping);
    assert_eq!(
        Value::Object(reading.records[0].body.clone()),
        json!({"userName": "x", "emails": [{"value": "x", "type": "home", "primary": true}], "urn:x:y:1.0:Z": {"n": 7},
            "roles": [{"value": "p"}, {"value": "q"}], "active": false})
    );
    assert_eq!(reading.records.len(), 3);
    for (text, wanted) in [
        ("x = 1", "unknown field `x`"),
        ("delimiter = \"ab\"", "one ASCII character"),
        ("[columns]\nA = \"members\"", "column `A`: `members` cannot be set"),
        ("[columns]\nA = { path = \"title\", type = \"date\" }", "`type` is string, boolean or integer"),
        ("[columns]\nA = \"emails[type eq]\"", "is no attribute path"),
        ("[constants]\nA = []", "constant `A`"),
    ] {
        let error = Mapping::parse(text).unwrap_err().to_string();
        assert!(error.contains(wanted), "{text}: {error}");
    }
}

/// A person, as generated.
#[derive(Debug, Clone)]
struct Person {
    user_name: String,
    display: String,
    mail: String,
    title: String,
}

fn text() -> impl Strategy<Value = String> {
    // Anything a spreadsheet or an LDAP server may hold, but no space at the ends, which CSV readers take away.
    "[^\\x00]{0,40}".prop_map(|text: String| text.trim().to_owned())
}

fn people() -> impl Strategy<Value = Vec<Person>> {
    let person = ("[a-zäø中]{1,8}", text(), text(), text())
        .prop_map(|(name, display, mail, title)| (name, display, mail, title));
    proptest::collection::vec(person, 1..12).prop_map(|all| {
        let number = |(n, (name, display, mail, title)): (usize, (String, String, String, String))| Person {
            user_name: format!("{name}{n}"),
            display,
            mail: mail.replace([';', ' '], ""),
            title,
        };
        all.into_iter().enumerate().map(number).collect()
    })
}

fn wanted(person: &Person) -> Value {
    let mut body = Map::new();
    body.insert("userName".into(), person.user_name.clone().into());
    for (key, text) in [("displayName", &person.display), ("title", &person.title)] {
        if !text.is_empty() {
            body.insert(key.into(), text.clone().into());
        }
    }
    if !person.mail.trim().is_empty() {
        body.insert("emails".into(), json!([{"value": person.mail.trim(), "type": "work", "primary": true}]));
    }
    Value::Object(body)
}

fn sorted(value: &Value) -> std::collections::BTreeMap<String, Value> {
    value.as_object().unwrap().clone().into_iter().collect()
}

proptest! {
    #[test]
    fn people_written_as_csv_are_read_back(people in people()) {
        let mut out = ::csv::Writer::from_writer(Vec::new());
        out.write_record(["userName", "displayName", "email", "title"]).unwrap();
        for person in &people {
            out.write_record([&person.user_name, &person.display, &person.mail, &person.title]).unwrap();
        }
        let reading = read(Format::Csv, &out.into_inner().unwrap(), &Mapping::default());
        prop_assert_eq!(&reading.problems, &[]);
        let found: Vec<_> = bodies(&reading).iter().map(sorted).collect();
        prop_assert_eq!(found, people.iter().map(|one| sorted(&wanted(one))).collect::<Vec<_>>());
    }

    #[test]
    fn people_written_as_ldif_are_read_back_however_it_is_folded(people in people(), width in 3..80_usize) {
        use base64::Engine as _;
        let mut out = "version: 1\n\n".to_owned();
        for person in &people {
            let mut entry = vec![format!("dn: uid={},dc=x", person.user_name), "objectClass: person".to_owned()];
            for (name, text) in
                [("uid", &person.user_name), ("displayName", &person.display), ("mail", &person.mail), ("title", &person.title)]
            {
                let safe = text.chars().all(|c| c.is_ascii_graphic() || c == ' ') && !text.starts_with([':', '<', ' ']);
                if text.is_empty() {
                } else if safe {
                    entry.push(format!("{name}: {text}"));
                } else {
                    entry.push(format!("{name}:: {}", base64::engine::general_purpose::STANDARD.encode(text)));
                }
            }
            for line in entry {
                let chars: Vec<char> = line.chars().collect();
                let folded: Vec<String> = chars.chunks(width).map(|part| part.iter().collect()).collect();
                out.push_str(&folded.join("\n "));
                out.push('\n');
            }
            out.push('\n');
        }
        let reading = read(Format::Ldif, out.as_bytes(), &Mapping::default());
        prop_assert_eq!(&reading.problems, &[]);
        let found: Vec<_> = bodies(&reading).iter().map(sorted).collect();
        let wanted: Vec<_> = people.iter().map(|one| {
            let mut body = wanted(one);
            // A mail that only spaces remain of was written as it is.
            if !one.mail.is_empty() {
                body["emails"] = json!([{"value": one.mail, "type": "work", "primary": true}]);
            }
            sorted(&body)
        }).collect();
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn no_bytes_break_a_reader_and_no_text_that_comes_out_holds_nul(
        bytes in proptest::collection::vec(any::<u8>(), 0..400), prefix in 0..6_usize
    ) {
        let start: &[u8] = [&b""[..], b"dn: cn=a\nobjectClass: person\nuid: ", b"userName,a\n", b"[{\"userName\":\"", b"dn:: ", b"userName\n\""][prefix];
        let mut all = start.to_vec();
        all.extend(bytes);
        for format in Format::ALL {
            for record in read(format, &all, &Mapping::default()).records {
                prop_assert!(!serde_json::to_string(&record).unwrap().contains("\\u0000"));
            }
        }
    }
}
