//! What webhooks say; see [`crate::reconcile::event`].

pub use crate::reconcile::event::{
    Event, EventFilter, EventFilterError, Names, of_access, of_change, takes_away,
};
