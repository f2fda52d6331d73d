//! The registry on SQL: one module per aggregate.
