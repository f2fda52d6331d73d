//! A small HTTP invoice API, so that a demonstration has something to protect.
//!
//! Data lives in memory and starts the same each time. Every request is remembered with what
//! the API can know about its caller; `GET /calls` shows it.
//!
//! | Request | Answer |
//! |---|---|
//! | `GET /invoices?query=TEXT` | invoices whose customer or id contains the text |
//! | `GET /invoices/ID` | one invoice |
//! | `POST /invoices/ID/notes` | adds `{"note": …}` |
//! | `POST /invoices/ID/pay` | pays it; a second payment is refused with 409 |
//! | `GET /calls` | who called, oldest first |
//!
//! Not here: authentication. That is the point of what stands in front of it.

mod calls;
mod invoices;
mod service;

pub use service::serve;
