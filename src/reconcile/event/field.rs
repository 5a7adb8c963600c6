//! What the data of an event is made of: named fields, each of one shape.

/// One field of an event's `data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub shape: Shape,
    /// When it is there.
    pub presence: Presence,
    /// What it says, as one sentence.
    pub about: &'static str,
}

/// When a field is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// In every event of the type.
    Always,
    /// Where it applies.
    Maybe,
    /// Where it applies, and only with `payload = "full"`.
    Full,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A text.
    Text,
    /// Texts.
    Texts,
    /// A number from 0.
    Count,
    /// True or false.
    Flag,
    /// Attributes by name, as SCIM writes them.
    Values,
    /// A user: `id`, `ref`, and with `payload = "full"` `userName`.
    User,
    /// A group: `id`, `ref`, and with `payload = "full"` `displayName`.
    Group,
    /// A subject: `id`, `ref`, and with `payload = "full"` `name`.
    Subject,
    /// What was left out: `value` (where) and `bytes` (how long) each.
    Omitted,
    /// Numbers by what they count.
    Counts,
}

impl Field {
    /// A field that is always there.
    pub(super) const fn always(name: &'static str, shape: Shape, about: &'static str) -> Self {
        Self { name, shape, presence: Presence::Always, about }
    }

    /// A field that is there where it applies.
    pub(super) const fn maybe(name: &'static str, shape: Shape, about: &'static str) -> Self {
        Self { name, shape, presence: Presence::Maybe, about }
    }

    /// A field that a thin event leaves out.
    pub(super) const fn full(name: &'static str, shape: Shape, about: &'static str) -> Self {
        Self { name, shape, presence: Presence::Full, about }
    }
}
