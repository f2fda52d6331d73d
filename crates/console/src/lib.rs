//! Pages for people: values in, HTML out.
//!
//! Every value is escaped by its type; a page has no inline script or style and nothing of another
//! origin, and works without a pointer, at 360 pixels, in light and dark. Two pages name our one script,
//! for passkeys, and work without it. What is not here: who may see a page, which the edge decides, and
//! most of the admin API, which has no pages yet.

mod approvals;
mod arguments;
mod consent;
mod consents;
mod headers;
mod moment;
mod nav;
mod page;
mod settings;
mod traces;
mod visible;

pub use approvals::{
    Answer, ApprovalPage, ApprovalRow, ApprovalsPage, AskedFor, EarlierCall, Said,
};
pub use arguments::Arguments;
pub use consent::{Choice, ChoiceGroup, ConsentPage, Gravity, Origin};
pub use consents::{ConsentsPage, GivenConsent};
pub use headers::{HEADERS, POLICY_WITH_SCRIPT, content_security_policy};
pub use moment::{moment, span};
pub use nav::{Here, Nav};
pub use page::{ErrorPage, Form, InvitationPage, LoginPage, Session, SessionsPage, SignedOutPage};
pub use settings::{SettingsPage, ShownPasskey};
pub use traces::{
    Chip, DecisionRow, Fact, LOOKED_FOR_BY, Lane, Tone, TracePage, TraceSearch, TraceStep,
    TracesPage,
};
pub use visible::Visible;

/// The one style sheet, served from our own origin.
pub const STYLE: &str = include_str!("../style.css");

/// Our one script, served from our own origin: it asks the browser for passkeys.
pub const SCRIPT: &str = include_str!("../passkeys.js");
