//! Decides: a permit or a denial that explains itself.
