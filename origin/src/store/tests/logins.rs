//! The contract of logins and personal access tokens.

use super::*;

fn login(user_id: &str) -> Login {
    Login {
        id: new_id(NOW_MS),
        user_id: user_id.to_owned(),
        issuer: "cosygate".to_owned(),
        label: "curl".to_owned(),
        address: String::new(),
        region: "local".to_owned(),
        created_at: NOW_MS,
        seen_at: NOW_MS,
        expires_at: NOW_MS + HOUR_MS,
        family: "00".to_owned(),
        secret: "first".to_owned(),
        previous: None,
        nonce: None,
        rotated_at: NOW_MS,
        ended_at: None,
        ended_why: None,
    }
}

pub(super) async fn one_successor_takes_the_place_of_a_secret(store: Store) {
    let (logins, login) = (store.logins(), login("ada"));
    logins.begin(&login, 10, &entry()).await.unwrap();
    assert_eq!(logins.by_id(&login.id).await.unwrap(), Some(login.clone()));
    let successor = |secret: &str| Successor { secret: secret.to_owned(), nonce: "n".to_owned(), at: NOW_MS + 5 };
    let (logins, id) = (&logins, &login.id);
    let rotated = futures::future::join_all((0..8).map(|number| async move {
        logins.rotate(id, "first", &successor(&number.to_string()), &entry()).await.unwrap()
    }))
    .await;
    assert_eq!(rotated.iter().filter(|rotated| **rotated).count(), 1);
    let winner = rotated.iter().position(|rotated| *rotated).unwrap().to_string();
    let kept = logins.by_id(id).await.unwrap().unwrap();
    assert_eq!((kept.secret, kept.previous.as_deref(), kept.rotated_at), (winner.clone(), Some("first"), NOW_MS + 5));
    assert_eq!(audit_rows(&store, "test").await, 2);
    let withdrawal = RevocationRecord { kind: "session".to_owned(), ..withdrawn(id, 5) };
    assert!(logins.end(id, Ended::RefreshReused, &withdrawal, &entry()).await.unwrap());
    assert!(!logins.end(id, Ended::Logout, &withdrawal, &entry()).await.unwrap());
    assert!(!logins.rotate(id, &winner, &successor("late"), &entry()).await.unwrap());
    assert_eq!(logins.by_id(id).await.unwrap().unwrap().ended_why.as_deref(), Some("refresh_reused"));
    assert_eq!(store.control().withdrawn_before(Whose::Session, id).await.unwrap(), Some(5));
    logins.note_use(&[(login.id.clone(), NOW_MS + 60_000), ("nobody".to_owned(), 1)]).await.unwrap();
    assert_eq!(logins.by_id(id).await.unwrap().unwrap().seen_at, NOW_MS + 60_000);
    assert_eq!(logins.forget(NOW_MS, NOW_MS - HOUR_MS).await.unwrap(), 0);
    assert_eq!(logins.forget(NOW_MS, NOW_MS).await.unwrap(), 1);
}

pub(super) async fn withdrawals_end_logins(store: Store) {
    let (ada, bob) = (caller("ada", "free"), caller("bob", "free"));
    let [first, second, third] = [login("ada"), login("ada"), login("ada")];
    for login in [&first, &second, &third, &login("bob")] {
        store.logins().begin(login, 2, &entry()).await.unwrap();
    }
    let reasons = async |owner: &Caller| {
        let mut reasons: Vec<_> =
            store.of(owner).logins().await.unwrap().into_iter().map(|login| login.ended_why).collect();
        reasons.sort();
        reasons
    };
    let displaced = || Some("displaced".to_owned());
    assert_eq!(reasons(&ada).await, [None, None, displaced()]);
    // Not one that began in a second that the withdrawal does not reach.
    let before = withdrawn("ada", NOW_MS / 1000);
    store.control().revoke(&before, &entry()).await.unwrap();
    assert_eq!(reasons(&ada).await, [None, None, displaced()]);
    let record = RevocationRecord { kind: "session".to_owned(), ..withdrawn("", 5) };
    assert!(!store.of(&bob).end_login(&third.id, Ended::Owner, &record, &entry()).await.unwrap());
    assert_eq!(store.of(&bob).end_logins(None, 0, &record, &entry()).await.unwrap(), 1);
    assert_eq!(reasons(&bob).await, [Some("owner".to_owned())]);
    let kept = store.of(&ada).logins().await.unwrap().into_iter().find(|login| login.ended_at.is_none()).unwrap();
    assert_eq!(store.of(&ada).end_logins(Some(&kept.id), NOW_MS, &record, &entry()).await.unwrap(), 1);
    assert_eq!(store.control().revocations(0, 10).await.unwrap().len(), 2, "bob's, and what ada's own was before");
    store.control().revoke(&withdrawn("ada", NOW_MS / 1000 + 1), &entry()).await.unwrap();
    assert_eq!(reasons(&ada).await, [displaced(), Some("owner".to_owned()), Some("revoked".to_owned())]);
}

pub(super) async fn tokens_state_what_the_account_is(store: Store) {
    let ada = user("ada");
    store.accounts().add(&ada, &entry()).await.unwrap();
    let (owner, stranger) = (caller(&ada.id, "free"), caller("bob", "free"));
    let token = |role: &str, created_at: i64| PersonalToken {
        id: new_id(created_at),
        user_id: ada.id.clone(),
        issuer: "cosygate-pat".to_owned(),
        name: "laptop".to_owned(),
        role: role.to_owned(),
        scope: "speech".to_owned(),
        created_at,
        expires_at: created_at + HOUR_MS,
        used_at: None,
        ended_at: None,
        ended_why: None,
    };
    let add = async |token: &PersonalToken| store.of(&owner).add_token(token, &entry()).await.unwrap();
    let first = token("free", NOW_MS);
    assert_eq!((add(&first).await, add(&token("admin", NOW_MS)).await), (Added::Yes, Added::Overtaken));
    assert_eq!(store.of(&owner).tokens(NOW_MS).await.unwrap(), std::slice::from_ref(&first));
    assert_eq!(store.of(&stranger).tokens(NOW_MS).await.unwrap(), []);
    let withdrawal = RevocationRecord { kind: "pat".to_owned(), ..withdrawn(&first.id, NOW_MS / 1000 + 1) };
    assert!(!store.of(&stranger).end_token(&withdrawal, &entry()).await.unwrap());
    assert!(store.of(&owner).end_token(&withdrawal, &entry()).await.unwrap());
    assert!(!store.of(&owner).end_token(&withdrawal, &entry()).await.unwrap());
    let told = async || -> Vec<_> {
        let told = store.control().revocations(0, 10).await.unwrap().into_iter();
        told.filter(|one| one.kind == "pat").map(|one| (one.subject, one.expires_at)).collect()
    };
    assert_eq!(told().await, [(first.id.clone(), NOW_MS + HOUR_MS + 120_000)]);
    // Made in the very second of a withdrawal, it would be withdrawn and then hold again.
    store.control().revoke(&withdrawn(&ada.id, NOW_MS / 1000 + 1), &entry()).await.unwrap();
    assert_eq!(add(&token("free", NOW_MS)).await, Added::Overtaken);
    let second = token("free", NOW_MS + 1000);
    assert_eq!(add(&second).await, Added::Yes);
    let withdrawal = withdrawn(&ada.id, NOW_MS / 1000 + 2);
    store.accounts().change(&ada.id, Change::Role("admin"), &withdrawal, &entry()).await.unwrap();
    assert_eq!(told().await.len(), 2);
    let third = token("admin", NOW_MS + 2000);
    assert_eq!(add(&third).await, Added::Yes);
    store.logins().note_use(&[(third.id.clone(), NOW_MS + 60_000)]).await.unwrap();
    let listed = store.of(&owner).tokens(NOW_MS).await.unwrap();
    let ended: Vec<_> = listed.iter().map(|token| (token.ended_why.as_deref(), token.used_at)).collect();
    let expected = [(None, Some(NOW_MS + 60_000)), (Some("role_changed"), None), (Some("owner"), None)];
    assert_eq!(ended, expected);
    let all = RevocationRecord { kind: "issuer".to_owned(), ..withdrawn("cosygate-pat", NOW_MS / 1000 + 9) };
    store.control().revoke(&all, &entry()).await.unwrap();
    assert_eq!(store.of(&owner).tokens(NOW_MS).await.unwrap()[0].ended_why.as_deref(), Some("revoked"));
    assert_eq!(told().await.len(), 2);
    store.forget_tokens(NOW_MS + HOUR_MS + 1000).await.unwrap();
    assert_eq!(
        store.of(&owner).tokens(0).await.unwrap(),
        [PersonalToken {
            ended_at: Some(NOW_MS),
            ended_why: Some("revoked".to_owned()),
            used_at: Some(NOW_MS + 60_000),
            ..third
        }]
    );
}
