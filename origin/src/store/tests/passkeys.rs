//! The contract of passkeys.

use super::*;

fn passkey(name: &str) -> Passkey {
    Passkey {
        id: name.to_owned(),
        name: name.to_owned(),
        credential_id: format!("of {name}"),
        credential: "made".to_owned(),
        counter: 0,
        created_at: NOW_MS,
        used_at: None,
    }
}

pub(super) async fn passkeys_are_added_used_and_removed(store: Store) {
    let (ada, bob) = (caller("ada", "free"), caller("bob", "free"));
    let (of_ada, of_bob, passkeys, factors) =
        (store.of(&ada), store.of(&bob), store.passkeys(), store.second_factors());
    let hashes = ["one".to_owned(), "two".to_owned()];
    let add =
        async |who: &Owned<'_>, name, most| who.add_passkey(&passkey(name), most, &hashes, &entry()).await.unwrap();
    assert_eq!(add(&of_ada, "phone", 3).await, NewPasskey::Added { codes: true });
    assert_eq!(add(&of_ada, "key", 3).await, NewPasskey::Added { codes: false });
    for who in [&of_ada, &of_bob] {
        assert_eq!(add(who, "phone", 3).await, NewPasskey::Known);
    }
    // However many come at once, there are no more than there may be.
    let of_ada_too = &of_ada;
    let more = ["a", "b", "c", "d"].map(|name| async move { add(of_ada_too, name, 3).await });
    let added = futures::future::join_all(more).await;
    assert_eq!(added.iter().filter(|added| **added == NewPasskey::Added { codes: false }).count(), 1, "{added:?}");
    assert_eq!(passkeys.of_user("ada").await.unwrap().len(), 3);
    assert_eq!(passkeys.of_user("bob").await.unwrap(), []);
    let held = factors.factors("ada").await.unwrap();
    assert_eq!((held.since(), held.totp_since, held.passkeys, held.codes_left), (Some(NOW_MS), None, 3, 2));

    let use_at = async |user: &str, counter| {
        let used = Passkey { credential: format!("used {counter}"), counter, ..passkey("phone") };
        passkeys.note_use(user, &used, &entry()).await.unwrap()
    };
    for (user, counter, is_noted) in
        [("ada", 0, true), ("ada", 0, true), ("bob", 1, false), ("ada", 5, true), ("ada", 5, false), ("ada", 0, false)]
    {
        assert_eq!(use_at(user, counter).await, is_noted, "{user} {counter}");
    }
    let used = futures::future::join_all((0..8).map(|_| use_at("ada", 6))).await;
    assert_eq!(used.iter().filter(|used| **used).count(), 1);
    let phone = passkeys.of_user("ada").await.unwrap().into_iter().find(|passkey| passkey.id == "phone").unwrap();
    assert_eq!((phone.credential.as_str(), phone.counter, phone.used_at), ("used 6", 6, Some(NOW_MS)));
    // Three added, four uses: what did not happen is not audited.
    assert_eq!(audit_rows(&store, "test").await, 7);

    assert!(!of_bob.remove_passkey("phone", &entry()).await.unwrap());
    for passkey in passkeys.of_user("ada").await.unwrap() {
        // Recovery codes stay until the last is gone.
        assert_eq!(factors.factors("ada").await.unwrap().codes_left, 2);
        assert!(of_ada.remove_passkey(&passkey.id, &entry()).await.unwrap());
    }
    assert!(!of_ada.remove_passkey("phone", &entry()).await.unwrap());
    let held = factors.factors("ada").await.unwrap();
    assert_eq!((held.since(), held.codes_left), (None, 0));

    // One-time codes keep them as well, and a reset takes everything.
    assert!(of_ada.offer_second_factor("sealed", &entry()).await.unwrap());
    assert_eq!(add(&of_ada, "phone", 3).await, NewPasskey::Added { codes: true });
    let confirmed = of_ada.confirm_second_factor("sealed", 5, &hashes, &entry()).await.unwrap();
    assert_eq!(confirmed, Confirmed::Yes { codes: false });
    assert!(of_ada.remove_passkey("phone", &entry()).await.unwrap());
    assert_eq!(factors.factors("ada").await.unwrap().codes_left, 2);
    assert_eq!(add(&of_ada, "key", 3).await, NewPasskey::Added { codes: false });
    assert!(factors.remove("ada", &entry()).await.unwrap());
    assert_eq!(factors.factors("ada").await.unwrap().codes_left, 2);
    assert!(factors.reset("ada", &entry()).await.unwrap());
    assert!(!factors.reset("ada", &entry()).await.unwrap());
    let held = factors.factors("ada").await.unwrap();
    assert_eq!((held.since(), held.codes_left), (None, 0));
}

pub(super) async fn a_challenge_is_answered_once(store: Store) {
    let passkeys = store.passkeys();
    let begin = async |id: &str, user_id: &str, purpose, expires_at| {
        let ceremony = Ceremony { id, user_id, purpose, state: "state", expires_at };
        passkeys.begin(&ceremony, 2).await.unwrap();
    };
    begin("one", "ada", "login", NOW_MS + 1).await;
    for (id, user_id, purpose, now_ms) in
        [("two", "ada", "login", NOW_MS), ("one", "bob", "login", NOW_MS), ("one", "ada", "add", NOW_MS)]
    {
        assert_eq!(passkeys.take(id, user_id, purpose, now_ms).await.unwrap(), None, "{id} {user_id} {purpose}");
    }
    // Whichever origin asks: one gets it.
    let taken = (0..8).map(|_| async { passkeys.take("one", "ada", "login", NOW_MS).await.unwrap() });
    let taken = futures::future::join_all(taken).await;
    assert_eq!(taken.iter().flatten().collect::<Vec<_>>(), ["state"]);
    begin("late", "ada", "login", NOW_MS).await;
    assert_eq!(passkeys.take("late", "ada", "login", NOW_MS).await.unwrap(), None);

    for n in 0..5 {
        begin(&format!("ada {n}"), "ada", "login", NOW_MS + n).await;
    }
    begin("bob", "bob", "login", NOW_MS + 9).await;
    begin("inside", "ada", "inside", NOW_MS + 9).await;
    assert_eq!(passkeys.waiting().await, 4);
    assert_eq!(passkeys.take("ada 2", "ada", "login", NOW_MS).await.unwrap(), None);
    assert_eq!(passkeys.take("ada 4", "ada", "login", NOW_MS).await.unwrap().as_deref(), Some("state"));
    assert_eq!(passkeys.forget(NOW_MS + 8).await.unwrap(), 1);
    assert_eq!(passkeys.waiting().await, 2);
}
