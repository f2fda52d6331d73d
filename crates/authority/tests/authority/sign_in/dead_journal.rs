//! Pages on which people take something back, while the journal takes nothing at all any more.

use http::StatusCode;

use super::browser::Town;
use super::passkeys::Owner;
use crate::world::Answer;

/// What is not on record is not done, and whoever asked is told.
#[tokio::test]
async fn what_cannot_be_recorded_is_not_taken_back() {
    let town = Town::new().await;
    let owner = Owner::with_passkey(&town, "ann", 7).await;
    let ann = &owner.browser;
    town.code(ann, &[]).await;
    let person = town.world.published.load().person_named("ann").unwrap().id.clone();
    let passkey = town.world.store.passkeys_of(&person).await.unwrap().remove(0).id.to_string();
    let pages = ["/settings", "/consents", "/sessions"];
    let mut forms = Vec::new();
    for page in pages {
        ann.get(page).await;
        forms.push((ann.hidden("form"), ann.hidden("consent")));
    }
    let there = async || {
        let store = &town.world.store;
        let consents = store.consents(Some(&person)).await.unwrap();
        let counting = consents.iter().filter(|one| one.counts(town.world.now_s())).count();
        let session = ann.get("/sessions").await.status;
        (store.passkeys_of(&person).await.unwrap().len(), counting, session)
    };
    assert_eq!(there().await, (1, 1, StatusCode::OK));
    let send = async |path: &str, at: usize| -> Answer {
        let (form, consent) = &forms[at];
        let fields = [("form", form.as_str()), ("consent", consent), ("passkey", &passkey)];
        ann.post(path, &fields, &[("origin", crate::world::ISSUER)]).await
    };
    town.world.journal.clone().close().await;
    for (path, at) in
        [("/settings/passkey/remove", 0), ("/consents", 1), ("/logout", 2), ("/sessions", 2)]
    {
        assert_eq!(send(path, at).await.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
    assert_eq!(there().await, (1, 1, StatusCode::OK));
}
