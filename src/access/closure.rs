//! Nested groups flattened.
