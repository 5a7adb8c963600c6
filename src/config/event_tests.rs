//! What of events the configuration takes and refuses.

use super::*;
