//! What a successful PATCH is answered with.

use crate::model::{DirectoryKind, ResourceType};

/// The two successful answers RFC 7644 §3.5.2 allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PatchAnswer {
    /// 200 with the resource.
    Resource,
    /// 204 without a body.
    NoContent,
}

impl PatchAnswer {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::Resource => 200,
            Self::NoContent => 204,
        }
    }
}

/// Members above which a group is not sent back unasked.
const MEMBERS_MAX: u64 = 1_000;

/// Chooses the answer as the vendors' suites expect it (DESIGN §5). `attributes`: the request names the
/// attributes it wants back. `members`: how many the group has now; 0 for a user.
pub fn patch_answer(
    kind: DirectoryKind,
    resource_type: ResourceType,
    attributes: bool,
    members: u64,
) -> PatchAnswer {
    if attributes {
        return PatchAnswer::Resource;
    }
    match (kind, resource_type) {
        (DirectoryKind::Entra, _) | (DirectoryKind::Okta, ResourceType::Group) => PatchAnswer::NoContent,
        (_, ResourceType::Group) if members > MEMBERS_MAX => PatchAnswer::NoContent,
        _ => PatchAnswer::Resource,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_the_one_of_design_5() {
        use DirectoryKind::{Entra, Generic, Okta};
        use PatchAnswer::{NoContent, Resource};
        use ResourceType::{Group, User};
        for (kind, resource_type, attributes, members, expected) in [
            (Entra, User, false, 0, NoContent),
            (Entra, Group, false, 1, NoContent),
            (Entra, User, true, 0, Resource),
            (Okta, User, false, 0, Resource),
            (Okta, Group, false, 1, NoContent),
            (Okta, Group, true, 5_000, Resource),
            (Generic, User, false, 0, Resource),
            (Generic, Group, false, 1_000, Resource),
            (Generic, Group, false, 1_001, NoContent),
        ] {
            assert_eq!(
                patch_answer(kind, resource_type, attributes, members),
                expected,
                "{kind} {resource_type}"
            );
        }
    }
}
