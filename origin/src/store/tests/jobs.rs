//! Jobs, the queue and the books.

use std::collections::HashMap;
use std::sync::Arc;

use super::*;

const LEASE_MS: i64 = 30_000;

pub(in crate::store) const GENEROUS: Limits = Limits {
    running: 1000,
    live: 1000,
    characters: 100_000,
    generations: 10_000,
    audio_ms: None,
    storage_bytes: 1 << 40,
    bytes_per_character: 1,
    ms_per_character: 1,
    weight: 1,
    queue_length: 10_000,
};

const FAILURE: Failure<'static> = Failure { code: "engine_failed", detail: "It failed.", retry_after: None };

fn wanted(id: &str, characters: i64) -> NewJob {
    NewJob {
        id: id.to_owned(),
        request: "{}".to_owned(),
        fingerprint: "same".to_owned(),
        key: None,
        characters,
        pinned_to: None,
        worker: None,
        lease_until: NOW_MS + LEASE_MS,
    }
}

async fn enqueue(store: &Store, owner: &Caller, job: NewJob) {
    assert_eq!(store.of(owner).enqueue(&job, &GENEROUS, &entry()).await.unwrap().0, Enqueued::Queued);
}

async fn claim_at_most(store: &Store, most: i64) -> Option<Claimed> {
    match store.queue().claim("worker", |_| most, NOW_MS, NOW_MS + LEASE_MS).await.unwrap() {
        Claim::Taken(claimed) => Some(*claimed),
        Claim::NoneMay | Claim::NoneWaits => None,
    }
}

async fn claim(store: &Store) -> Claimed {
    claim_at_most(store, 1000).await.unwrap()
}

async fn complete(store: &Store, claimed: &Claimed) -> bool {
    let output = output(&claimed.job.id, claimed.job.characters);
    store.of(claimed.caller()).complete(claimed, &output, "{\"id\":1}", &entry()).await.unwrap()
}

async fn state(store: &Store, owner: &Caller, id: &str) -> String {
    store.of(owner).job(id).await.unwrap().unwrap().state
}

/// What was used on a day.
pub(super) async fn used(store: &Store, owner: &Caller, day: &str) -> Usage {
    let (_, days) = store.of(owner).used_since(day).await.unwrap();
    days.into_iter().find(|(name, _)| name == day).map(|(_, usage)| usage).unwrap_or_default()
}

async fn mistakes(store: &Store) -> Vec<Mistake> {
    store.books().mistakes(0).await.unwrap()
}

/// Asks for one output and books it.
pub(super) async fn make(store: &Store, owner: &Caller, id: &str, characters: i64) {
    enqueue(store, owner, wanted(id, characters)).await;
    let claimed = claim(store).await;
    assert_eq!((claimed.job.id.as_str(), claimed.caller().user_id()), (id, owner.user_id()));
    assert!(complete(store, &claimed).await);
}

pub(super) async fn every_quota_holds(store: Store) {
    let ada = caller("ada", "free");
    make(&store, &ada, &new_id(NOW_MS), 40).await;
    enqueue(&store, &ada, wanted("running", 50)).await;
    let owned = store.of(&ada);
    let said = async |limits: Limits| owned.enqueue(&wanted("next", 20), &limits, &entry()).await.unwrap().0;
    assert_eq!(said(Limits { live: 1, ..GENEROUS }).await, Enqueued::Refused(Refused::TooMany));
    assert_eq!(said(Limits { characters: 109, ..GENEROUS }).await, Enqueued::Refused(Refused::TooFewCharacters(19)));
    assert_eq!(said(Limits { characters: 50, ..GENEROUS }).await, Enqueued::Refused(Refused::TooFewCharacters(0)));
    assert_eq!(said(Limits { generations: 2, ..GENEROUS }).await, Enqueued::Refused(Refused::NoGenerations));
    // A second is used, and 70 milliseconds are promised.
    assert_eq!(said(Limits { audio_ms: Some(1069), ..GENEROUS }).await, Enqueued::Refused(Refused::NoAudio));
    assert_eq!(said(Limits { storage_bytes: 48_044 + 69, ..GENEROUS }).await, Enqueued::Refused(Refused::NoStorage));
    assert_eq!(said(Limits { queue_length: 1, ..GENEROUS }).await, Enqueued::Refused(Refused::QueueFull));
    let enough = Limits {
        live: 2,
        characters: 110,
        generations: 3,
        audio_ms: Some(1070),
        storage_bytes: 48_044 + 70,
        queue_length: 2,
        ..GENEROUS
    };
    assert_eq!(said(enough).await, Enqueued::Queued);
    // The next day begins anew, with what is still stored and under way.
    let tomorrow = AuditEntry { at: NOW_MS + 24 * HOUR_MS, ..entry() };
    let strict = Limits { characters: 170, generations: 3, ..GENEROUS };
    assert_eq!(owned.enqueue(&wanted("tomorrow", 100), &strict, &tomorrow).await.unwrap().0, Enqueued::Queued);
}

pub(super) async fn concurrent_wishes_do_not_overbook(store: Store) {
    let ada = Arc::new(caller("ada", "free"));
    let limits = Limits { live: 3, ..GENEROUS };
    let attempts = (0..20).map(|_| {
        let (store, ada) = (store.clone(), Arc::clone(&ada));
        tokio::spawn(
            async move { store.of(&ada).enqueue(&wanted(&new_id(NOW_MS), 1), &limits, &entry()).await.unwrap().0 },
        )
    });
    let outcomes = futures::future::join_all(attempts).await;
    let queued = outcomes.iter().filter(|outcome| *outcome.as_ref().unwrap() == Enqueued::Queued).count();
    assert_eq!(queued, 3);
    // And as many workers at once get each of them once.
    let claims = (0..20).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { claim_at_most(&store, 2).await })
    });
    let claimed = futures::future::join_all(claims).await.into_iter().filter_map(Result::unwrap).count();
    assert_eq!(claimed, 2);
}

pub(super) async fn what_comes_at_once_counts_for_each(store: Store) {
    let owners: Vec<Caller> = (0..8).map(|number| caller(&format!("user{number}"), "free")).collect();
    let limits = Limits { running: 2, queue_length: 0, ..GENEROUS };
    let wishes = (0..24).map(|number| {
        let (store, owner) = (store.clone(), owners[number % 8].clone());
        let job = NewJob { worker: Some("worker".to_owned()), ..wanted(&format!("job{number}"), 5) };
        tokio::spawn(async move { store.of(&owner).enqueue(&job, &limits, &entry()).await.unwrap().0 })
    });
    let outcomes: Vec<Enqueued> =
        futures::future::join_all(wishes).await.into_iter().map(|outcome| outcome.unwrap()).collect();
    let full = outcomes.iter().filter(|outcome| **outcome == Enqueued::Refused(Refused::QueueFull)).count();
    assert_eq!(full, 8, "{outcomes:?}");
    let begun = outcomes.into_iter().filter_map(|outcome| match outcome {
        Enqueued::Begun(claimed) => Some(claimed),
        _ => None,
    });
    let booked = begun.map(|claimed| {
        let store = store.clone();
        tokio::spawn(async move { complete(&store, &claimed).await })
    });
    let booked = futures::future::join_all(booked).await;
    assert_eq!(booked.into_iter().filter(|is_booked| *is_booked.as_ref().unwrap()).count(), 16);
    for owner in &owners {
        assert_eq!(used(&store, owner, TODAY).await, Usage { characters: 10, generations: 2, audio_ms: 2000 });
    }
    assert_eq!(audit_rows(&store, "test").await, 16);
    assert_eq!(mistakes(&store).await, []);
}

pub(super) async fn a_generation_is_booked_once_and_whole(store: Store) {
    let (ada, bob) = (caller("ada", "free"), caller("bob", "free"));
    let id = new_id(NOW_MS);
    enqueue(&store, &ada, wanted(&id, 5)).await;
    let claimed = claim(&store).await;
    // Nobody else ends it, whatever he holds.
    let others = store.of(&bob).complete(&claimed, &output(&id, 5), "{}", &entry()).await.unwrap();
    assert!(!others && !store.of(&bob).fail(&claimed, &FAILURE, None, &entry()).await.unwrap());
    assert!(complete(&store, &claimed).await);
    assert!(!complete(&store, &claimed).await);
    assert!(!store.of(&ada).fail(&claimed, &FAILURE, None, &entry()).await.unwrap());
    assert!(!store.of(&ada).cancel_job(&id, true, &entry()).await.unwrap());
    let usage = used(&store, &ada, TODAY).await;
    assert_eq!(usage, Usage { characters: 5, generations: 1, audio_ms: 1000 });
    assert_eq!(audit_rows(&store, "test").await, 1);
    let job = store.of(&ada).job(&id).await.unwrap().unwrap();
    assert_eq!((job.state.as_str(), job.request.as_str(), job.answer.as_deref()), ("done", "", Some("{\"id\":1}")));
    assert_eq!(store.of(&bob).job(&id).await.unwrap(), None);
    assert_eq!(store.of(&bob).jobs(None, 10).await.unwrap(), []);
    assert_eq!(store.of(&ada).jobs(None, 10).await.unwrap(), [job]);
    assert_eq!(mistakes(&store).await, []);
}

pub(super) async fn a_failed_generation_costs_nothing(store: Store) {
    let ada = caller("ada", "free");
    enqueue(&store, &ada, wanted("one", 5)).await;
    let claimed = claim(&store).await;
    assert!(store.of(&ada).fail(&claimed, &FAILURE, None, &entry()).await.unwrap());
    assert!(!store.of(&ada).fail(&claimed, &FAILURE, None, &entry()).await.unwrap());
    assert!(!complete(&store, &claimed).await);
    assert_eq!(used(&store, &ada, TODAY).await, Usage::default());
    assert_eq!(store.upkeep().discarded(NOW_MS).await.unwrap().len(), 1);
    let job = store.of(&ada).job("one").await.unwrap().unwrap();
    assert_eq!((job.state.as_str(), job.error.as_deref(), job.request.as_str()), ("failed", Some("engine_failed"), ""));
    let strict = Limits { live: 1, ..GENEROUS };
    assert_eq!(store.of(&ada).enqueue(&wanted("two", 5), &strict, &entry()).await.unwrap().0, Enqueued::Queued);
    assert_eq!(mistakes(&store).await, []);
    assert_eq!(store.upkeep().forget_jobs(NOW_MS).await.unwrap(), 0);
    assert_eq!(store.upkeep().forget_jobs(NOW_MS + 1).await.unwrap(), 1);
}

pub(super) async fn what_was_heard_is_charged(store: Store) {
    let ada = caller("ada", "free");
    enqueue(&store, &ada, NewJob { pinned_to: Some("worker".to_owned()), ..wanted("one", 50) }).await;
    // Only the origin that its client listens at may have it.
    let other = store.queue().claim("other", |_| 9, NOW_MS, NOW_MS + LEASE_MS).await.unwrap();
    assert_eq!(other, Claim::NoneWaits);
    let claimed = claim(&store).await;
    let cut = Failure { code: "conflict", ..FAILURE };
    assert!(
        store
            .of(&ada)
            .fail(
                &claimed,
                &cut,
                Some(Heard { characters: 20, audio_ms: 1500, project_id: Some("p".to_owned()) }),
                &entry()
            )
            .await
            .unwrap()
    );
    let usage = used(&store, &ada, TODAY).await;
    assert_eq!(usage, Usage { characters: 20, generations: 1, audio_ms: 1500 });
    assert_eq!(state(&store, &ada, "one").await, "cancelled");
    assert_eq!(mistakes(&store).await, []);
}

pub(super) async fn a_cancelled_generation_costs_nothing(store: Store) {
    let (ada, bob) = (caller("ada", "free"), caller("bob", "free"));
    enqueue(&store, &ada, wanted("one", 5)).await;
    assert_eq!(store.of(&ada).position("one").await.unwrap(), 1);
    assert!(!store.of(&bob).cancel_job("one", true, &entry()).await.unwrap());
    assert!(store.of(&ada).cancel_job("one", false, &entry()).await.unwrap());
    assert!(!store.of(&ada).cancel_job("one", false, &entry()).await.unwrap());
    assert!(claim_at_most(&store, 9).await.is_none());
    enqueue(&store, &ada, wanted("two", 5)).await;
    let claimed = claim(&store).await;
    assert_eq!(store.of(&ada).position("two").await.unwrap(), 0);
    assert!(!store.of(&ada).cancel_job("two", false, &entry()).await.unwrap());
    assert!(store.of(&ada).cancel_job("two", true, &entry()).await.unwrap());
    assert!(!store.queue().renew(&claimed, (0, 1), NOW_MS).await.unwrap());
    assert!(!complete(&store, &claimed).await);
    assert_eq!(used(&store, &ada, TODAY).await, Usage::default());
    assert_eq!(mistakes(&store).await, []);
}

pub(super) async fn the_day_of_the_request_is_charged(store: Store) {
    let ada = caller("ada", "free");
    enqueue(&store, &ada, wanted("late", 7)).await;
    let claimed = claim(&store).await;
    let after_midnight = AuditEntry { at: NOW_MS + 24 * HOUR_MS, ..entry() };
    assert!(store.of(&ada).complete(&claimed, &output("late", 7), "{}", &after_midnight).await.unwrap());
    assert_eq!(used(&store, &ada, TODAY).await.characters, 7);
    assert_eq!(used(&store, &ada, "2026-11-24").await.characters, 0);
    let today = DayUsage { day: TODAY.to_owned(), characters: 7, generations: 1, audio_ms: 1000 };
    assert_eq!(store.of(&ada).history("2026-11-01").await.unwrap(), [today]);
    assert_eq!(store.of(&ada).history("2026-11-24").await.unwrap(), []);
    store.upkeep().forget_usage_before("2026-11-24").await.unwrap();
    assert_eq!(used(&store, &ada, TODAY).await.characters, 0);
    assert_eq!(store.books().size().await.unwrap(), (0, 0));
}

/// Serves `count` jobs one after the other; whose they were.
async fn serve(store: &Store, count: usize) -> Vec<String> {
    let mut served = Vec::new();
    for _ in 0..count {
        let claimed = claim(store).await;
        served.push(claimed.job.user_id.clone());
        assert!(complete(store, &claimed).await);
    }
    served
}

pub(super) async fn the_queue_is_fair(store: Store) {
    let (ada, bob) = (caller("ada", "free"), caller("bob", "free"));
    for number in 0..100 {
        enqueue(&store, &ada, wanted(&format!("a{number:03}"), 10)).await;
    }
    serve(&store, 5).await;
    let running = claim(&store).await;
    // Bob waits for what runs, and for nothing else; and so again with his next one.
    enqueue(&store, &bob, wanted("b1", 10)).await;
    assert_eq!(store.of(&bob).position("b1").await.unwrap(), 1);
    assert!(complete(&store, &running).await);
    assert_eq!(serve(&store, 2).await, ["bob", "ada"]);
    enqueue(&store, &bob, wanted("b2", 10)).await;
    assert_eq!(serve(&store, 1).await, ["bob"]);
    // Eight equal users with a backlog each get the same, whatever the order they came in.
    let users: Vec<Caller> = (0..8).map(|number| caller(&format!("u{number}"), "free")).collect();
    for user in &users {
        for number in 0..20 {
            enqueue(&store, user, wanted(&format!("{}-{number:02}", user.user_id()), 10)).await;
        }
    }
    let mut got: HashMap<String, f64> = HashMap::new();
    for user_id in serve(&store, 8 * 10).await {
        *got.entry(user_id).or_default() += 10.0;
    }
    got.remove("ada");
    let (sum, squares) = got.values().fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
    let jain = sum * sum / (8.0 * squares);
    assert!(jain >= 0.98, "{jain}: {got:?}");
}

pub(super) async fn weights_share_the_engine(store: Store) {
    let (ada, bob) = (caller("ada", "premium"), caller("bob", "free"));
    for number in 0..40 {
        for (owner, weight) in [(&ada, 3), (&bob, 1)] {
            let job = wanted(&format!("{}{number:02}", owner.user_id()), 10);
            let limits = Limits { weight, ..GENEROUS };
            assert_eq!(store.of(owner).enqueue(&job, &limits, &entry()).await.unwrap().0, Enqueued::Queued);
        }
    }
    let served = serve(&store, 40).await;
    assert_eq!(served.iter().filter(|user_id| *user_id == "ada").count(), 30);
}

pub(super) async fn no_user_runs_more_than_allowed(store: Store) {
    let (ada, bob) = (caller("ada", "free"), caller("bob", "free"));
    for id in ["a1", "a2", "a3"] {
        enqueue(&store, &ada, wanted(id, 1)).await;
    }
    enqueue(&store, &bob, wanted("b1", 500)).await;
    let first = claim_at_most(&store, 1).await.unwrap();
    assert_eq!(claim_at_most(&store, 1).await.unwrap().job.id, "b1");
    assert!(claim_at_most(&store, 1).await.is_none());
    assert_eq!(store.queue().depth().await.unwrap(), (2, 2));
    assert!(complete(&store, &first).await);
    assert_eq!(claim_at_most(&store, 1).await.unwrap().job.id, "a2");
    assert!(claim_at_most(&store, 0).await.is_none());
}

pub(super) async fn a_dead_workers_job_is_taken_up(store: Store) {
    let ada = caller("ada", "free");
    enqueue(&store, &ada, wanted("one", 5)).await;
    enqueue(&store, &ada, NewJob { pinned_to: Some("gone".to_owned()), ..wanted("heard", 5) }).await;
    let mut last = claim(&store).await;
    assert_eq!(store.queue().take_up(NOW_MS + LEASE_MS - 1, NOW_MS).await.unwrap(), 0);
    assert!(store.queue().renew(&last, (1, 3), NOW_MS + 2 * LEASE_MS).await.unwrap());
    let job = store.of(&ada).job("one").await.unwrap().unwrap();
    assert_eq!((job.sentences_done, job.sentences_total), (1, 3));
    // The client of the other one is gone with its origin.
    assert_eq!(store.queue().take_up(NOW_MS + LEASE_MS, NOW_MS).await.unwrap(), 1);
    assert_eq!(state(&store, &ada, "heard").await, "failed");
    for attempt in 2..=MAX_ATTEMPTS {
        assert_eq!(store.queue().take_up(NOW_MS + 2 * LEASE_MS, NOW_MS).await.unwrap(), 1);
        let next = claim(&store).await;
        assert_eq!((next.job.id.as_str(), next.job.attempts), ("one", attempt));
        // Had the last one been alive after all, it could not end it any more.
        assert!(!complete(&store, &last).await);
        last = next;
    }
    assert_eq!(store.queue().take_up(NOW_MS + 2 * LEASE_MS, NOW_MS).await.unwrap(), 1);
    assert_eq!(state(&store, &ada, "one").await, "failed");
    assert!(!complete(&store, &last).await);
    assert_eq!(used(&store, &ada, TODAY).await, Usage::default());
    assert_eq!(store.upkeep().discarded(NOW_MS).await.unwrap().len(), 2);
    assert_eq!(audit_rows(&store, "generate").await, 2);
    assert_eq!(mistakes(&store).await, []);
}

pub(super) async fn unfinished_jobs_are_handed_back(store: Store) {
    let ada = caller("ada", "free");
    enqueue(&store, &ada, wanted("one", 5)).await;
    let claimed = claim(&store).await;
    assert_eq!(store.queue().hand_back("other").await.unwrap(), 0);
    assert_eq!(store.queue().hand_back("worker").await.unwrap(), 1);
    assert!(!complete(&store, &claimed).await);
    let again = claim(&store).await;
    assert_eq!(again.job.attempts, 1);
    assert!(complete(&store, &again).await);
}

pub(super) async fn a_key_names_one_job(store: Store) {
    let (ada, bob) = (caller("ada", "free"), caller("bob", "free"));
    let keyed = |id: &str| NewJob { key: Some("key".to_owned()), ..wanted(id, 5) };
    let said = async |owner: &Caller, job: NewJob| store.of(owner).enqueue(&job, &GENEROUS, &entry()).await.unwrap().0;
    let attempts = (0..10).map(|number| {
        let (store, ada, job) = (store.clone(), ada.clone(), keyed(&format!("a{number}")));
        tokio::spawn(async move { store.of(&ada).enqueue(&job, &GENEROUS, &entry()).await.unwrap().0 })
    });
    let outcomes = futures::future::join_all(attempts).await;
    assert_eq!(outcomes.iter().filter(|outcome| *outcome.as_ref().unwrap() == Enqueued::Queued).count(), 1);
    let claimed = claim(&store).await;
    let id = claimed.job.id.clone();
    assert_eq!(said(&ada, keyed("a10")).await, Enqueued::Known(id.clone()));
    assert_eq!(
        said(&ada, NewJob { fingerprint: "other".to_owned(), ..keyed("a11") }).await,
        Enqueued::Refused(Refused::KeyTaken)
    );
    // Even if nothing more is allowed, what was asked for before is answered.
    let full = Limits { live: 0, characters: 0, queue_length: 0, ..GENEROUS };
    assert_eq!(store.of(&ada).enqueue(&keyed("a12"), &full, &entry()).await.unwrap().0, Enqueued::Known(id.clone()));
    assert_eq!(said(&bob, keyed("b1")).await, Enqueued::Queued);
    assert!(complete(&store, &claimed).await);
    assert_eq!(said(&ada, keyed("a13")).await, Enqueued::Known(id));
    // What failed made nothing, so its key is free again.
    let bobs = claim(&store).await;
    assert!(store.of(&bob).fail(&bobs, &FAILURE, None, &entry()).await.unwrap());
    assert_eq!(said(&bob, keyed("b2")).await, Enqueued::Queued);
}

pub(super) async fn the_books_tell_what_is_wrong(store: Store) {
    let ada = caller("ada", "free");
    for id in ["one", "two", "three"] {
        make(&store, &ada, id, 5).await;
    }
    assert!(store.of(&ada).delete_output("three", &entry()).await.unwrap());
    assert_eq!((mistakes(&store).await, store.books().size().await.unwrap()), (vec![], (1, 3)));
    let run = async |sql: &'static str| {
        on_db!(&store.writer, pool => { sqlx::query(sql).execute(pool).await.unwrap(); });
    };
    run("UPDATE daily_usage SET characters = characters + 1").await;
    let day = Mistake {
        user_id: "ada".to_owned(),
        place: TODAY.to_owned(),
        charged: "16/3/3000".to_owned(),
        delivered: "15/3/3000".to_owned(),
    };
    assert_eq!(mistakes(&store).await, [day]);
    run("UPDATE daily_usage SET characters = characters - 1").await;
    run("UPDATE outputs SET characters = 6 WHERE id = 'one'").await;
    run("UPDATE jobs SET state = 'failed' WHERE id = 'two'").await;
    let places: Vec<String> = mistakes(&store).await.into_iter().map(|mistake| mistake.place).collect();
    assert_eq!(places, ["one", "two"]);
    // What is older than the books is not asked for.
    assert_eq!(store.books().mistakes(NOW_MS + 1).await.unwrap().len(), 1);
}

pub(super) async fn a_day_begins_where_the_user_is(store: Store) {
    let (ada, bob) = (caller("ada", "free"), caller("bob", "free"));
    assert_eq!(store.of(&ada).time_zone().await.unwrap(), None);
    for zone in ["Europe/Berlin", "Asia/Shanghai"] {
        store.of(&ada).set_time_zone(zone).await.unwrap();
        assert_eq!(store.of(&ada).time_zone().await.unwrap().as_deref(), Some(zone));
    }
    assert_eq!(store.of(&bob).time_zone().await.unwrap(), None);
}

pub(super) async fn a_job_begins_at_once_where_nobody_waits(store: Store) {
    let (ada, bob) = (caller("ada", "free"), caller("bob", "free"));
    let with_room = |id: &str| NewJob { worker: Some("worker".to_owned()), ..wanted(id, 5) };
    let said = async |owner: &Caller, id: &str, limits: Limits| {
        store.of(owner).enqueue(&with_room(id), &limits, &entry()).await.unwrap().0
    };
    let one = Limits { running: 1, queue_length: 1, ..GENEROUS };
    let Enqueued::Begun(begun) = said(&ada, "one", Limits { queue_length: 0, ..one }).await else { panic!("it waits") };
    let job = store.of(&ada).job("one").await.unwrap().unwrap();
    assert_eq!((job.state.as_str(), job.attempts, job.started_at), ("running", 1, Some(NOW_MS)));
    assert_eq!((&job, begun.worker.as_str(), begun.caller().user_id()), (&begun.job, "worker", "ada"));
    // As many run as may.
    assert_eq!(said(&ada, "two", one).await, Enqueued::Queued);
    // Nobody overtakes whoever waits.
    assert_eq!(said(&bob, "three", Limits { queue_length: 2, ..one }).await, Enqueued::Queued);
    assert_eq!(said(&bob, "four", Limits { queue_length: 2, ..one }).await, Enqueued::Refused(Refused::QueueFull));
    assert!(complete(&store, &begun).await);
    assert_eq!(claim_at_most(&store, 1).await.unwrap().job.id, "three");
    assert_eq!(claim_at_most(&store, 1).await.unwrap().job.id, "two");
    assert_eq!(mistakes(&store).await, []);
}

pub(super) async fn what_is_booked_together_is_judged_alone(store: Store) {
    let mut claimed = Vec::new();
    for number in 0..40 {
        let owner = caller(&format!("user-{}", number % 7), "free");
        enqueue(&store, &owner, wanted(&format!("job-{number:02}"), 5)).await;
        claimed.push(claim(&store).await);
    }
    // One has lost its job, and of one there is an output already, which cannot be.
    claimed[11].worker = "another".to_owned();
    let sql = "INSERT INTO outputs SELECT id, user_id, role, 'x', 'x', 'x', 1, 1, 1, 1, 'x', NULL, 1, 1 FROM jobs \
               WHERE id = 'job-22'";
    on_db!(&store.writer, pool => { sqlx::query(sql).execute(pool).await.unwrap(); });
    let booked = claimed.iter().map(|claimed| {
        let output = output(&claimed.job.id, 5);
        let store = store.clone();
        async move { store.of(claimed.caller()).complete(claimed, &output, "{}", &entry()).await }
    });
    let booked = futures::future::join_all(booked).await;
    for (number, result) in booked.into_iter().enumerate() {
        match number {
            11 => assert!(!result.unwrap()),
            22 => assert!(matches!(result, Err(StoreError::Conflict)), "{result:?}"),
            _ => assert!(result.unwrap(), "{number}"),
        }
    }
    let audited = store.audited(entry().action, entry().result).await.len();
    assert_eq!(audited, 38);
}

pub(super) async fn a_backlog_that_may_not_run_hides_nobody(store: Store) {
    let (ada, bob) = (caller("ada", "free"), caller("bob", "free"));
    let heavy = Limits { weight: 1000, ..GENEROUS };
    for number in 0..100 {
        let job = wanted(&format!("a{number:03}"), 1);
        assert_eq!(store.of(&ada).enqueue(&job, &heavy, &entry()).await.unwrap().0, Enqueued::Queued);
    }
    assert_eq!(claim_at_most(&store, 1).await.unwrap().job.id, "a000");
    // So that bob's comes after all of ada's.
    on_db!(&store.writer, pool => {
        sqlx::query("UPDATE queue SET virtual_time = 1000000").execute(pool).await.unwrap();
    });
    enqueue(&store, &bob, wanted("b", 1)).await;
    assert_eq!(claim_at_most(&store, 1).await.unwrap().job.id, "b");
    let none = store.queue().claim("worker", |_| 1, NOW_MS, NOW_MS + LEASE_MS).await.unwrap();
    assert_eq!(none, Claim::NoneMay);
    assert_eq!(claim_at_most(&store, 2).await.unwrap().job.id, "a001");
}
