//! People: they log in, are asked, and their clients redeem what they gave.

mod approval_pages;
mod authorize;
mod browser;
mod clients;
mod codes;
mod consent_pages;
mod dead_journal;
mod documents;
mod explained;
mod foreign_texts;
mod forms;
mod log_in;
mod origins;
mod passkeys;
mod provider;
mod provider_log_in;
mod provider_people;
mod provider_tokens;
mod refresh;
mod settings;
mod stops;
mod trace_pages;

pub(crate) use browser::Town;
