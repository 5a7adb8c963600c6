//! A bound filter → SQL text with parameters. Only constant text and placeholders come out; every name and value of
//! a client is a parameter.
//!
//! INVARIANT: the SQL means what [`crate::scim::filter::matches`] means; a property test compares the two. Columns
//! and side tables are used where an identity provider's look-ups want an index; all else reads the document.
//! Where the SQL may come out NULL instead of false, that is noted by `exact`.

use crate::model::ResourceId;
use crate::scim::filter::{Bound, BoundPath, CompareOp, Literal, fold};
use crate::scim::schema::DataType;

use super::directory::DirectoryRef;
use super::engine::Param;

/// A parameter that outlives the filter.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Owned {
    Int(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

impl Owned {
    pub(super) fn as_param(&self) -> Param<'_> {
        match self {
            Self::Int(value) => Param::Int(*value),
            Self::Real(value) => Param::Real(*value),
            Self::Text(text) => Param::Text(text),
            Self::Blob(bytes) => Param::Blob(bytes),
        }
    }
}

/// SQL being written, over the table alias `r`.
pub(super) struct Compiler {
    params: Vec<Owned>,
    directory: i64,
    /// Elements of arrays get an alias each.
    aliases: usize,
}

/// Where a value comes from: an SQL expression for its JSON type and one for itself.
struct Place {
    kind: String,
    value: String,
}

impl Compiler {
    pub(super) fn new(directory: &DirectoryRef) -> Self {
        Self { params: Vec::new(), directory: directory.key, aliases: 0 }
    }

    /// Adds a parameter and answers its placeholder.
    pub(super) fn param(&mut self, value: Owned) -> String {
        let known = self.params.iter().position(|one| *one == value);
        let at = known.unwrap_or_else(|| {
            self.params.push(value);
            self.params.len() - 1
        });
        format!("?{}", at + 1)
    }

    pub(super) fn params(&self) -> Vec<Param<'_>> {
        self.params.iter().map(Owned::as_param).collect()
    }

    /// The condition for a filter.
    pub(super) fn condition(&mut self, filter: &Bound) -> String {
        self.bound(filter, false)
    }

    /// `exact`: false must come out as 0, not as NULL, because a NOT stands around it.
    fn bound(&mut self, filter: &Bound, exact: bool) -> String {
        match filter {
            Bound::Const(outcome) => u8::from(*outcome).to_string(),
            Bound::And(all) => self.join(all, " AND ", "1", exact),
            Bound::Or(all) => self.join(all, " OR ", "0", exact),
            Bound::Not(inner) => format!("NOT {}", self.bound(inner, true)),
            Bound::Compare { path, op, value } => {
                let sql = self.compare(path, *op, value);
                if exact { format!("COALESCE({sql}, 0)") } else { sql }
            }
            Bound::Present(path) => self.present(path),
            Bound::Element { path, filter } => self.element(path, filter),
        }
    }

    fn join(&mut self, all: &[Bound], word: &str, none: &str, exact: bool) -> String {
        if all.is_empty() {
            return none.to_owned();
        }
        let parts: Vec<String> = all.iter().map(|one| self.bound(one, exact)).collect();
        format!("({})", parts.join(word))
    }

    fn compare(&mut self, path: &BoundPath, op: CompareOp, value: &Literal) -> String {
        if path.extension.is_none() {
            match (path.attribute.as_str(), path.sub.as_deref()) {
                ("id", _) => return self.compare_id("r.id", path, op, value),
                ("meta", Some(sub)) => return self.compare_meta(sub, op, value),
                ("members", sub) => return self.some_member(path, sub, op, value),
                ("groups", _) => return self.some_group(path, op, value),
                _ => {}
            }
        }
        match self.indexed(path, op, value) {
            Some(narrow) if path.multi_valued => {
                let sql = self.compare_stored(path, op, value);
                format!("({narrow} AND {sql})")
            }
            Some(column) => column,
            None => self.compare_stored(path, op, value),
        }
    }

    /// The same condition on an indexed column, or for e-mails a wider one on the side table.
    fn indexed(&mut self, path: &BoundPath, op: CompareOp, value: &Literal) -> Option<String> {
        let Literal::String(text) = value else { return None };
        if op != CompareOp::Eq || path.extension.is_some() {
            return None;
        }
        let column = match (path.attribute.as_str(), path.sub.as_deref(), path.case_exact) {
            ("userName", None, false) => "r.user_name_key",
            ("displayName", None, false) => "r.display_name_key",
            ("externalId", None, true) => {
                let wanted = self.param(Owned::Text(text.clone()));
                return Some(format!("r.external_id = {wanted}"));
            }
            ("emails", Some("value"), _) => return Some(self.some_email(text)),
            _ => return None,
        };
        let wanted = self.param(Owned::Text(fold(text)));
        Some(format!("{column} = {wanted}"))
    }

    fn some_email(&mut self, text: &str) -> String {
        let dir = self.param(Owned::Int(self.directory));
        let wanted = self.param(Owned::Text(fold(text)));
        format!("r.rid IN (SELECT k.rid FROM email_key k WHERE k.dir = {dir} AND k.value_key = {wanted})")
    }

    fn compare_stored(&mut self, path: &BoundPath, op: CompareOp, value: &Literal) -> String {
        if !path.multi_valued {
            let place = self.single(path);
            return self.test(&place, path, op, value);
        }
        self.some_element(path, |compiler, alias| {
            let place = compiler.of_element(alias, path.sub.as_deref());
            compiler.test(&place, path, op, value)
        })
    }

    fn present(&mut self, path: &BoundPath) -> String {
        if path.extension.is_none() {
            match (path.attribute.as_str(), path.sub.as_deref()) {
                ("id" | "meta", _) => return "1".to_owned(),
                ("members", _) => {
                    return "EXISTS (SELECT 1 FROM member m WHERE m.group_rid = r.rid)".to_owned();
                }
                ("groups", _) => {
                    return "EXISTS (SELECT 1 FROM member m WHERE m.member_rid = r.rid)".to_owned();
                }
                _ => {}
            }
        }
        let full = |place: &Place| {
            let typed = typed(place, path.data_type);
            format!("COALESCE({typed} AND {}, 0)", not_empty(place))
        };
        if !path.multi_valued {
            return full(&self.single(path));
        }
        self.some_element(path, |compiler, alias| full(&compiler.of_element(alias, path.sub.as_deref())))
    }

    fn element(&mut self, path: &BoundPath, filter: &Bound) -> String {
        match (&path.extension, path.attribute.as_str()) {
            (None, "members") => {
                let inner = self.inside_member(filter);
                let narrow = named_value(filter).map(|value| self.member_is(value));
                let sql = format!(
                    "EXISTS (SELECT 1 FROM member m CROSS JOIN resource x \
                     WHERE x.rid = m.member_rid AND m.group_rid = r.rid AND {inner})"
                );
                narrow.map_or(sql.clone(), |narrow| format!("({narrow} AND {sql})"))
            }
            (None, "groups") => {
                let inner = self.inside_member(filter);
                format!(
                    "EXISTS ({UP} SELECT 1 FROM up CROSS JOIN resource x WHERE x.rid = up.rid AND {inner})"
                )
            }
            (None, "emails") => {
                let narrow = named_value(filter).map(str::to_owned).map(|value| self.some_email(&value));
                let sql = self.some_element(path, |compiler, alias| compiler.inside(filter, alias));
                narrow.map_or(sql.clone(), |narrow| format!("({narrow} AND {sql})"))
            }
            _ => self.some_element(path, |compiler, alias| compiler.inside(filter, alias)),
        }
    }

    /// A filter said of one array element; always 0 or 1.
    fn inside(&mut self, filter: &Bound, alias: &str) -> String {
        match filter {
            Bound::Const(outcome) => u8::from(*outcome).to_string(),
            Bound::And(all) => self.inside_all(all, " AND ", "1", &|c, one| c.inside(one, alias)),
            Bound::Or(all) => self.inside_all(all, " OR ", "0", &|c, one| c.inside(one, alias)),
            Bound::Not(inner) => format!("NOT {}", self.inside(inner, alias)),
            Bound::Compare { path, op, value } => {
                let place = self.of_element(alias, path.sub.as_deref());
                let sql = self.test(&place, path, *op, value);
                format!("COALESCE({sql}, 0)")
            }
            Bound::Present(path) => {
                let place = self.of_element(alias, path.sub.as_deref());
                format!("COALESCE({}, 0)", not_empty(&place))
            }
            Bound::Element { .. } => "0".to_owned(),
        }
    }

    /// A filter said of one member, or one group, in alias `x`; always 0 or 1.
    fn inside_member(&mut self, filter: &Bound) -> String {
        match filter {
            Bound::Const(outcome) => u8::from(*outcome).to_string(),
            Bound::And(all) => self.inside_all(all, " AND ", "1", &Self::inside_member),
            Bound::Or(all) => self.inside_all(all, " OR ", "0", &Self::inside_member),
            Bound::Not(inner) => format!("NOT {}", self.inside_member(inner)),
            Bound::Compare { path, op, value } => {
                let sql = match path.sub.as_deref() {
                    Some("value") => self.compare_id("x.id", path, *op, value),
                    Some("type") if path.attribute == "members" => self.compare_type(path, *op, value),
                    _ => "0".to_owned(),
                };
                format!("COALESCE({sql}, 0)")
            }
            Bound::Present(path) => {
                let there = match path.sub.as_deref() {
                    Some("value") => true,
                    Some("type") => path.attribute == "members",
                    _ => false,
                };
                u8::from(there).to_string()
            }
            Bound::Element { .. } => "0".to_owned(),
        }
    }

    fn inside_all(
        &mut self,
        all: &[Bound],
        word: &str,
        none: &str,
        each: &dyn Fn(&mut Self, &Bound) -> String,
    ) -> String {
        if all.is_empty() {
            return none.to_owned();
        }
        let parts: Vec<String> = all.iter().map(|one| each(self, one)).collect();
        format!("({})", parts.join(word))
    }

    fn compare_id(&mut self, column: &str, path: &BoundPath, op: CompareOp, value: &Literal) -> String {
        let Literal::String(text) = value else { return "0".to_owned() };
        if op == CompareOp::Eq {
            let text = if path.case_exact { text.clone() } else { fold(text) };
            return match ResourceId::parse(&text) {
                Some(id) => format!("{column} = {}", self.param(Owned::Blob(id.as_bytes().to_vec()))),
                None => "0".to_owned(),
            };
        }
        self.compare_text(&format!("scim_id({column})"), op, text, path.case_exact)
    }

    fn compare_type(&mut self, path: &BoundPath, op: CompareOp, value: &Literal) -> String {
        let Literal::String(text) = value else { return "0".to_owned() };
        let word = "CASE x.type WHEN 1 THEN 'User' ELSE 'Group' END";
        self.compare_text(word, op, text, path.case_exact)
    }

    fn compare_meta(&mut self, sub: &str, op: CompareOp, value: &Literal) -> String {
        let (column, wanted) = match (sub, value) {
            ("created", Literal::Instant(at)) => ("r.created_at", at.0),
            ("lastModified", Literal::Instant(at)) => ("r.modified_at", at.0),
            ("version", Literal::Number(number)) => ("r.version", number.as_i64().unwrap_or(-1)),
            _ => return "0".to_owned(),
        };
        match order_word(op) {
            Some(word) => format!("{column} {word} {}", self.param(Owned::Int(wanted))),
            None => "0".to_owned(),
        }
    }

    /// Groups with one member of this id, by the member's index.
    fn member_is(&mut self, value: &str) -> String {
        let Some(id) = ResourceId::parse(value) else { return "0".to_owned() };
        let id = self.param(Owned::Blob(id.as_bytes().to_vec()));
        let dir = self.param(Owned::Int(self.directory));
        format!(
            "r.rid IN (SELECT m.group_rid FROM resource x CROSS JOIN member m \
             WHERE m.member_rid = x.rid AND x.id = {id} AND x.dir = {dir})"
        )
    }

    fn some_member(&mut self, path: &BoundPath, sub: Option<&str>, op: CompareOp, value: &Literal) -> String {
        let test = match (sub, op, value) {
            (Some("type"), ..) => self.compare_type(path, op, value),
            (_, CompareOp::Eq, Literal::String(text)) if path.case_exact => return self.member_is(text),
            _ => self.compare_id("x.id", path, op, value),
        };
        format!(
            "EXISTS (SELECT 1 FROM member m CROSS JOIN resource x \
             WHERE x.rid = m.member_rid AND m.group_rid = r.rid AND ({test}))"
        )
    }

    /// Users in some group directly or through others.
    fn some_group(&mut self, path: &BoundPath, op: CompareOp, value: &Literal) -> String {
        if let (CompareOp::Eq, Literal::String(text), true) = (op, value, path.case_exact) {
            let Some(id) = ResourceId::parse(text) else { return "0".to_owned() };
            let id = self.param(Owned::Blob(id.as_bytes().to_vec()));
            let dir = self.param(Owned::Int(self.directory));
            return format!(
                "r.rid IN (WITH RECURSIVE down (rid) AS (\
                   SELECT m.member_rid FROM resource x CROSS JOIN member m \
                   WHERE m.group_rid = x.rid AND x.id = {id} AND x.dir = {dir} \
                   UNION SELECT m.member_rid FROM down JOIN member m ON m.group_rid = down.rid) \
                 SELECT rid FROM down)"
            );
        }
        let test = self.compare_id("x.id", path, op, value);
        format!("EXISTS ({UP} SELECT 1 FROM up CROSS JOIN resource x WHERE x.rid = up.rid AND ({test}))")
    }

    /// The value of a single-valued attribute.
    fn single(&mut self, path: &BoundPath) -> Place {
        let mut steps: Vec<&str> = path.extension.as_deref().into_iter().collect();
        steps.push(&path.attribute);
        steps.extend(path.sub.as_deref());
        let at = self.param(Owned::Text(json_path(&steps)));
        Place { kind: format!("json_type(r.doc, {at})"), value: format!("json_extract(r.doc, {at})") }
    }

    fn of_element(&mut self, alias: &str, sub: Option<&str>) -> Place {
        match sub {
            None => Place { kind: format!("{alias}.type"), value: format!("{alias}.value") },
            Some(sub) => {
                let at = self.param(Owned::Text(json_path(&[sub])));
                // An element that is a plain text is no JSON, so the functions must not see it.
                let guard = |what: &str| {
                    format!("CASE WHEN {alias}.type = 'object' THEN {what}({alias}.value, {at}) END")
                };
                Place { kind: guard("json_type"), value: guard("json_extract") }
            }
        }
    }

    fn some_element(&mut self, path: &BoundPath, test: impl FnOnce(&mut Self, &str) -> String) -> String {
        self.aliases += 1;
        let alias = format!("e{}", self.aliases);
        let mut steps: Vec<&str> = path.extension.as_deref().into_iter().collect();
        steps.push(&path.attribute);
        let at = self.param(Owned::Text(json_path(&steps)));
        let inner = test(self, &alias);
        format!(
            "(COALESCE(json_type(r.doc, {at}) = 'array', 0) AND \
             EXISTS (SELECT 1 FROM json_each(r.doc, {at}) {alias} WHERE {inner}))"
        )
    }

    /// One value compared; NULL or 0 if it is not there, not of the type, or does not compare so.
    fn test(&mut self, place: &Place, path: &BoundPath, op: CompareOp, value: &Literal) -> String {
        let typed = typed(place, path.data_type);
        let found = &place.value;
        let test = match value {
            Literal::Null => return "0".to_owned(),
            Literal::Bool(wanted) => {
                // Order of booleans is refused when a filter is bound.
                let word = if *wanted { "'true'" } else { "'false'" };
                let sign = if op == CompareOp::Ne { "<>" } else { "=" };
                format!("{} {sign} {word}", place.kind)
            }
            Literal::Number(number) => {
                let Some(word) = order_word(op) else { return "0".to_owned() };
                let wanted = match (number.as_i64(), number.as_f64()) {
                    (Some(whole), _) => Owned::Int(whole),
                    (None, Some(real)) => Owned::Real(real),
                    (None, None) => return "0".to_owned(),
                };
                format!("{found} {word} {}", self.param(wanted))
            }
            Literal::Instant(at) => {
                let Some(word) = order_word(op) else { return "0".to_owned() };
                format!("scim_instant({found}) {word} {}", self.param(Owned::Int(at.0)))
            }
            Literal::String(text) => self.compare_text(found, op, text, path.case_exact),
        };
        format!("({typed} AND {test})")
    }

    fn compare_text(&mut self, found: &str, op: CompareOp, wanted: &str, case_exact: bool) -> String {
        let (found, wanted) = if case_exact {
            (found.to_owned(), wanted.to_owned())
        } else {
            (format!("scim_fold({found})"), fold(wanted))
        };
        let wanted = self.param(Owned::Text(wanted));
        match op {
            CompareOp::Co => format!("scim_contains({found}, {wanted})"),
            CompareOp::Sw => format!("scim_starts({found}, {wanted})"),
            CompareOp::Ew => format!("scim_ends({found}, {wanted})"),
            _ => format!("{found} {} {wanted}", order_word(op).unwrap_or("=")),
        }
    }

    /// An expression to sort by: folded text unless case matters, NULL where there is no value.
    pub(super) fn sort_key(&mut self, path: &BoundPath) -> String {
        if path.extension.is_none() {
            match (path.attribute.as_str(), path.sub.as_deref()) {
                ("id", _) => return "scim_id(r.id)".to_owned(),
                ("meta", Some("created")) => return "r.created_at".to_owned(),
                ("meta", Some("lastModified")) => return "r.modified_at".to_owned(),
                ("meta", Some("version")) => return "r.version".to_owned(),
                ("userName", None) if !path.case_exact => return "r.user_name_key".to_owned(),
                ("displayName", None) if !path.case_exact => return "r.display_name_key".to_owned(),
                ("members" | "groups" | "meta", _) => return "NULL".to_owned(),
                _ => {}
            }
        }
        if !path.multi_valued {
            let place = self.single(path);
            return ordered_value(&place, path);
        }
        self.aliases += 1;
        let alias = format!("e{}", self.aliases);
        let mut steps: Vec<&str> = path.extension.as_deref().into_iter().collect();
        steps.push(&path.attribute);
        let at = self.param(Owned::Text(json_path(&steps)));
        let value = ordered_value(&self.of_element(&alias, path.sub.as_deref()), path);
        let primary = self.of_element(&alias, Some("primary"));
        format!(
            "(SELECT {value} FROM json_each(r.doc, {at}) {alias} WHERE json_type(r.doc, {at}) = 'array' \
             ORDER BY COALESCE({} = 'true', 0) DESC, {alias}.key LIMIT 1)",
            primary.kind
        )
    }
}

/// All groups above `r`, direct ones first; cycles end by UNION.
const UP: &str = "WITH RECURSIVE up (rid) AS (\
    SELECT m.group_rid FROM member m WHERE m.member_rid = r.rid \
    UNION SELECT m.group_rid FROM up JOIN member m ON m.member_rid = up.rid)";

fn ordered_value(place: &Place, path: &BoundPath) -> String {
    let typed = typed(place, path.data_type);
    let value = match path.data_type {
        DataType::DateTime => format!("scim_instant({})", place.value),
        DataType::Boolean | DataType::Integer | DataType::Decimal => place.value.clone(),
        _ if path.case_exact => place.value.clone(),
        _ => format!("scim_fold({})", place.value),
    };
    format!("CASE WHEN {typed} THEN {value} END")
}

fn json_path(steps: &[&str]) -> String {
    let mut path = String::from("$");
    for step in steps {
        path.push_str(".\"");
        path.push_str(step);
        path.push('"');
    }
    path
}

/// Whether the stored value has the schema's type.
fn typed(place: &Place, data_type: DataType) -> String {
    let kind = &place.kind;
    match data_type {
        DataType::Boolean => format!("{kind} IN ('true', 'false')"),
        DataType::Integer | DataType::Decimal => format!("{kind} IN ('integer', 'real')"),
        DataType::Complex => format!("{kind} = 'object'"),
        _ => format!("{kind} = 'text'"),
    }
}

fn not_empty(place: &Place) -> String {
    let Place { kind, value } = place;
    format!(
        "{kind} <> 'null' AND NOT ({kind} = 'text' AND {value} = '') AND NOT ({kind} = 'array' AND {value} = '[]') \
         AND NOT ({kind} = 'object' AND {value} = '{{}}')"
    )
}

fn order_word(op: CompareOp) -> Option<&'static str> {
    match op {
        CompareOp::Eq => Some("="),
        CompareOp::Ne => Some("<>"),
        CompareOp::Gt => Some(">"),
        CompareOp::Ge => Some(">="),
        CompareOp::Lt => Some("<"),
        CompareOp::Le => Some("<="),
        CompareOp::Co | CompareOp::Sw | CompareOp::Ew => None,
    }
}

/// The `value` an element must equal to satisfy the filter, if the filter says so by itself.
fn named_value(filter: &Bound) -> Option<&str> {
    match filter {
        Bound::Compare { path, op: CompareOp::Eq, value: Literal::String(text) } => {
            (path.sub.as_deref() == Some("value")).then_some(text)
        }
        Bound::And(all) => all.iter().find_map(named_value),
        _ => None,
    }
}
