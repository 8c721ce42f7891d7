use std::collections::HashMap;

use super::*;

fn link(output_id: &str, secret: &str, downloads_limit: Option<i64>) -> ShareLink {
    ShareLink {
        id: new_id(NOW_MS),
        output_id: output_id.to_owned(),
        secret_hash: secret.to_owned(),
        password_hash: Some("hash".to_owned()),
        downloads: 0,
        downloads_limit,
        created_at: NOW_MS,
        expires_at: NOW_MS + HOUR_MS,
    }
}

pub(super) async fn links_open_one_output_and_are_counted(store: Store) {
    let (ada, bob) = (caller("ada", "free"), caller("bob", "free"));
    let (id, other) = (new_id(NOW_MS), new_id(NOW_MS));
    make(&store, &ada, &id, 5).await;
    make(&store, &ada, &other, 5).await;
    let made = link(&id, "one", Some(3));
    assert_eq!(store.of(&bob).share(&made, 9, &entry()).await.unwrap(), Shared::NoOutput);
    assert_eq!(store.of(&ada).share(&made, 0, &entry()).await.unwrap(), Shared::TooMany);
    assert_eq!(store.of(&ada).share(&made, 9, &entry()).await.unwrap(), Shared::Yes);
    let again = store.of(&ada).share(&ShareLink { id: new_id(NOW_MS), ..made.clone() }, 9, &entry()).await;
    assert!(matches!(again, Err(StoreError::Conflict)), "no two links have one secret");

    let links = store.share_links();
    let opened = links.open("one", NOW_MS).await.unwrap().unwrap();
    assert_eq!((&opened.link, &opened.output, opened.owner()), (&made, &output(&id, 5), "ada"));
    assert!(links.open("two", NOW_MS).await.unwrap().is_none());
    assert!(links.open("one", made.expires_at).await.unwrap().is_none());
    assert_eq!(store.of(&ada).share_links(NOW_MS).await.unwrap(), [(made.clone(), "你好".to_owned())]);
    assert_eq!(store.of(&ada).share_counts(NOW_MS).await.unwrap(), HashMap::from([(id.clone(), 1)]));
    assert_eq!(store.of(&bob).share_links(NOW_MS).await.unwrap(), []);
    assert_eq!(store.of(&ada).share_links(made.expires_at).await.unwrap(), []);

    let counted = futures::future::join_all((0..16).map(|_| async { links.count(&opened, &entry()).await.unwrap() }));
    assert_eq!(counted.await.into_iter().filter(|counted| *counted).count(), 3);
    let opened = links.open("one", NOW_MS).await.unwrap().unwrap();
    assert!(opened.is_used_up() && opened.link.downloads == 3);

    // However many are made at once, no more hold than may; what has run out makes room.
    let many: Vec<ShareLink> = (0..8).map(|number| link(&other, &format!("many {number}"), None)).collect();
    let owned = store.of(&ada);
    let shared = futures::future::join_all(many.iter().map(async |link| owned.share(link, 4, &entry()).await)).await;
    // Whoever is overtaken too often is told so; nobody gets past the bound.
    let held = shared.iter().filter(|shared| matches!(shared, Ok(Shared::Yes))).count();
    assert!((1..=3).contains(&held), "{shared:?}");
    assert!(shared.iter().all(|shared| matches!(shared, Ok(_) | Err(StoreError::Conflict))), "{shared:?}");

    assert!(!store.of(&bob).end_share(&made.id, &entry()).await.unwrap());
    assert!(store.of(&ada).end_share(&made.id, &entry()).await.unwrap());
    assert!(!links.count(&opened, &entry()).await.unwrap() && links.open("one", NOW_MS).await.unwrap().is_none());
    assert!(store.of(&ada).delete_output(&other, &entry()).await.unwrap());
    assert!(links.open("many 0", NOW_MS).await.unwrap().is_none());
    assert_eq!(links.forget(NOW_MS).await.unwrap(), held as u64);
    let late = ShareLink { id: new_id(NOW_MS), ..link(&id, "late", None) };
    assert_eq!(store.of(&ada).share(&late, 1, &entry()).await.unwrap(), Shared::Yes);
    let later = AuditEntry { at: late.expires_at, ..entry() };
    let next = ShareLink { expires_at: late.expires_at + HOUR_MS, ..link(&id, "next", None) };
    assert_eq!(store.of(&ada).share(&next, 1, &later).await.unwrap(), Shared::Yes);
}
