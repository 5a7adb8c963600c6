//! What a new config would alter: does it only add, or may it take something away? (DESIGN §4)
//!
//! Pure. The watcher on the file applies by itself what only adds; what may take access away waits for `reload`.
//! INVARIANT: in doubt a difference counts as taking away; a false alarm costs one command, a miss costs a door.

use std::collections::BTreeMap;

use super::{Config, Directory, Reader};
use crate::access::{OnRename, Role};
use crate::downstream::webhook;
use crate::http::{limits, listener, scim_api, tls};
use crate::model::DirectoryId;
use crate::reconcile::event::body::BodyFormat;
use crate::reconcile::{self, FileSettings, Sending, Shape, TargetKind, TargetSettings, WebhookSettings};
use crate::scim::schema::Extension;

/// How a new config differs from the one that is running. Each entry is a key with what happens to it, for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// What only adds, or changes nothing that a target holds.
    pub adds: Vec<String>,
    /// What may take access away, or stop something from being kept true.
    pub removes: Vec<String>,
    /// What counts from the next start on only.
    pub restarts: Vec<String>,
}

impl Difference {
    /// True if nothing in it may take anything away.
    pub fn only_adds(&self) -> bool {
        self.removes.is_empty()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.adds.is_empty() && self.removes.is_empty() && self.restarts.is_empty()
    }

    fn note(&mut self, adds: bool, what: impl Into<String>) {
        if adds { self.adds.push(what.into()) } else { self.removes.push(what.into()) }
    }
}

/// What `new` alters against `old`.
pub fn between(old: &Config, new: &Config) -> Difference {
    let mut found = Difference::default();
    for (key, is_new) in [
        ("server.listen", old.server.listener != new.server.listener),
        ("server.tls", old.server.tls != new.server.tls),
        ("server.limits", old.server.limits != new.server.limits),
        ("publish: listen, tls or limits", listening(old) != listening(new)),
        ("admin.socket", old.admin.socket != new.admin.socket),
        ("admin: listen or tls", people(old) != people(new)),
        ("mirror.path", old.mirror.path != new.mirror.path),
        ("log.format", old.log.format != new.log.format),
        ("log.otlp", old.log.otlp != new.log.otlp),
    ] {
        if is_new {
            found.restarts.push(format!("{key} changes"));
        }
    }
    // Whom we answer and under which address is not what a target holds, but it can shut an identity provider out.
    let untied = |config: &Config| scim_api::Settings {
        client_subjects: BTreeMap::new(),
        ..config.server.scim.clone()
    };
    if untied(old) != untied(new) {
        found.removes.push("server: public_url, base_path, trusted_proxies or allow_from changes".to_owned());
    }
    if old.mirror.keep != new.mirror.keep {
        let longer = match (old.mirror.keep.history, new.mirror.keep.history) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(old), Some(new)) => new >= old,
        };
        found.note(longer, "mirror.history changes");
    }
    if old.log.level != new.log.level {
        found.adds.push("log.level changes".to_owned());
    }
    if old.activity != new.activity {
        found.adds.push("log: requests or requests_age changes".to_owned());
    }
    directories(&old.directories, &new.directories, &mut found);
    schemas(old, new, &mut found);
    roles(old, new, &mut found);
    targets(old, new, &mut found);
    readers(old, new, &mut found);
    users(old, new, &mut found);
    found
}

/// What of `[admin]` counts from the next start on.
fn people(config: &Config) -> Option<(&listener::Settings, Option<&tls::Settings>)> {
    config.admin.web.as_ref().map(|one| (&one.listener, one.tls.as_ref()))
}

/// Somebody who comes, or may do more, only adds; somebody who has to sign in anew may find that they cannot.
fn users(old: &Config, new: &Config, found: &mut Difference) {
    let (old, new) = match (&old.admin.web, &new.admin.web) {
        (Some(old), Some(new)) => (old, new),
        (Some(_), None) => {
            found.removes.push("admin.listen goes; nobody may sign in any more".to_owned());
            return;
        }
        (None, _) => return,
    };
    if (&old.trusted_proxies, &old.allow_from, &old.public_url)
        != (&new.trusted_proxies, &new.allow_from, &new.public_url)
    {
        found.removes.push("admin: public_url, trusted_proxies or allow_from changes".to_owned());
    }
    for was in &old.users {
        let key = format!("admin.user.{}", was.name);
        let Some(is) = new.users.iter().find(|one| one.name == was.name) else {
            found.removes.push(format!("{key} goes"));
            continue;
        };
        if was.role != is.role {
            found.note(is.role > was.role, format!("{key}.role changes"));
        }
        if was.password != is.password {
            found.removes.push(format!("{key}.password_file changes"));
        }
    }
    for is in new.users.iter().filter(|is| !old.users.iter().any(|was| was.name == is.name)) {
        found.adds.push(format!("admin.user.{} comes", is.name));
    }
}

/// What of `[publish]` counts from the next start on.
fn listening(config: &Config) -> Option<(&listener::Settings, Option<&tls::Settings>, &limits::Settings)> {
    config.publish.as_ref().map(|one| (&one.listener, one.tls.as_ref(), &one.limits))
}

/// A reader that comes, or may read more, only adds. One that may read less holds nothing less at once, but what it
/// feeds goes stale.
fn readers(old: &Config, new: &Config, found: &mut Difference) {
    let networks = |config: &Config| {
        config.publish.as_ref().map(|one| (one.trusted_proxies.clone(), one.allow_from.clone()))
    };
    if old.publish.is_some() && new.publish.is_some() && networks(old) != networks(new) {
        found.removes.push("publish: trusted_proxies or allow_from changes".to_owned());
    }
    for was in &old.readers {
        let key = format!("reader.{}", was.name);
        let Some(is) = new.readers.iter().find(|one| one.name == was.name) else {
            found.removes.push(format!("{key} goes; its tokens are refused"));
            continue;
        };
        if was.tokens != is.tokens {
            found.note(has_all(&is.tokens, &was.tokens), format!("{key}.token_file changes"));
        }
        if was.targets != is.targets {
            found.note(is.targets.is_superset(&was.targets), format!("{key}.targets changes"));
        }
        if was.events != is.events || was.metrics != is.metrics {
            let is_more = is.events >= was.events && is.metrics >= was.metrics;
            found.note(is_more, format!("{key}: events or metrics changes"));
        }
    }
    let is_new = |one: &&Reader| !old.readers.iter().any(|was| was.name == one.name);
    found.adds.extend(new.readers.iter().filter(is_new).map(|one| format!("reader.{} comes", one.name)));
}

fn directories(old: &[Directory], new: &[Directory], found: &mut Difference) {
    for was in old {
        let Some(is) = new.iter().find(|one| one.id == was.id) else {
            found.removes.push(format!("directory.{} goes and is disabled", was.id));
            continue;
        };
        let key = format!("directory.{}", was.id);
        if was.name != is.name {
            found.adds.push(format!("{key}.name changes"));
        }
        if was.kind != is.kind || was.quirks != is.quirks {
            found.removes.push(format!("{key}: kind or quirks change"));
        }
        if was.token != is.token {
            found.note(was.token.is_none(), format!("{key}.token_file changes"));
        }
        if was.client_subjects != is.client_subjects {
            // None at all means that the token is enough.
            let is_wider = is.client_subjects.is_empty()
                || (!was.client_subjects.is_empty() && has_all(&is.client_subjects, &was.client_subjects));
            found.note(is_wider, format!("{key}.client_subject changes"));
        }
        if was.claims != is.claims {
            // No pattern at all means everybody.
            let is_wider =
                is.claims.is_empty() || (!was.claims.is_empty() && has_all(&is.claims, &was.claims));
            found.note(is_wider, format!("{key}.claims changes"));
        }
    }
    let added: Vec<_> = new.iter().filter(|one| !old.iter().any(|was| was.id == one.id)).collect();
    found.adds.extend(added.iter().map(|one| format!("directory.{} comes", one.id)));
    // Order is precedence: one that comes before an old one may take people over, and so may a new order.
    let kept = |all: &[Directory], others: &[Directory]| -> Vec<DirectoryId> {
        all.iter()
            .filter(|one| others.iter().any(|other| other.id == one.id))
            .map(|one| one.id.clone())
            .collect()
    };
    let kept_before = kept(old, new);
    let leading: Vec<_> = new.iter().take(kept_before.len()).map(|one| one.id.clone()).collect();
    if kept_before != leading {
        found
            .removes
            .push("the order of directories changes, and with it who owns a name that two bring".to_owned());
    }
}

/// A schema that comes and asks for nothing only adds; any other difference may refuse a push or change a filter.
fn schemas(old: &Config, new: &Config, found: &mut Difference) {
    let key = |one: &Extension| format!("schema.{}", one.schema.urn);
    let same =
        |a: &Extension, b: &Extension| a.resource_type == b.resource_type && a.schema.is(&b.schema.urn);
    for was in &old.schemas {
        match new.schemas.iter().find(|is| same(was, is)) {
            None => found.removes.push(format!("{} goes; its values stay as they are", key(was))),
            Some(is) if is != was => found.removes.push(format!("{} changes", key(was))),
            Some(_) => {}
        }
    }
    for is in new.schemas.iter().filter(|is| !old.schemas.iter().any(|was| same(was, is))) {
        found.note(!is.required, format!("{} comes", key(is)));
    }
}

fn roles(old: &Config, new: &Config, found: &mut Difference) {
    for was in &old.roles {
        match new.roles.iter().find(|role| role.name == was.name) {
            None => found.removes.push(format!("role.{} goes", was.name)),
            Some(is) => role(was, is, found),
        }
    }
    let is_new = |role: &&Role| !old.roles.iter().any(|was| was.name == role.name);
    found.adds.extend(new.roles.iter().filter(is_new).map(|role| format!("role.{} comes", role.name)));
}

fn role(was: &Role, is: &Role, found: &mut Difference) {
    let key = format!("role.{}", was.name);
    if was.groups != is.groups {
        found.note(has_all(&is.groups, &was.groups), format!("{key}.groups changes"));
    }
    let text = |role: &Role| role.users.as_ref().map(|filter| filter.text.clone());
    if text(was) != text(is) {
        // Whether one filter is wider than another is not asked.
        found.note(was.users.is_none(), format!("{key}.users changes"));
    }
    if was.directories != is.directories {
        let is_wider = match (&was.directories, &is.directories) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(was), Some(is)) => has_all(is, was),
        };
        found.note(is_wider, format!("{key}.directories changes"));
    }
    if was.protected != is.protected {
        found.note(is.protected, format!("{key}.protected changes"));
    }
    if was.on_rename != is.on_rename {
        found.note(is.on_rename == OnRename::Follow, format!("{key}.on_rename changes"));
    }
}

fn targets(old: &Config, new: &Config, found: &mut Difference) {
    for was in &old.targets {
        let key = format!("target.{}", was.name);
        let Some(is) = new.targets.iter().find(|target| target.name == was.name) else {
            found.removes.push(format!("{key} goes; its file stays"));
            continue;
        };
        if was.subject != is.subject {
            found.removes.push(format!("{key}.subject changes"));
        }
        if was.attributes != is.attributes {
            found.note(has_all(&is.attributes, &was.attributes), format!("{key}.attributes changes"));
        }
        if was.apply != is.apply || was.on_change != is.on_change {
            found.removes.push(format!("{key}: apply or on_change changes"));
        }
        if was.schedule != is.schedule || was.wait != is.wait {
            found.adds.push(format!("{key}: schedule or wait changes"));
        }
        if was.guard != is.guard {
            // Whether one set of limits is stricter than another is not asked.
            found.removes.push(format!("{key}.guard changes"));
        }
        match (&was.kind, &is.kind) {
            (TargetKind::File(was), TargetKind::File(is)) => file(&key, (old, was), (new, is), found),
            (TargetKind::Webhook(was), TargetKind::Webhook(is)) => told(&key, (old, was), (new, is), found),
            _ => found.removes.push(format!("{key}.type changes")),
        }
    }
    let is_new = |target: &&TargetSettings| !old.targets.iter().any(|was| was.name == target.name);
    found
        .adds
        .extend(new.targets.iter().filter(is_new).map(|target| format!("target.{} comes", target.name)));
}

fn file(
    key: &str,
    (old, was): (&Config, &FileSettings),
    (new, is): (&Config, &FileSettings),
    found: &mut Difference,
) {
    let template = |config: &Config, file: &FileSettings| {
        let name = file.options.template.as_ref().map(|template| template.name().to_owned());
        name.map(|name| (config.templates.get(&name).cloned(), name))
    };
    let parts = |config: &Config, file: &FileSettings| match &file.shape {
        Shape::Set(parts) => parts
            .iter()
            .map(|part| {
                let template = part.options.template.as_ref().map(|template| template.name().to_owned());
                let text = template.as_ref().and_then(|name| config.templates.get(name).cloned());
                (part.name.clone(), part.format.name, part.options.values.clone(), template, text)
            })
            .collect(),
        Shape::File | Shape::Tree(_) => Vec::new(),
    };
    let tree = |file: &FileSettings| match &file.shape {
        Shape::Tree(tree) => Some(tree.clone()),
        Shape::File | Shape::Set(_) => None,
    };
    if was.shape.as_str() != is.shape.as_str() {
        found.removes.push(format!("{key}.type changes"));
    }
    if tree(was) != tree(is) || parts(old, was) != parts(new, is) {
        found.removes.push(format!("{key}: each, the names or the files of a set change"));
    }
    let is_other_content = was.format.name != is.format.name
        || was.options.values != is.options.values
        || template(old, was) != template(new, is);
    if is_other_content {
        found.removes.push(format!("{key}: format, template or options change"));
    }
    if was.spec != is.spec || was.reload != is.reload {
        found.removes.push(format!("{key}: path, mode, check, verify, reload or keep changes"));
    }
    if was.publish != is.publish {
        found.note(was.publish == reconcile::Publish::Off, format!("{key}.publish changes"));
    }
    if was.poll != is.poll {
        found.adds.push(format!("{key}.poll changes"));
    }
    if was.drift != is.drift || was.on_illegal != is.on_illegal {
        found.removes.push(format!("{key}: drift or on_illegal changes"));
    }
}

fn told(
    key: &str,
    (old, was): (&Config, &WebhookSettings),
    (new, is): (&Config, &WebhookSettings),
    found: &mut Difference,
) {
    match (&was.send, &is.send) {
        (Sending::Http(from), Sending::Http(to)) => http(key, from, to, found),
        (Sending::Exec(from), Sending::Exec(to)) if from != to => {
            found.removes.push(format!("{key}: argv or timeout changes"));
        }
        (Sending::Exec(_), Sending::Exec(_)) => {}
        _ => found.removes.push(format!("{key}.type changes")),
    }
    if was.ordering != is.ordering || was.batch != is.batch || was.after != is.after {
        found.removes.push(format!("{key}: ordering, batch or after changes"));
    }
    if was.bootstrap != is.bootstrap {
        found.adds.push(format!("{key}.bootstrap changes"));
    }
    if was.events != is.events {
        found.removes.push(format!("{key}: events or filter changes"));
    }
    let template = |config: &Config, one: &WebhookSettings| match &one.body.format {
        BodyFormat::Template(template) => config.templates.get(template.name()).cloned(),
        _ => None,
    };
    if was.body != is.body || template(old, was) != template(new, is) {
        found.removes.push(format!("{key}: format, template, payload or a signing key changes"));
    }
}

fn http(key: &str, from: &webhook::Settings, to: &webhook::Settings, found: &mut Difference) {
    if from.url != to.url || from.insecure != to.insecure || from.proxy != to.proxy {
        found.removes.push(format!("{key}: url, insecure or proxy changes"));
    }
    if from.secrets != to.secrets {
        found.note(has_all(&to.secrets, &from.secrets), format!("{key}.secret_file changes"));
    }
    let is_other_credential = from.authorization != to.authorization
        || from.identity != to.identity
        || from.extra_ca != to.extra_ca
        || from.headers != to.headers;
    if is_other_credential {
        found.removes.push(format!("{key}: headers, credentials, client certificate or CA change"));
    }
    if from.timeout != to.timeout || from.connect_timeout != to.connect_timeout {
        found.adds.push(format!("{key}: a time limit changes"));
    }
}

fn has_all<T: PartialEq>(all: &[T], part: &[T]) -> bool {
    part.iter().all(|one| all.contains(one))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::read;

    const BASE: &str = "[[directory]]\nid = \"a\"\nkind = \"okta\"\n[[role]]\nname = \"r\"\ngroups = [\"A\", \"B\"]\n\
         directories = [\"a\"]\n[[target]]\nname = \"t\"\ntype = \"file\"\nformat = \"json\"\npath = \"/srv/rosterd/t\"\n";

    fn difference(old: &str, new: &str) -> Difference {
        between(&read(old).unwrap().config, &read(new).unwrap().config)
    }

    #[test]
    fn the_same_config_differs_in_nothing() {
        assert!(difference(BASE, BASE).is_empty());
    }

    #[test]
    fn what_comes_at_the_end_only_adds() {
        let more = format!(
            "{BASE}[[directory]]\nid = \"b\"\nkind = \"entra\"\n[[role]]\nname = \"s\"\ngroups = [\"S\"]\n\
             directories = [\"b\"]\n[[target]]\nname = \"u\"\ntype = \"file\"\nformat = \"json\"\npath = \"/u\"\n"
        );
        let found = difference(BASE, &more);
        assert!(found.only_adds(), "{found:?}");
        assert_eq!(found.adds, ["directory.b comes", "role.s comes", "target.u comes"]);
        let back = difference(&more, BASE);
        assert_eq!(back.removes.len(), 3, "{back:?}");
    }

    #[test]
    fn a_role_may_grow_by_itself_and_not_shrink() {
        let change = |from: &str, to: &str| difference(BASE, &BASE.replace(from, to)).only_adds();
        assert!(change("\"A\", \"B\"", "\"A\", \"B\", \"C\""));
        assert!(!change("\"A\", \"B\"", "\"A\", \"C\""));
        assert!(change("directories = [\"a\"]\n", ""));
        assert!(!difference(&BASE.replace("directories = [\"a\"]\n", ""), BASE).only_adds());
        assert!(change("groups =", "users = 'active eq true'\ngroups ="));
        assert!(!change("name = \"r\"", "name = \"q\""));
    }

    #[test]
    fn claims_widen_or_narrow() {
        let with =
            |claims: &str| BASE.replace("kind = \"okta\"", &format!("kind = \"okta\"\nclaims = {claims}"));
        let (none, one, two) = (with("[]"), with("[\"*@a\"]"), with("[\"*@a\", \"*@b\"]"));
        assert!(difference(&one, &two).only_adds() && difference(&two, &none).only_adds());
        assert!(!difference(&two, &one).only_adds() && !difference(&none, &one).only_adds());
    }

    #[test]
    fn a_directory_that_comes_first_may_take_people_over() {
        let first = format!("[[directory]]\nid = \"z\"\nkind = \"okta\"\n{BASE}");
        assert!(!difference(BASE, &first).only_adds());
    }

    #[test]
    fn where_and_how_a_target_writes_waits_for_a_person() {
        let change = |from: &str, to: &str| difference(BASE, &BASE.replace(from, to)).only_adds();
        assert!(!change("/srv/rosterd/t", "/srv/rosterd/other"));
        assert!(!change("type =", "subject = \"email\"\ntype ="));
        assert!(change("type =", "schedule = \"@hourly\"\ntype ="));
        assert_eq!(difference(BASE, &format!("[server]\nlisten = \"[::1]:80\"\n{BASE}")).restarts.len(), 1);
    }
}
