//! Strict JSON and its RFC 8785 canonical form.
