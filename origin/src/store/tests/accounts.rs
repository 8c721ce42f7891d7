//! Accounts, invitations and guesses.

use super::*;

pub(super) async fn names_that_look_alike_are_one(store: Store) {
    let accounts = store.accounts();
    accounts.add(&user("mary"), &entry()).await.unwrap();
    for alike in ["rnary", "mаry"] {
        assert!(accounts.is_taken(alike).await.unwrap());
        assert!(matches!(accounts.add(&user(alike), &entry()).await, Err(StoreError::Conflict)));
    }
    // Accounts of a time before that was looked at.
    let (older, newer) = (user("scope"), User { id: new_id(NOW_MS + 1), ..user("ѕсоре") });
    const SQL: &str =
        "INSERT INTO users (id, username, password_hash, role, created_at) VALUES ($1, $2, 'x', 'free', 0)";
    for user in [&newer, &older] {
        on_db!(&store.writer, pool => {
            sqlx::query(SQL).bind(&user.id).bind(&user.username).execute(pool).await.unwrap();
        });
    }
    for _ in 0..2 {
        store.migrate().await.unwrap();
        const SQL: &str = "SELECT username FROM users WHERE skeleton IS NULL";
        let left: Vec<String> = on_db!(&store.reader, pool => sqlx::query_scalar(SQL).fetch_all(pool).await.unwrap());
        assert_eq!(left, [newer.username.as_str()]);
    }
    let found = accounts.list("scop", "", 10).await.unwrap();
    assert_eq!(found.iter().map(|user| &user.id).collect::<Vec<_>>(), [&older.id]);
    assert_eq!(accounts.list(&newer.id, "", 10).await.unwrap().len(), 1);
    assert_eq!(accounts.list("", "mary", 1).await.unwrap(), found);
}

pub(super) async fn the_last_admin_stays(store: Store) {
    let accounts = store.accounts();
    let admins: Vec<User> =
        (0..8).map(|n| User { role: "admin".to_owned(), ..user(&format!("admin{}", char::from(b'a' + n))) }).collect();
    for admin in &admins {
        accounts.add(admin, &entry()).await.unwrap();
    }
    // All at once: each would leave the others.
    let changes = admins.iter().enumerate().map(|(n, admin)| {
        let (store, admin) = (store.clone(), admin.clone());
        let change = if n % 2 == 0 { Change::Role("free") } else { Change::Disabled(Some(NOW_MS)) };
        tokio::spawn(async move {
            store.accounts().change(&admin.id, change, &withdrawn(&admin.id, 5), &entry()).await.unwrap()
        })
    });
    let changed = futures::future::join_all(changes).await;
    let changed: Vec<Changed> = changed.into_iter().map(Result::unwrap).collect();
    assert_eq!(changed.iter().filter(|changed| **changed == Changed::Done).count(), 7);
    let last = changed.iter().position(|changed| *changed == Changed::LastAdmin).unwrap();
    // What is refused withdraws nothing.
    assert_eq!(store.control().withdrawn_before(Whose::User, &admins[last].id).await.unwrap(), None);
    assert_eq!(store.control().withdrawn_before(Whose::User, &admins[(last + 1) % 8].id).await.unwrap(), Some(5));
    let change = async |id: &str, change| accounts.change(id, change, &withdrawn(id, 5), &entry()).await.unwrap();
    assert_eq!(change(&admins[last].id, Change::Role("admin")).await, Changed::Done);
    assert_eq!(change("nobody", Change::Role("free")).await, Changed::NoUser);
}

pub(super) async fn a_password_is_set_by_one_proof(store: Store) {
    let accounts = store.accounts();
    let ada = user("ada");
    accounts.add(&ada, &entry()).await.unwrap();
    let reset = |hash: &str| Reset { user_id: ada.id.clone(), secret_hash: hash.to_owned(), expires_at: NOW_MS + 5 };
    for hash in ["first", "second"] {
        store.invitations().offer_reset(&reset(hash), &entry()).await.unwrap();
    }
    let set = async |proof, at| {
        let audit = AuditEntry { at, ..entry() };
        accounts.set_password(&ada.id, proof, "new", &withdrawn(&ada.id, 5), &audit).await.unwrap()
    };
    assert_eq!(store.invitations().reset_by_secret("first", NOW_MS).await.unwrap(), None);
    assert_eq!(store.invitations().reset_by_secret("second", NOW_MS).await.unwrap(), Some(reset("second")));
    assert_eq!(store.invitations().reset_by_secret("second", NOW_MS + 5).await.unwrap(), None);
    assert!(!set(Proof::Reset("first"), NOW_MS).await && !set(Proof::Reset("second"), NOW_MS + 5).await);
    assert_eq!(store.control().withdrawn_before(Whose::User, &ada.id).await.unwrap(), None);
    assert!(set(Proof::Reset("second"), NOW_MS).await);
    assert!(!set(Proof::Reset("second"), NOW_MS).await && !set(Proof::Password("hash"), NOW_MS).await);
    assert_eq!(store.control().withdrawn_before(Whose::User, &ada.id).await.unwrap(), Some(5));
    // Another way to a new password ends an offer.
    store.invitations().offer_reset(&reset("third"), &entry()).await.unwrap();
    assert!(set(Proof::Password("new"), NOW_MS).await);
    assert!(!set(Proof::Reset("third"), NOW_MS).await);
}

pub(super) async fn invitations_are_used_up(store: Store) {
    let invitation = Invitation {
        id: new_id(NOW_MS),
        secret_hash: "secret".to_owned(),
        role: "premium".to_owned(),
        uses_left: 3,
        created_at: NOW_MS,
        expires_at: NOW_MS + HOUR_MS,
        author: "cli:test".to_owned(),
    };
    store.invitations().add(&invitation, &entry()).await.unwrap();
    assert_eq!(store.invitations().by_secret("secret", NOW_MS).await.unwrap(), Some(invitation.clone()));
    assert_eq!(store.invitations().by_secret("secret", NOW_MS + HOUR_MS).await.unwrap(), None);
    let add = |name: String, at| {
        let (store, id) = (store.clone(), invitation.id.clone());
        async move { store.accounts().add_invited(&user(&name), &id, &AuditEntry { at, ..entry() }).await }
    };
    assert!(!add("late".to_owned(), NOW_MS + HOUR_MS).await.unwrap());
    assert!(add("bob".to_owned(), NOW_MS).await.unwrap());
    // A taken name uses nothing up.
    assert!(matches!(add("bob".to_owned(), NOW_MS).await, Err(StoreError::Conflict)));
    let added = futures::future::join_all(
        ["ca", "da", "fa", "ga", "ha"].map(|name| tokio::spawn(add(format!("{name}rol"), NOW_MS))),
    );
    assert_eq!(added.await.into_iter().filter(|added| matches!(added, Ok(Ok(true)))).count(), 2);
    assert_eq!(store.invitations().list(NOW_MS, 10).await.unwrap(), []);
    assert!(store.invitations().withdraw(&invitation.id, &entry()).await.unwrap());
    assert!(!store.invitations().withdraw(&invitation.id, &entry()).await.unwrap());
}

pub(super) async fn several_origins_count_guesses_together(store: Store) {
    let bucket = |name: &str, burst| Bucket { name: name.to_owned(), burst, every_ms: 60_000 };
    let (narrow, wide) = (bucket("narrow", 4), bucket("wide", 6));
    // Each task is an origin of its own as far as the database can tell.
    let attempts = (0..20).map(|_| {
        let (store, buckets) = (store.clone(), [wide.clone(), narrow.clone()]);
        tokio::spawn(async move { store.guesses().take(&buckets, NOW_MS, &entry()).await.unwrap() })
    });
    let waits: Vec<Option<i64>> = futures::future::join_all(attempts).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(waits.iter().filter(|wait| wait.is_none()).count(), 4);
    assert!(waits.iter().flatten().all(|wait_ms| *wait_ms == 60_000));
    assert_eq!(audit_rows(&store, "test").await, 16);
    // What the narrow one refused was given back to the wide one.
    let take = async |bucket: &Bucket, now_ms| {
        store.guesses().take(std::slice::from_ref(bucket), now_ms, &entry()).await.unwrap()
    };
    assert_eq!([take(&wide, NOW_MS).await, take(&wide, NOW_MS).await], [None, None]);
    assert_eq!(take(&wide, NOW_MS).await, Some(60_000));
    store.guesses().give_back(std::slice::from_ref(&wide)).await.unwrap();
    assert_eq!([take(&wide, NOW_MS).await, take(&wide, NOW_MS).await], [None, Some(60_000)]);
    assert_eq!(take(&narrow, NOW_MS + 59_999).await, Some(1));
    assert_eq!(take(&narrow, NOW_MS + 60_000).await, None);
    assert_eq!(store.guesses().forget(NOW_MS + 6 * 60_000).await.unwrap(), 2);
}
