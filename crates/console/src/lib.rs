//! Pages for people: values in, HTML out.
//!
//! Every value is escaped by its type; a page has no script, no inline style and nothing of another
//! origin, and works without a pointer, at 360 pixels, in light and dark. What is not here: who may
//! see a page, which the edge decides, and the admin API, which has no pages yet.

mod consent;
mod headers;
mod page;

pub use consent::{Choice, ChoiceGroup, ConsentPage, Gravity, Origin};
pub use headers::{HEADERS, content_security_policy};
pub use page::{ErrorPage, Form, InvitationPage, LoginPage, Session, SessionsPage, SignedOutPage};

/// The one style sheet, served from our own origin.
pub const STYLE: &str = include_str!("../style.css");
