//! Values into documents.
