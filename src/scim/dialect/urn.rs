//! URNs in the spelling of today.
