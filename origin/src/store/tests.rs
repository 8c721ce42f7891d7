//! One contract, two databases. Postgres takes part when COSYGATE_TEST_POSTGRES_URL names one;
//! every test gets a schema of its own.

/// Names, passwords, invitations, guesses.
mod accounts;
/// Identities at providers.
mod identities;
/// Generations, the queue and the books.
pub(super) mod jobs;
/// Logins and personal access tokens.
mod logins;
/// Passkeys.
mod passkeys;
/// Second factors.
mod second_factors;
/// Links to outputs.
mod share_links;

use self::accounts::*;
use self::identities::*;
use self::jobs::*;
use self::logins::{
    one_successor_takes_the_place_of_a_secret, tokens_state_what_the_account_is, withdrawals_end_logins,
};
use self::passkeys::{a_challenge_is_answered_once, passkeys_are_added_used_and_removed};
use self::second_factors::a_second_factor_is_used_step_by_step;
use self::share_links::links_open_one_output_and_are_counted;
use super::*;
use crate::clock::new_id;
use crate::logins::tests::a_lost_answer_is_given_again;
use crate::test_app::{NOW_MS, caller};

const TODAY: &str = "2026-11-23";
const HOUR_MS: i64 = 3_600_000;

/// Runs one test on every database there is.
macro_rules! contract {
    ($($name:ident)*) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                let folder = tempfile::tempdir().unwrap();
                let store = super::Store::open_file(&folder.path().join("test.db")).await.unwrap();
                store.migrate().await.unwrap();
                super::$name(store).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                let Ok(url) = std::env::var("COSYGATE_TEST_POSTGRES_URL") else { return };
                let schema = format!("test_{}", crate::clock::new_id(super::NOW_MS).to_lowercase());
                super::run_sql(&url, format!("CREATE SCHEMA {schema}")).await;
                let separator = if url.contains('?') { '&' } else { '?' };
                let store = super::Store::open(&format!("{url}{separator}options[search_path]={schema}")).await.unwrap();
                store.migrate().await.unwrap();
                super::$name(store.clone()).await;
                store.close().await;
                super::run_sql(&url, format!("DROP SCHEMA {schema} CASCADE")).await;
            })*
        }
    };
}

pub(crate) use contract;

contract! {
    accounts_have_unique_names
    names_that_look_alike_are_one
    the_last_admin_stays
    a_password_is_set_by_one_proof
    invitations_are_used_up
    several_origins_count_guesses_together
    outputs_belong_to_their_owner
    history_comes_in_pages
    every_quota_holds
    concurrent_wishes_do_not_overbook
    what_comes_at_once_counts_for_each
    a_generation_is_booked_once_and_whole
    a_failed_generation_costs_nothing
    what_was_heard_is_charged
    a_cancelled_generation_costs_nothing
    the_day_of_the_request_is_charged
    the_queue_is_fair
    weights_share_the_engine
    no_user_runs_more_than_allowed
    a_job_begins_at_once_where_nobody_waits
    what_is_booked_together_is_judged_alone
    a_backlog_that_may_not_run_hides_nobody
    a_dead_workers_job_is_taken_up
    unfinished_jobs_are_handed_back
    a_key_names_one_job
    the_books_tell_what_is_wrong
    a_day_begins_where_the_user_is
    old_outputs_retire_by_role
    voices_belong_to_their_owner
    voices_are_bounded
    policies_count_up
    a_trial_is_not_in_force
    the_later_withdrawal_counts
    single_tokens_are_marked_and_not_told_by_name
    edges_report
    one_successor_takes_the_place_of_a_secret
    withdrawals_end_logins
    a_lost_answer_is_given_again
    tokens_state_what_the_account_is
    a_second_factor_is_used_step_by_step
    passkeys_are_added_used_and_removed
    a_challenge_is_answered_once
    links_open_one_output_and_are_counted
    identities_are_somebodys_one_at_a_time
    one_way_to_log_in_stays
    what_is_used_up_stays_so_until_its_end
    users_of_other_issuers_have_one_account_each
}

pub(crate) async fn run_sql(url: &str, sql: String) {
    let pool = PgPool::connect(url).await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&pool).await.unwrap();
    pool.close().await;
}

fn entry() -> AuditEntry {
    AuditEntry::of_system(NOW_MS, "test")
}

async fn audit_rows(store: &Store, action: &str) -> i64 {
    const SQL: &str = "SELECT COUNT(*) FROM audit WHERE action = $1";
    on_db!(&store.reader, pool => sqlx::query_scalar(SQL).bind(action).fetch_one(pool).await.unwrap())
}

fn user(name: &str) -> User {
    User {
        id: new_id(NOW_MS),
        username: name.to_owned(),
        password_hash: "hash".to_owned(),
        role: "free".to_owned(),
        created_at: NOW_MS,
        disabled_at: None,
    }
}

fn output(id: &str, characters: i64) -> Output {
    Output {
        id: id.to_owned(),
        text: "你好".to_owned(),
        voice: "robot".to_owned(),
        engine: "fake".to_owned(),
        characters,
        frames: 24_000,
        sample_rate: 24_000,
        bytes: 48_044,
        sha256: "00".to_owned(),
        project_id: Some("p".to_owned()),
        created_at: NOW_MS,
    }
}

async fn accounts_have_unique_names(store: Store) {
    let ada = user("ada");
    store.accounts().add(&ada, &entry()).await.unwrap();
    let again = store.accounts().add(&user("ada"), &entry()).await;
    assert!(matches!(again, Err(StoreError::Conflict)), "{again:?}");
    assert_eq!(audit_rows(&store, "test").await, 1);
    assert_eq!(store.accounts().by_username("ada").await.unwrap(), Some(ada.clone()));
    assert_eq!(store.accounts().by_id(&ada.id).await.unwrap(), Some(ada.clone()));
    assert_eq!(store.accounts().by_username("Ada").await.unwrap(), None);
    assert_eq!(store.accounts().count_of_role("free").await.unwrap(), 1);
}

async fn outputs_belong_to_their_owner(store: Store) {
    let (ada, bob) = (caller("ada", "free"), caller("bob", "free"));
    let id = new_id(NOW_MS);
    make(&store, &ada, &id, 5).await;
    assert_eq!(store.of(&ada).stored_bytes().await.unwrap(), 48_044);
    assert_eq!(store.of(&ada).output(&id).await.unwrap(), Some(output(&id, 5)));
    assert_eq!(store.of(&bob).output(&id).await.unwrap(), None);
    assert_eq!(store.of(&bob).outputs(None, 10).await.unwrap(), []);
    assert_eq!(used(&store, &bob, TODAY).await, Usage::default());
    assert!(!store.of(&bob).delete_output(&id, &entry()).await.unwrap());
    assert!(store.of(&ada).delete_output(&id, &entry()).await.unwrap());
    assert!(!store.of(&ada).delete_output(&id, &entry()).await.unwrap());
    let usage = used(&store, &ada, TODAY).await;
    assert_eq!(usage, Usage { characters: 5, generations: 1, audio_ms: 1000 });
    assert_eq!(store.of(&ada).stored_bytes().await.unwrap(), 0);
    // The audio is marked until its owner, or the housekeeper, has removed it.
    let marked = store.upkeep().discarded(NOW_MS).await.unwrap();
    assert_eq!(marked, [Discarded { id: id.clone(), user_id: "ada".to_owned() }]);
    store.of(&bob).forget_discarded(&id).await.unwrap();
    assert_eq!(store.upkeep().discarded(NOW_MS).await.unwrap().len(), 1);
    store.of(&ada).forget_discarded(&id).await.unwrap();
    assert_eq!(store.upkeep().discarded(NOW_MS).await.unwrap(), []);
}

async fn history_comes_in_pages(store: Store) {
    let ada = caller("ada", "free");
    let mut ids: Vec<String> = (0..5).map(|n| new_id(NOW_MS + n)).collect();
    for id in &ids {
        make(&store, &ada, id, 1).await;
    }
    ids.reverse();
    let page = async |before: Option<&str>| {
        let outputs = store.of(&ada).outputs(before, 2).await.unwrap();
        outputs.into_iter().map(|output| output.id).collect::<Vec<_>>()
    };
    assert_eq!(page(None).await, ids[..2]);
    assert_eq!(page(Some(&ids[1])).await, ids[2..4]);
    assert_eq!(page(Some(&ids[3])).await, ids[4..]);
    assert!(page(Some(&ids[4])).await.is_empty());
}

async fn old_outputs_retire_by_role(store: Store) {
    let promoted = User { role: "premium".to_owned(), ..user("promoted") };
    store.accounts().add(&promoted, &entry()).await.unwrap();
    let owners = [caller(&promoted.id, "free"), caller("partner:1", "free"), caller("partner:2", "premium")];
    for (owner, id) in owners.iter().zip(["a", "b", "c"]) {
        make(&store, owner, id, 1).await;
    }
    let upkeep = store.upkeep();
    assert_eq!(upkeep.retire_outputs("free", NOW_MS, NOW_MS).await.unwrap(), 0);
    assert_eq!(upkeep.retire_outputs("free", NOW_MS + 1, NOW_MS).await.unwrap(), 1);
    assert_eq!(store.of(&owners[1]).outputs(None, 10).await.unwrap(), []);
    assert_eq!(upkeep.retire_outputs("premium", NOW_MS + 1, NOW_MS).await.unwrap(), 2);
    assert_eq!(upkeep.discarded(NOW_MS).await.unwrap().len(), 3);
    assert_eq!(audit_rows(&store, "retire").await, 3);
}

fn own_voice(id: &str, name: &str) -> OwnVoice {
    OwnVoice {
        id: id.to_owned(),
        name: name.to_owned(),
        transcript: "Good morning.".to_owned(),
        language: Some("en".to_owned()),
        consent: "It is mine.".to_owned(),
        consented_at: NOW_MS,
        frames: 48_000,
        sample_rate: 24_000,
        bytes: 96_044,
        sha256: "00".to_owned(),
        created_at: NOW_MS,
    }
}

async fn voices_belong_to_their_owner(store: Store) {
    let (ada, bob) = (caller("ada", "free"), caller("bob", "free"));
    let (hers, his) = (store.of(&ada), store.of(&bob));
    hers.expect_recording("a", NOW_MS).await.unwrap();
    assert_eq!(store.upkeep().discarded(NOW_MS).await.unwrap().len(), 1);
    // Without a recording there is no voice, and nobody takes another one's.
    let stolen = his.add_voice(&own_voice("a", "anna"), 9, &entry()).await;
    assert!(matches!(stolen, Err(StoreError::RecordingGone)), "{stolen:?}");
    assert_eq!(hers.add_voice(&own_voice("a", "anna"), 9, &entry()).await.unwrap(), VoiceChange::Done);
    assert_eq!(store.upkeep().discarded(NOW_MS).await.unwrap(), []);
    assert_eq!(hers.voice("a").await.unwrap(), Some(own_voice("a", "anna")));
    assert_eq!(hers.voice_named("anna").await.unwrap(), Some(own_voice("a", "anna")));
    assert_eq!(hers.voices().await.unwrap(), [own_voice("a", "anna")]);

    assert_eq!((his.voice("a").await.unwrap(), his.voice_named("anna").await.unwrap()), (None, None));
    assert_eq!(his.voices().await.unwrap(), []);
    assert_eq!(his.change_voice("a", Some("x"), None, &entry()).await.unwrap(), VoiceChange::Unknown);
    assert!(!his.delete_voice("a", &entry()).await.unwrap());
    // Names are one's own.
    his.expect_recording("b", NOW_MS).await.unwrap();
    assert_eq!(his.add_voice(&own_voice("b", "anna"), 9, &entry()).await.unwrap(), VoiceChange::Done);

    assert_eq!(hers.change_voice("a", Some("eve"), None, &entry()).await.unwrap(), VoiceChange::Done);
    assert_eq!(hers.change_voice("a", None, Some("Hello."), &entry()).await.unwrap(), VoiceChange::Done);
    let changed = OwnVoice { transcript: "Hello.".to_owned(), ..own_voice("a", "eve") };
    assert_eq!(hers.voice("a").await.unwrap(), Some(changed));
    assert!(hers.delete_voice("a", &entry()).await.unwrap());
    assert!(!hers.delete_voice("a", &entry()).await.unwrap());
    let discarded = Discarded { id: "a".to_owned(), user_id: "ada".to_owned() };
    assert_eq!(store.upkeep().discarded(NOW_MS).await.unwrap(), [discarded]);
    assert_eq!(audit_rows(&store, "test").await, 5);
}

async fn voices_are_bounded(store: Store) {
    let ada = caller("ada", "free");
    let add = async |id: String, name: String| {
        let owned = store.of(&ada);
        owned.expect_recording(&id, NOW_MS).await.unwrap();
        owned.add_voice(&own_voice(&id, &name), 3, &entry()).await
    };
    // All at the same time: as many as allowed come to be, however they meet.
    let adding = (0..8).map(|n| add(n.to_string(), format!("voice {n}")));
    let outcomes = futures::future::join_all(adding).await;
    let done = outcomes.iter().filter(|outcome| matches!(outcome, Ok(VoiceChange::Done))).count();
    assert_eq!((done, store.of(&ada).voices().await.unwrap().len()), (3, 3));
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome, Ok(VoiceChange::Done | VoiceChange::TooMany) | Err(StoreError::Conflict)))
    );
    // What came to nothing stays marked.
    assert_eq!(store.upkeep().discarded(NOW_MS).await.unwrap().len(), 5);
    let first = store.of(&ada).voices().await.unwrap().remove(0);
    assert_eq!(add("x".to_owned(), first.name.clone()).await.unwrap(), VoiceChange::NameTaken);
    let second = store.of(&ada).voices().await.unwrap().remove(1);
    let taken = store.of(&ada).change_voice(&second.id, Some(&first.name), None, &entry()).await.unwrap();
    assert_eq!(taken, VoiceChange::NameTaken);
    assert!(store.of(&ada).delete_voice(&first.id, &entry()).await.unwrap());
    assert_eq!(add("y".to_owned(), "again".to_owned()).await.unwrap(), VoiceChange::Done);
    assert_eq!(add("z".to_owned(), "one more".to_owned()).await.unwrap(), VoiceChange::TooMany);
}

async fn policies_count_up(store: Store) {
    let policies = store.policies();
    let publish = async |document, sha256, wanted_rev, after, at| {
        let new = NewPolicy { document, sha256, wanted_rev, after, author: "cli:test", reason: "because" };
        policies.publish(new, &AuditEntry { at, ..AuditEntry::of_system(at, "policy_change") }).await
    };
    assert_eq!(policies.latest().await.unwrap(), None);
    assert_eq!(publish("{1}", "hash1", 1, None, NOW_MS).await.unwrap().rev, 1);
    assert_eq!(publish("{2}", "hash2", 1, Some(1), NOW_MS).await.unwrap().rev, 2);
    assert_eq!(publish("{2}", "hash2", 9, None, NOW_MS + 1).await.unwrap().published_at, NOW_MS);
    assert_eq!(publish("{9}", "hash9", 9, None, NOW_MS).await.unwrap().rev, 9);
    // Whoever looked at an older one has to look again.
    assert!(matches!(publish("{8}", "hash8", 1, Some(2), NOW_MS).await, Err(PublishError::Overtaken { newest: 9 })));
    // Going back to an old document is a new revision.
    assert_eq!(publish("{1}", "hash1", 1, None, NOW_MS).await.unwrap().rev, 10);
    assert_eq!(policies.latest().await.unwrap().unwrap().document, "{1}");
    assert_eq!(policies.by_rev(2).await.unwrap().unwrap().document, "{2}");
    let history: Vec<i64> = policies.history(3).await.unwrap().iter().map(|record| record.rev).collect();
    assert_eq!(history, [10, 9, 2]);
    assert!(policies.knows("hash9").await.unwrap() && !policies.knows("hash8").await.unwrap());
    assert_eq!(audit_rows(&store, "policy_change").await, 4);
    store.ping().await.unwrap();
}

async fn a_trial_is_not_in_force(store: Store) {
    let policies = store.policies();
    let new =
        |document, sha256| NewPolicy { document, sha256, wanted_rev: 1, after: None, author: "cli:test", reason: "" };
    policies.publish(new("{1}", "hash1"), &entry()).await.unwrap();
    assert_eq!((policies.on_trial().await.unwrap(), policies.end_trial(&entry()).await.unwrap()), (None, false));
    let tried = policies.begin_trial(new("{2}", "hash2"), "{}", &entry()).await.unwrap();
    assert_eq!((tried.rev, policies.latest().await.unwrap().unwrap().rev), (2, 1));
    assert_eq!(policies.on_trial().await.unwrap(), Some(tried));
    assert!(!policies.knows("hash2").await.unwrap());
    // Whatever is published ends it, and no revision has two meanings.
    assert_eq!(policies.publish(new("{2}", "hash2"), &entry()).await.unwrap().rev, 3);
    assert_eq!(policies.on_trial().await.unwrap(), None);
    policies.begin_trial(new("{4}", "hash4"), "{}", &entry()).await.unwrap();
    let before = store.control().progress().await.unwrap().serial;
    assert!(policies.end_trial(&entry()).await.unwrap());
    assert_eq!(store.control().progress().await.unwrap().serial, before + 1);
    assert_eq!(policies.latest().await.unwrap().unwrap().rev, 3);
}

fn withdrawn(subject: &str, not_before: i64) -> RevocationRecord {
    RevocationRecord {
        kind: "user".to_owned(),
        subject: subject.to_owned(),
        not_before,
        expires_at: NOW_MS + HOUR_MS,
        at: NOW_MS,
        author: "cli:test".to_owned(),
        reason: "lost".to_owned(),
    }
}

async fn the_later_withdrawal_counts(store: Store) {
    let control = store.control();
    let before = control.progress().await.unwrap();
    for moment in [7, 9, 8] {
        control.revoke(&withdrawn("ada", moment), &entry()).await.unwrap();
    }
    control.revoke(&RevocationRecord { at: NOW_MS + 1, ..withdrawn("bob", 1) }, &entry()).await.unwrap();
    let after = control.progress().await.unwrap();
    assert_eq!((after.serial, after.changed_at), (before.serial + 4, NOW_MS + 1));
    let told = control.revocations(NOW_MS, 10).await.unwrap();
    assert_eq!(
        told.iter().map(|record| (record.subject.as_str(), record.not_before)).collect::<Vec<_>>(),
        [("bob", 1), ("ada", 9)]
    );
    assert_eq!(control.revocations(NOW_MS + HOUR_MS, 10).await.unwrap(), []);
    assert_eq!(control.forget_revocations(NOW_MS + HOUR_MS).await.unwrap(), 2);
    assert_eq!(control.forget_revocations(NOW_MS + HOUR_MS).await.unwrap(), 0);
}

async fn single_tokens_are_marked_and_not_told_by_name(store: Store) {
    let (control, issued) = (store.control(), store.issued());
    let token = |jti, sid| IssuedToken { jti, sid, issued_at: 1, expires_at: NOW_MS + HOUR_MS };
    let mut places = Vec::new();
    for (jti, sid) in [("t1", "s1"), ("t2", "s1"), ("t3", "s2"), ("t4", "s3")] {
        places.push(issued.add(token(jti, sid)).await.unwrap());
    }
    assert!(places.is_sorted_by(|earlier, later| earlier < later), "{places:?}");
    let subject = |kind: &str, subject: &str| RevocationRecord { kind: kind.to_owned(), ..withdrawn(subject, 7) };
    for record in [subject("session", "s1"), subject("token", "t3"), subject("token", "unknown"), subject("user", "t4")]
    {
        control.revoke(&record, &entry()).await.unwrap();
    }
    let serial = control.progress().await.unwrap().serial;
    let marked = issued.withdrawn_after((0, 0), NOW_MS, 10).await.unwrap();
    let marks: Vec<_> = marked.iter().map(|token| (token.place, token.withdrawn)).collect();
    assert_eq!(marks, [(places[0], serial - 3), (places[1], serial - 3), (places[2], serial - 2)]);
    // One page after another.
    assert_eq!(issued.withdrawn_after((0, 0), NOW_MS, 1).await.unwrap(), marked[..1]);
    assert_eq!(issued.withdrawn_after((serial - 3, places[0]), NOW_MS, 10).await.unwrap(), marked[1..]);
    assert_eq!(issued.withdrawn_after((serial - 2, places[2]), NOW_MS, 10).await.unwrap(), []);
    let names = async || {
        let told = control.unlisted_revocations(NOW_MS, 10).await.unwrap();
        told.into_iter().map(|record| record.subject).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(names().await, ["t4".to_owned(), "unknown".to_owned()].into());
    assert_eq!(control.revocations(NOW_MS, 10).await.unwrap().len(), 4, "an operator sees all of them");
    // Withdrawn once more: whatever the list does not say is told by name.
    control.revoke(&subject("token", "t3"), &entry()).await.unwrap();
    assert!(names().await.contains("t3"));

    assert_eq!(issued.forget(NOW_MS + HOUR_MS - 1).await.unwrap(), 0);
    assert_eq!(issued.withdrawn_after((0, 0), NOW_MS + HOUR_MS, 10).await.unwrap(), []);
    assert_eq!(issued.forget(NOW_MS + HOUR_MS).await.unwrap(), 4);
}

async fn edges_report(store: Store) {
    let control = store.control();
    let edge = |node: &str, serial, seen_at| EdgeRecord {
        region: "north".to_owned(),
        node: node.to_owned(),
        serial,
        rev: 1,
        error: String::new(),
        seen_at,
    };
    for edge in [edge("b", 1, NOW_MS), edge("a", 1, NOW_MS), edge("b", 2, NOW_MS + 5)] {
        control.report(&edge).await.unwrap();
    }
    assert_eq!(control.edges(NOW_MS, 10).await.unwrap(), [edge("a", 1, NOW_MS), edge("b", 2, NOW_MS + 5)]);
    assert_eq!(control.edges(NOW_MS + 1, 10).await.unwrap().len(), 1);
    assert_eq!(control.forget_edges(NOW_MS + 1).await.unwrap(), 1);
    assert_eq!(control.edges(0, 10).await.unwrap().len(), 1);
}
