//! What a target's files are: one, one for each subject, group or role, or the files of a set. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::access::{View, ViewGroup, ViewUser};
use crate::downstream::file::Digest;
use crate::downstream::format::{Carried, LeftOut, Options, RelativeName, RenderError};
use crate::mirror::owned::Owned;
use crate::model::slug;
use crate::reconcile::settings::{Each, FileSettings, NameKey, NamePattern, Part, Shape, Tree};

/// What was drawn.
#[derive(Debug)]
pub(crate) struct Drawn {
    pub(crate) content: Content,
    pub(crate) left_out: Vec<LeftOut>,
    /// Files that could not be rendered, and why: of what lies there only the revoked go.
    pub(crate) failed: BTreeMap<String, Missed>,
}

/// A file of a tree that cannot be written whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missed {
    /// Who its name belongs to.
    pub(crate) holder: String,
    pub(crate) why: String,
}

/// The bytes to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// Of the one file.
    One(Vec<u8>),
    /// Of each file, by its name in the tree or set.
    Many(BTreeMap<String, Piece>),
}

/// One file of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: Digest,
    /// Who the name belongs to.
    pub(crate) holder: String,
    /// A symlink beside the files, whose bytes are the name it points to.
    pub(crate) is_link: bool,
}

impl Piece {
    fn file(bytes: Vec<u8>, holder: String) -> Self {
        Self { digest: Digest::of(&bytes), bytes, holder, is_link: false }
    }

    fn link(to: &RelativeName) -> Self {
        let bytes = to.as_str().as_bytes().to_vec();
        Self { digest: link_digest(to.as_str()), bytes, holder: String::new(), is_link: true }
    }
}

/// What stands for the bytes of a symlink: never those of a file with the same text.
pub(crate) fn link_digest(to: &str) -> Digest {
    Digest::of(format!("symlink\0{to}").as_bytes())
}

impl Content {
    /// One digest for all of it: of the bytes, or of every name with its digest.
    pub(crate) fn digest(&self) -> Digest {
        match self {
            Self::One(bytes) => Digest::of(bytes),
            Self::Many(pieces) => {
                digest_of_many(pieces.iter().map(|(name, piece)| (name.as_str(), piece.digest)))
            }
        }
    }
}

/// One digest of several files, by name in order.
pub(crate) fn digest_of_many<'a>(files: impl Iterator<Item = (&'a str, Digest)>) -> Digest {
    let lines = files.map(|(name, digest)| format!("{name}\0{digest}\n"));
    Digest::of(lines.collect::<String>().as_bytes())
}

/// Draws all files of a target. `owned` are those of a tree that are there already: in a collision the earlier
/// holder keeps the name.
pub(crate) fn draw(file: &FileSettings, view: &View, owned: &[Owned]) -> Result<Drawn, RenderError> {
    match &file.shape {
        Shape::File => {
            let done = file.format.render(view, &file.options)?;
            let (content, left_out) = (Content::One(done.bytes), done.left_out);
            Ok(Drawn { content, left_out, failed: BTreeMap::new() })
        }
        Shape::Set(parts) => set(parts, view),
        Shape::Tree(Tree::Own) => own(file, view),
        Shape::Tree(Tree::Each { each, name }) => Ok(tree(file, *each, name, view, owned)),
    }
}

fn set(parts: &[Part], view: &View) -> Result<Drawn, RenderError> {
    let mut pieces = BTreeMap::new();
    let mut left_out = Vec::new();
    for part in parts {
        let done = part.format.render(view, &part.options)?;
        pieces.insert(part.name.to_string(), Piece::file(done.bytes, String::new()));
        left_out.extend(done.left_out);
    }
    left_out.sort();
    left_out.dedup();
    Ok(Drawn { content: Content::Many(pieces), left_out, failed: BTreeMap::new() })
}

fn own(file: &FileSettings, view: &View) -> Result<Drawn, RenderError> {
    let done = file.format.render_tree(view, &file.options)?;
    let files =
        done.files.into_iter().map(|(name, bytes)| (name.to_string(), Piece::file(bytes, String::new())));
    let links = done.links.iter().map(|(name, to)| (name.to_string(), Piece::link(to)));
    Ok(Drawn {
        content: Content::Many(files.chain(links).collect()),
        left_out: done.left_out,
        failed: BTreeMap::new(),
    })
}

/// One file to be: for whom, and what of the view it shows.
struct Item<'a> {
    holder: String,
    carried: Carried,
    name: &'a str,
    id: Option<String>,
    /// A role of that name may stand as it is; what an identity provider calls somebody becomes a slug.
    is_trusted: bool,
}

fn items(view: &View, each: Each) -> Vec<Item<'_>> {
    match each {
        Each::Role => view
            .roles
            .iter()
            .map(|role| Item {
                holder: format!("role:{}", role.name),
                carried: Carried::Role(role.name.clone()),
                name: role.name.as_str(),
                id: None,
                is_trusted: true,
            })
            .collect(),
        Each::Group => view
            .groups
            .iter()
            .map(|group| Item {
                holder: format!("group:{}/{}", group.directory, group.id),
                carried: Carried::Group(group.directory.clone(), group.id),
                name: &group.name,
                id: Some(group.id.to_string()),
                is_trusted: false,
            })
            .collect(),
        Each::Subject => view
            .users
            .iter()
            .filter(|user| !user.roles.is_empty() || !user.groups.is_empty())
            .map(|user| Item {
                holder: format!("user:{}", user.subject()),
                carried: Carried::User(user.subject()),
                name: &user.name,
                id: Some(user.id.to_string()),
                is_trusted: false,
            })
            .collect(),
    }
}

/// The name of an item's file, or why it can have none.
fn name_of(item: &Item<'_>, pattern: &NamePattern) -> Result<String, String> {
    let key = match pattern.key {
        NameKey::Id => item.id.clone().ok_or("a role has no id")?,
        NameKey::Name if item.is_trusted => item.name.to_owned(),
        NameKey::Name => slug(item.name).ok_or("no file name can be made of the name")?,
    };
    let name = format!("{}{key}{}", pattern.before, pattern.after);
    if key.contains('/') {
        return Err("the name has a `/`".into());
    }
    RelativeName::parse(&name).map(|name| name.to_string()).map_err(|error| error.to_string())
}

fn tree(file: &FileSettings, each: Each, pattern: &NamePattern, view: &View, owned: &[Owned]) -> Drawn {
    let earlier: BTreeMap<&str, &str> =
        owned.iter().map(|one| (one.name.as_str(), one.holder.as_str())).collect();
    let mut left_out = Vec::new();
    let mut claims: BTreeMap<String, BTreeMap<(bool, String), Item<'_>>> = BTreeMap::new();
    for item in items(view, each) {
        match name_of(&item, pattern) {
            Ok(name) => {
                let is_new = earlier.get(name.as_str()) != Some(&item.holder.as_str());
                claims.entry(name).or_default().insert((is_new, item.holder.clone()), item);
            }
            Err(why) => left_out.push(LeftOut { what: item.carried, text: item.name.to_owned(), why }),
        }
    }
    let index = Index::of(view);
    let mut pieces = BTreeMap::new();
    let mut failed = BTreeMap::new();
    for (name, claimants) in claims {
        let mut claimants = claimants.into_values();
        let Some(item) = claimants.next() else { continue };
        for loser in claimants {
            let why = format!("its file would be `{name}`, which belongs to {}", item.holder);
            left_out.push(LeftOut { what: loser.carried, text: loser.name.to_owned(), why });
        }
        let options = options_for(file, each, item.name);
        match file.format.render(&index.part(each, item.name), &options) {
            Ok(done) => {
                left_out.extend(done.left_out);
                pieces.insert(name, Piece::file(done.bytes, item.holder));
            }
            Err(error) => {
                failed.insert(name, Missed { holder: item.holder, why: error.to_string() });
            }
        }
    }
    left_out.sort();
    left_out.dedup();
    Drawn { content: Content::Many(pieces), left_out, failed }
}

/// What a file of a tree is where the whole of it cannot be written.
#[derive(Debug)]
pub(crate) enum Fewer {
    File(Piece),
    /// Nothing is left that gives a reason for it.
    Gone,
    /// That cannot be rendered either, or is unknown.
    Unknown,
}

/// The files of a tree drawn one by one from another view than the present one.
pub(crate) enum Source<'a> {
    Own(BTreeMap<String, Piece>),
    Each { each: Each, index: Index<'a>, names: BTreeMap<String, String> },
    Fails,
}

impl<'a> Source<'a> {
    pub(crate) fn of(file: &FileSettings, view: &'a View) -> Self {
        match &file.shape {
            Shape::Tree(Tree::Each { each, .. }) => {
                let names = items(view, *each).into_iter().map(|item| (item.holder, item.name.to_owned()));
                Self::Each { each: *each, names: names.collect(), index: Index::of(view) }
            }
            Shape::Tree(Tree::Own) => match own(file, view) {
                Ok(Drawn { content: Content::Many(pieces), .. }) => Self::Own(pieces),
                Ok(_) | Err(_) => Self::Fails,
            },
            Shape::File | Shape::Set(_) => Self::Fails,
        }
    }

    /// The file `name` of `holder` in this view.
    pub(crate) fn piece(&self, file: &FileSettings, name: &str, holder: &str) -> Fewer {
        match self {
            Self::Fails => Fewer::Unknown,
            Self::Own(pieces) => pieces.get(name).cloned().map_or(Fewer::Gone, Fewer::File),
            Self::Each { each, index, names } => {
                let Some(item) = names.get(holder) else { return Fewer::Gone };
                let options = options_for(file, *each, item);
                let drawn = file.format.render(&index.part(*each, item), &options);
                drawn.map_or(Fewer::Unknown, |done| Fewer::File(Piece::file(done.bytes, holder.to_owned())))
            }
        }
    }
}

/// The same view in which nobody holds anything.
pub(crate) fn with_nobody(view: &View) -> View {
    let roles = view
        .roles
        .iter()
        .map(|role| crate::access::ViewRole { name: role.name.clone(), members: Vec::new() });
    let groups = view.groups.iter().map(|group| ViewGroup {
        members: Vec::new(),
        all_members: Vec::new(),
        groups: Vec::new(),
        ..group.clone()
    });
    View { users: Vec::new(), groups: groups.collect(), roles: roles.collect() }
}

/// In a tree of roles a format that must be told whose roles it lists is told the file's own.
fn options_for(file: &FileSettings, each: Each, name: &str) -> Options {
    let mut options = file.options.clone();
    let takes_roles = file.format.options.iter().any(|option| option.name == "roles");
    if each == Each::Role && takes_roles {
        options.values.insert("roles".to_owned(), serde_json::json!([name]));
    }
    options
}

/// The view by name, so that a tree of ten thousand files looks through it once.
pub(crate) struct Index<'a> {
    users: BTreeMap<&'a str, &'a ViewUser>,
    groups: BTreeMap<&'a str, &'a ViewGroup>,
    roles: BTreeMap<&'a str, &'a crate::access::ViewRole>,
}

impl<'a> Index<'a> {
    fn of(view: &'a View) -> Self {
        Self {
            users: view.users.iter().map(|one| (one.name.as_str(), one)).collect(),
            groups: view.groups.iter().map(|one| (one.name.as_str(), one)).collect(),
            roles: view.roles.iter().map(|one| (one.name.as_str(), one)).collect(),
        }
    }

    /// What one file shows: nothing that is not about its subject, group or role, so that a change elsewhere leaves
    /// it as it is.
    fn part(&self, each: Each, name: &str) -> View {
        match each {
            Each::Subject => self.subject(name),
            Each::Group => self.group(name),
            Each::Role => self.role(name),
        }
    }

    fn subject(&self, name: &str) -> View {
        let Some(user) = self.users.get(name) else { return View::default() };
        let only = |names: &[String]| names.iter().filter(|one| *one == name).cloned().collect::<Vec<_>>();
        let held: BTreeSet<&str> = user.groups.iter().map(String::as_str).collect();
        let groups = held.iter().filter_map(|group| self.groups.get(group)).map(|group| ViewGroup {
            members: only(&group.members),
            all_members: only(&group.all_members),
            groups: group.groups.iter().filter(|nested| held.contains(nested.as_str())).cloned().collect(),
            ..(*group).clone()
        });
        let roles =
            user.roles.iter().filter_map(|role| self.roles.get(role.as_str())).map(|role| {
                crate::access::ViewRole { name: role.name.clone(), members: vec![name.to_owned()] }
            });
        View { users: vec![(*user).clone()], groups: groups.collect(), roles: roles.collect() }
    }

    fn group(&self, name: &str) -> View {
        let Some(group) = self.groups.get(name) else { return View::default() };
        let users = group.all_members.iter().filter_map(|user| self.users.get(user.as_str()));
        let users = users.map(|user| ViewUser {
            groups: vec![name.to_owned()],
            roles: Vec::new(),
            ..(*user).clone()
        });
        let alone = ViewGroup { groups: Vec::new(), ..(*group).clone() };
        View { users: users.collect(), groups: vec![alone], roles: Vec::new() }
    }

    fn role(&self, name: &str) -> View {
        let Some(role) = self.roles.get(name) else { return View::default() };
        let users = role.members.iter().filter_map(|user| self.users.get(user.as_str()));
        let users = users.map(|user| ViewUser {
            groups: Vec::new(),
            roles: vec![name.to_owned()],
            ..(*user).clone()
        });
        View { users: users.collect(), groups: Vec::new(), roles: vec![(*role).clone()] }
    }
}
