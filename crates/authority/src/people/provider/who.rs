//! Who logged in: the person that is linked to issuer and subject, and what their groups give them.
//!
//! Nothing but `sub` names anybody (OpenID Connect Core 1.0 section 5.7): not an address, not a name. A
//! name that somebody chose at the provider is good for a new record, and finds no old one.

use attorn_audit::{Decision, Entry, Kind};
use attorn_oauth::id_token::IdToken;
use attorn_registry::{ExternalSubject, Name, Person, PersonId, Provided};
use attorn_store::{Act, NewPerson, PersonSettings, Refusal, StoreError};
use http::request::Parts;

use super::{Provider, Refused};
use crate::people::browser::may_sign_in;
use crate::shared::Shared;

impl Provider {
    /// The person, with the roles and groups that the provider gives them now. Each change is on record
    /// before it is made.
    pub(super) async fn find(
        &self,
        shared: &Shared,
        head: &Parts,
        token: &IdToken,
        now_ms: u64,
    ) -> Result<Person, Refused> {
        // One at a time: of two first log-ins of one person, one makes the record.
        let _alone = shared.turns.next().await;
        let provided = self.provided(&token.groups);
        let found = shared.store.person_by_external(self.issuer.as_str(), &token.subject).await;
        let person = match found.map_err(|_| Refused::Failed)? {
            Some(person) => person,
            // Who is in no group that the operator named is nobody here.
            None if self.config.create && provided.is_some() => {
                let provided = provided.clone().unwrap_or_default();
                self.create(shared, head, (token, provided), now_ms).await?
            }
            None => {
                // For the operator who is asked to link them; the journal could not forget it.
                tracing::info!(subject = token.subject, "nobody is linked to who logged in");
                return Err(Refused::PersonUnknown);
            }
        };
        // Of the registry in force: one that is locked does not log in, and is given nothing.
        if !may_sign_in(&shared.published.load(), &person.id, now_ms / 1000) {
            return Err(Refused::PersonStopped);
        }
        let wanted = person.clone().with_provided(&provided.unwrap_or_default());
        if wanted == person {
            return Ok(person);
        }
        let entry = self.entry((shared, head), Kind::AdminChanged, &wanted, now_ms);
        // If the process dies after this line, a change is on record that the next log-in makes.
        shared.record_all(&[entry]).await.map_err(|_| Refused::Failed)?;
        let by = person.id.to_string();
        let act = Act { by: &by, now_s: now_ms / 1000 };
        let set = shared.store.set_provided(&act, &person.id, &wanted.provided).await;
        let set = set.map_err(|error| failed(&error))?.record;
        shared.publish().await.map_err(|_| Refused::Failed)?;
        Ok(set)
    }

    async fn create(
        &self,
        shared: &Shared,
        head: &Parts,
        (token, provided): (&IdToken, Provided),
        now_ms: u64,
    ) -> Result<Person, Refused> {
        let wanted = name_of(token);
        for number in 1..=NAMES_TRIED_MAX {
            let new = NewPerson {
                id: PersonId::from_random(&shared.random.bytes()),
                name: numbered(&wanted, number).ok_or(Refused::Failed)?,
                settings: PersonSettings {
                    display_name: token.name.clone().filter(|name| is_shown(name)),
                    roles: provided.roles.clone(),
                    groups: provided.groups.clone(),
                },
                external: Some(ExternalSubject {
                    issuer: self.issuer.as_str().to_owned(),
                    subject: token.subject.clone(),
                }),
                provided: provided.clone(),
            };
            let by = new.id.to_string();
            let act = Act { by: &by, now_s: now_ms / 1000 };
            // A name is never given twice, also not after its person: then the next number is tried.
            if shared.store.login_record(&new.name).await.map_err(|_| Refused::Failed)?.is_some() {
                continue;
            }
            let mut entry = self.about((shared, head), Kind::IdentityRegistered, &new.id, now_ms);
            describe(&mut entry, new.name.as_str(), &provided);
            shared.record_all(&[entry]).await.map_err(|_| Refused::Failed)?;
            let person = shared.store.create_person(&act, &new).await;
            let person = person.map_err(|error| failed(&error))?.record;
            shared.publish().await.map_err(|_| Refused::Failed)?;
            return Ok(person);
        }
        tracing::warn!("somebody who logs in first has a name that is taken too often");
        Err(Refused::PersonUnknown)
    }

    fn entry(&self, from: (&Shared, &Parts), kind: Kind, person: &Person, now_ms: u64) -> Entry {
        let mut entry = self.about(from, kind, &person.id, now_ms);
        describe(&mut entry, person.name.as_str(), &person.provided);
        entry
    }

    fn about(
        &self,
        (shared, head): (&Shared, &Parts),
        kind: Kind,
        person: &PersonId,
        now_ms: u64,
    ) -> Entry {
        let mut entry = Entry {
            by: Some(person.to_string()),
            decision: Some(Decision::Permit),
            subject: Some(person.to_string()),
            ..shared.entry_from(head, kind, now_ms)
        };
        let provider = self.issuer.as_str().to_owned();
        entry.detail.insert("provider".to_owned(), provider);
        entry
    }
}

/// What the provider gives, in words of ours. What it calls things stays out of the journal.
fn describe(entry: &mut Entry, name: &str, provided: &Provided) {
    let roles: Vec<_> = provided.roles.iter().map(|role| role.as_str()).collect();
    let groups: Vec<_> = provided.groups.iter().map(Name::as_str).collect();
    entry.detail.extend([
        ("kind".to_owned(), "person".to_owned()),
        ("name".to_owned(), name.to_owned()),
        ("provided_roles".to_owned(), roles.join(" ")),
        ("provided_groups".to_owned(), groups.join(" ")),
    ]);
}

fn failed(error: &StoreError) -> Refused {
    match error {
        // Groups given by hand and by the provider are together more than a person may have.
        StoreError::Refused(Refusal::Person(refusal)) => {
            tracing::warn!(%refusal, "what the provider gives cannot be taken");
            Refused::PersonStopped
        }
        StoreError::Refused(_) | StoreError::Failed(_) => {
            tracing::error!(%error, "the registry failed");
            Refused::Failed
        }
    }
}

/// A name of ours out of what the provider calls somebody: the part before an `@`, in small letters.
fn name_of(token: &IdToken) -> String {
    let called = token.preferred_username.as_deref().unwrap_or_default();
    let local = called.split('@').next().unwrap_or_default().to_ascii_lowercase();
    let is_kept = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let plain: String = local.chars().map(|c| if is_kept(c) { c } else { '-' }).collect();
    let plain: String = plain.trim_matches('-').chars().take(NAME_CHARACTERS_MAX).collect();
    if plain.is_empty() { "person".to_owned() } else { plain }
}

fn numbered(wanted: &str, number: u32) -> Option<Name> {
    let text = if number == 1 { wanted.to_owned() } else { format!("{wanted}-{number}") };
    Name::parse(&text).ok()
}

/// What cannot be shown as a name is left out: nobody is kept out for how they are called.
fn is_shown(name: &str) -> bool {
    attorn_registry::is_display_name(name)
}

/// Room for a number behind it.
const NAME_CHARACTERS_MAX: usize = 56;
const NAMES_TRIED_MAX: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_ours_is_made_from_what_the_provider_says() {
        let check = |called: Option<&str>, expected: &str| {
            let token = IdToken {
                subject: "1".to_owned(),
                groups: Vec::new(),
                preferred_username: called.map(str::to_owned),
                name: None,
            };
            assert_eq!(numbered(&name_of(&token), 1).unwrap().as_str(), expected);
            assert!(numbered(&name_of(&token), 1000).is_some(), "{called:?}");
        };
        check(Some("ann"), "ann");
        check(Some("Ann.Example@corp.example"), "ann-example");
        check(Some("__ann"), "ann");
        check(Some("Überall"), "berall");
        check(Some("@"), "person");
        check(Some("группа"), "person");
        check(None, "person");
        check(Some(&"a".repeat(200)), &"a".repeat(56));
    }
}
