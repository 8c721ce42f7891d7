//! The contract of second factors.

use super::*;

pub(super) async fn a_second_factor_is_used_step_by_step(store: Store) {
    let (ada, bob) = (caller("ada", "free"), caller("bob", "free"));
    let (factors, of_ada) = (store.second_factors(), store.of(&ada));
    let hashes = ["one".to_owned(), "two".to_owned()];
    assert!(of_ada.offer_second_factor("first", &entry()).await.unwrap());
    assert!(of_ada.offer_second_factor("second", &entry()).await.unwrap());
    assert!(!factors.use_step("ada", "second", 5).await.unwrap());
    let confirm =
        async |who: &Owned<'_>, sealed| who.confirm_second_factor(sealed, 5, &hashes, &entry()).await.unwrap();
    assert_eq!(confirm(&of_ada, "first").await, Confirmed::No);
    assert_eq!(confirm(&store.of(&bob), "second").await, Confirmed::No);
    assert_eq!(factors.of_user("ada").await.unwrap().unwrap().confirmed_at, None);
    assert_eq!(factors.factors("ada").await.unwrap().since(), None);
    assert_eq!(confirm(&of_ada, "second").await, Confirmed::Yes { codes: true });
    let kept = factors.of_user("ada").await.unwrap().unwrap();
    assert_eq!((kept.sealed.as_str(), kept.confirmed_at), ("second", Some(NOW_MS)));
    assert_eq!(factors.factors("ada").await.unwrap().codes_left, 2);
    // What counts is neither replaced nor confirmed again.
    assert!(!of_ada.offer_second_factor("third", &entry()).await.unwrap());
    assert_eq!(confirm(&of_ada, "second").await, Confirmed::No);

    for (sealed, step, is_used) in
        [("second", 5, false), ("first", 6, false), ("second", 7, true), ("second", 6, false), ("second", 7, false)]
    {
        assert_eq!(factors.use_step("ada", sealed, step).await.unwrap(), is_used, "{sealed} {step}");
    }
    let factors = &factors;
    let used =
        futures::future::join_all((0..8).map(|_| async move { factors.use_step("ada", "second", 8).await.unwrap() }));
    assert_eq!(used.await.iter().filter(|used| **used).count(), 1);
    let used = futures::future::join_all(
        (0..8).map(|_| async move { factors.use_code("ada", "one", &entry()).await.unwrap() }),
    );
    assert_eq!(used.await.iter().filter(|used| **used).count(), 1);
    assert!(!factors.use_code("bob", "two", &entry()).await.unwrap());
    assert_eq!(factors.factors("ada").await.unwrap().codes_left, 1);
    // Two offers, one confirmation, one code: what did not happen is not audited.
    assert_eq!(audit_rows(&store, "test").await, 4);

    assert!(!factors.remove("bob", &entry()).await.unwrap());
    assert!(factors.remove("ada", &entry()).await.unwrap());
    assert_eq!(factors.of_user("ada").await.unwrap(), None);
    assert!(!factors.use_code("ada", "two", &entry()).await.unwrap());
}
