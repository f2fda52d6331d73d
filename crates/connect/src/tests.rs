//! The connector against a gateway and an authorization server on loopback.

mod assertions;
mod calls;
mod discovery;
mod fake;
mod listen;
mod person;
mod stdio;
