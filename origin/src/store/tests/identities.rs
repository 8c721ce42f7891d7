//! The contract of identities, and of accounts that are made for them.

use super::*;

fn identity(subject: &str, user_id: &str) -> Identity {
    Identity {
        id: new_id(NOW_MS),
        user_id: user_id.to_owned(),
        issuer: "https://id.example".to_owned(),
        subject: subject.to_owned(),
        label: String::new(),
        created_at: NOW_MS,
    }
}

pub(super) async fn identities_are_somebodys_one_at_a_time(store: Store) {
    let (ada, bob) = (user("ada"), user("bob"));
    for user in [&ada, &bob] {
        store.accounts().add(user, &entry()).await.unwrap();
    }
    let identities = &store.identities();
    let link =
        async |subject: &str, user: &User| identities.link(&identity(subject, &user.id), &entry()).await.unwrap();
    assert_eq!(
        (link("1", &ada).await, link("1", &ada).await, link("1", &bob).await),
        (Linked::Done, Linked::Done, Linked::Taken)
    );
    assert_eq!(identities.user_of("https://id.example", "1").await.unwrap(), Some(ada.id.clone()));
    assert_eq!(identities.user_of("https://other.example", "1").await.unwrap(), None);
    assert_eq!(link("2", &user("gone")).await, Linked::NoUser);
    // Two who link the same one at once.
    let (ada_too, bob_too) = (identity("3", &ada.id), identity("3", &bob.id));
    let (first, second) = (entry(), entry());
    let both = futures::future::join(identities.link(&ada_too, &first), identities.link(&bob_too, &second)).await;
    let mut both = [both.0.unwrap(), both.1.unwrap()];
    both.sort_by_key(|linked| *linked == Linked::Taken);
    assert_eq!(both, [Linked::Done, Linked::Taken]);
    for n in 0..20 {
        link(&format!("more {n}"), &bob).await;
    }
    assert_eq!(link("one too many", &bob).await, Linked::Full);
    // What did not happen is not audited: two, and what bob got.
    let of_bob = store.of(&caller(&bob.id, "free")).identities().await.unwrap().len();
    let of_ada = store.of(&caller(&ada.id, "free")).identities().await.unwrap().len();
    assert_eq!(audit_rows(&store, "test").await as usize, 2 + of_ada + of_bob);
}

pub(super) async fn one_way_to_log_in_stays(store: Store) {
    let ada = User { password_hash: String::new(), ..user("ada") };
    let (one, other, unused) = (identity("1", &ada.id), identity("2", &ada.id), entry());
    store.identities().sign_up(&ada, &one, &entry()).await.unwrap();
    let twice = store.identities().sign_up(&User { id: new_id(NOW_MS), ..user("grace") }, &one, &entry()).await;
    assert!(matches!(twice, Err(StoreError::Conflict)));
    assert_eq!(store.accounts().by_username("grace").await.unwrap(), None, "all or nothing");
    let (permit, issuers) = (caller(&ada.id, "free"), ["https://id.example"]);
    let of_ada = &store.of(&permit);
    assert_eq!(of_ada.unlink(&one.id, &issuers, &unused).await.unwrap(), Unlinked::LastWay);
    assert_eq!(store.of(&caller("bob", "free")).unlink(&one.id, &issuers, &unused).await.unwrap(), Unlinked::NotFound);
    assert_eq!(store.identities().link(&other, &entry()).await.unwrap(), Linked::Done);
    // An issuer that the settings do not have is no way.
    assert_eq!(of_ada.unlink(&one.id, &["https://other.example"], &unused).await.unwrap(), Unlinked::LastWay);
    // Of two at once, one stays.
    let (first, second) = (entry(), entry());
    let both =
        futures::future::join(of_ada.unlink(&one.id, &issuers, &first), of_ada.unlink(&other.id, &issuers, &second));
    let both = both.await;
    let mut both = [both.0.unwrap(), both.1.unwrap()];
    both.sort_by_key(|unlinked| *unlinked == Unlinked::LastWay);
    assert_eq!(both, [Unlinked::Done, Unlinked::LastWay]);
    assert_eq!(of_ada.identities().await.unwrap().len(), 1);
}

pub(super) async fn what_is_used_up_stays_so_until_its_end(store: Store) {
    let identities = &store.identities();
    let used =
        futures::future::join_all((0..8).map(|_| async move { identities.use_up("hash", NOW_MS + 10).await.unwrap() }));
    assert_eq!(used.await.iter().filter(|used| **used).count(), 1);
    assert_eq!(identities.forget(NOW_MS + 9).await.unwrap(), 0);
    assert!(!identities.use_up("hash", NOW_MS + 10).await.unwrap());
    assert_eq!(identities.forget(NOW_MS + 10).await.unwrap(), 1);
}

pub(super) async fn users_of_other_issuers_have_one_account_each(store: Store) {
    let identities = &store.identities();
    let added = futures::future::join_all(
        (0..50).map(|_| async move { identities.first_use("partner:1", "admin", &entry()).await.unwrap() }),
    );
    assert_eq!(added.await.iter().filter(|added| **added).count(), 1);
    assert_eq!(audit_rows(&store, "test").await, 1);
    assert!(identities.first_use("partner:l", "free", &entry()).await.unwrap(), "looks alike, and is another");
    // Whoever cannot log in here does not keep the last admin company.
    assert_eq!(store.accounts().count_of_role("admin").await.unwrap(), 0);
    let boss = User { role: "admin".to_owned(), ..user("boss") };
    store.accounts().add(&boss, &entry()).await.unwrap();
    let change = Change::Role("free");
    let told = store.accounts().change(&boss.id, change, &withdrawn(&boss.id, NOW_MS / 1000), &entry()).await.unwrap();
    assert_eq!(told, Changed::LastAdmin);
}
