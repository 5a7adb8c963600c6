//! Values by the schema.
