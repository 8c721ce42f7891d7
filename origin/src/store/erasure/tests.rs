//! That nothing of a user is forgotten, and nothing of them is left.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::audit::verify;
use crate::invitations::Terms;
use crate::store::tests::jobs::GENEROUS;
use crate::store::tests::{contract, run_sql};
use crate::store::{
    Added, AuditFilter, Ceremony, Confirmed, Enqueued, Export, Identity, Linked, Login, NewJob, NewPasskey, NewPolicy,
    Output, OwnVoice, Passkey, PersonalToken, RevocationRecord, ShareLink, Shared, User, VoiceChange, Whose, on_db,
};
use crate::test_app::{NOW_MS, caller};

contract! {
    every_table_and_column_is_listed
    nothing_is_left_of_a_user
}

/// Names of columns that say whose a row is.
const OWNERS: [&str; 6] = ["user_id", "username", "owner", "owner_id", "account_id", "created_by"];

async fn every_table_and_column_is_listed(store: Store) {
    const SQLITE: &str = "SELECT tables.name, columns.name FROM sqlite_master AS tables \
                          JOIN pragma_table_info(tables.name) AS columns WHERE tables.type = 'table' \
                          AND tables.name NOT LIKE 'sqlite%'";
    const POSTGRES: &str = "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) \
                            FROM information_schema.columns WHERE table_schema = current_schema()";
    let sql = if store.is_exclusive() { SQLITE } else { POSTGRES };
    let found: Vec<(String, String)> =
        on_db!(&store.reader, pool => sqlx::query_as(sql).fetch_all(pool).await.unwrap());
    let mut schema: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (table, column) in found.iter().filter(|(table, _)| table != "_sqlx_migrations") {
        schema.entry(table).or_default().insert(column);
    }
    let listed: BTreeMap<&str, BTreeSet<&str>> =
        TABLES.iter().map(|table| (table.name, table.columns().collect())).collect();
    assert_eq!(schema, listed, "say in store/tables.rs what becomes of it");
    for table in TABLES {
        let names_somebody = table.columns().any(|column| OWNERS.contains(&column));
        assert!(!names_somebody || table.owner.is_some(), "{}: whose is a row?", table.name);
        assert!(table.owner.is_none() || table.erasure != Erasure::Nobodys, "{}: what erases it?", table.name);
        for author in table.columns().filter(|column| *column == "author") {
            assert!(table.authors.contains(&author), "{}: an author must be forgotten, too", table.name);
        }
    }
}

/// Every row of every table as text.
async fn everything(store: &Store) -> BTreeMap<&'static str, String> {
    let mut snapshot = store.snapshot().await.unwrap();
    let mut all = BTreeMap::new();
    for table in TABLES {
        let mut text = String::new();
        let take = async |row: String| {
            text += &row;
            Ok::<_, StoreError>(())
        };
        snapshot.each(table, None, take).await.unwrap();
        all.insert(table.name, text);
    }
    all
}

fn withdrawn(subject: &str, author: &str) -> RevocationRecord {
    RevocationRecord {
        kind: "user".to_owned(),
        subject: subject.to_owned(),
        not_before: NOW_MS / 1000,
        expires_at: NOW_MS + 1,
        at: NOW_MS,
        author: author.to_owned(),
        reason: String::new(),
    }
}

/// Something of hers in the tables of logins, tokens, resets, invitations and voices.
async fn fill(store: &Store, zoe: &crate::caller::Caller) {
    let (audit, words) = (AuditEntry::of_system(NOW_MS, "test").by("id-of-zoe"), || "words of zoe".to_owned());
    let login = Login {
        id: "login".to_owned(),
        user_id: "id-of-zoe".to_owned(),
        issuer: "cosygate".to_owned(),
        label: words(),
        address: words(),
        region: "local".to_owned(),
        created_at: NOW_MS - 1000,
        seen_at: NOW_MS,
        expires_at: NOW_MS + 1,
        family: words(),
        secret: words(),
        previous: None,
        nonce: None,
        rotated_at: NOW_MS,
        ended_at: None,
        ended_why: None,
        authenticated_at: None,
    };
    store.logins().begin(&login, 9, &audit).await.unwrap();
    let token = PersonalToken {
        id: "token".to_owned(),
        user_id: "id-of-zoe".to_owned(),
        issuer: "cosygate".to_owned(),
        name: words(),
        role: "free".to_owned(),
        scope: String::new(),
        created_at: NOW_MS - 1000,
        expires_at: NOW_MS + 1,
        used_at: None,
        ended_at: None,
        ended_why: None,
    };
    assert!(store.of(zoe).offer_second_factor("words of zoe", &audit).await.unwrap());
    let confirmed = store.of(zoe).confirm_second_factor("words of zoe", 1, &[words()], &audit).await.unwrap();
    assert_eq!(confirmed, Confirmed::Yes { codes: true });
    let passkey = Passkey {
        id: "passkey".to_owned(),
        name: words(),
        credential_id: words(),
        credential: words(),
        counter: 1,
        created_at: NOW_MS,
        used_at: None,
    };
    let added = store.of(zoe).add_passkey(&passkey, 9, &[], &audit).await.unwrap();
    assert_eq!(added, NewPasskey::Added { codes: false });
    let (id, state) = (words(), words());
    let waits = Ceremony { id: &id, user_id: "id-of-zoe", purpose: "login", state: &state, expires_at: NOW_MS + 1 };
    store.passkeys().begin(&waits, 9).await.unwrap();
    assert_eq!(store.of(zoe).add_token(&token, &audit).await.unwrap(), Added::Yes);
    let terms = Terms { role: None, uses: 1, days: 1, author: "id-of-zoe" };
    let document = crate::policy::current_document(store).await.unwrap();
    let (invitation, _) = crate::invitations::invite(terms, &document, NOW_MS).unwrap();
    store.invitations().add(&invitation, &audit).await.unwrap();
    let (reset, _) = crate::invitations::offer_reset("id-of-zoe", NOW_MS);
    store.invitations().offer_reset(&reset, &audit).await.unwrap();
    let voice = OwnVoice {
        id: "voice".to_owned(),
        name: words(),
        transcript: words(),
        language: None,
        consent: words(),
        consented_at: NOW_MS,
        frames: 1,
        sample_rate: 1,
        bytes: 1,
        sha256: "00".to_owned(),
        created_at: NOW_MS,
    };
    store.of(zoe).expect_recording("voice", NOW_MS).await.unwrap();
    assert_eq!(store.of(zoe).add_voice(&voice, 9, &audit).await.unwrap(), VoiceChange::Done);
}

async fn nothing_is_left_of_a_user(store: Store) {
    const MARKS: [&str; 3] = ["id-of-zoe", "name-of-zoe", "words of zoe"];
    let (zoe, other) = (caller("id-of-zoe", "free"), caller("id-of-tom", "free"));
    let audit = |action| AuditEntry::of_system(NOW_MS, action).by("id-of-zoe");
    let user = User {
        id: "id-of-zoe".to_owned(),
        username: "name-of-zoe".to_owned(),
        password_hash: "hash".to_owned(),
        role: "free".to_owned(),
        created_at: NOW_MS,
        disabled_at: None,
    };
    store.accounts().add(&user, &audit("register")).await.unwrap();
    let make = async |owner: &crate::caller::Caller, id: &str, is_completed: bool| {
        let wanted = NewJob {
            id: id.to_owned(),
            request: "words of zoe".to_owned(),
            fingerprint: "words of zoe".to_owned(),
            key: Some(format!("words of zoe: {id}")),
            characters: 1,
            pinned_to: None,
            worker: None,
            lease_until: NOW_MS,
        };
        let asked = owner.audit(&crate::clock::Clock::standing(NOW_MS), "generate", "queued");
        assert_eq!(store.of(owner).enqueue(&wanted, &GENEROUS, &asked).await.unwrap().0, Enqueued::Queued);
        let claimed = store.queue().claim("worker", |_| 9, NOW_MS, NOW_MS + 999).await.unwrap();
        let crate::store::Claim::Taken(claimed) = claimed else { panic!("{claimed:?}") };
        let output = Output {
            id: id.to_owned(),
            text: "words of zoe".to_owned(),
            voice: "robot".to_owned(),
            engine: "fake".to_owned(),
            characters: 1,
            frames: 1,
            sample_rate: 1,
            bytes: 1,
            sha256: "00".to_owned(),
            project_id: Some("words of zoe".to_owned()),
            created_at: NOW_MS,
        };
        if is_completed {
            let audit = owner.audit(&crate::clock::Clock::standing(NOW_MS), "generate", "ok").about_text(&output.text);
            assert!(store.of(owner).complete(&claimed, &output, "words of zoe", &audit).await.unwrap());
        }
    };
    make(&zoe, "kept", true).await;
    make(&zoe, "deleted", true).await;
    make(&zoe, "running", false).await;
    store.of(&zoe).delete_output("deleted", &audit("delete")).await.unwrap();
    assert!(store.of(&zoe).begin_export("export", NOW_MS + 1, &audit("export")).await.unwrap());
    assert!(!store.of(&zoe).begin_export("other", NOW_MS + 1, &audit("export")).await.unwrap());
    store.of(&zoe).set_time_zone("Asia/Shanghai").await.unwrap();
    fill(&store, &zoe).await;
    let link = ShareLink {
        id: "link".to_owned(),
        output_id: "kept".to_owned(),
        secret_hash: "words of zoe".to_owned(),
        password_hash: None,
        downloads: 0,
        downloads_limit: None,
        created_at: NOW_MS,
        expires_at: NOW_MS + 1,
    };
    assert_eq!(store.of(&zoe).share(&link, 9, &audit("share")).await.unwrap(), Shared::Yes);
    let identity = Identity {
        id: crate::clock::new_id(NOW_MS),
        user_id: "id-of-zoe".to_owned(),
        issuer: "https://id.example".to_owned(),
        subject: "subject of zoe".to_owned(),
        label: "name of zoe".to_owned(),
        created_at: NOW_MS,
    };
    assert_eq!(store.identities().link(&identity, &audit("identity_link")).await.unwrap(), Linked::Done);
    let new = NewPolicy { document: "{}", sha256: "0", wanted_rev: 1, after: None, author: "id-of-zoe", reason: "" };
    store.policies().publish(new, &audit("policy_change")).await.unwrap();
    store.control().revoke(&withdrawn("id-of-tom", "id-of-zoe"), &audit("revoke").on_user("id-of-tom")).await.unwrap();
    store
        .audit(&other.audit(&crate::clock::Clock::standing(NOW_MS), "user_role", "ok").on_user("id-of-zoe"))
        .await
        .unwrap();
    // Every table of owners has something of theirs.
    let mut snapshot = store.snapshot().await.unwrap();
    for table in TABLES.iter().filter(|table| matches!(table.erasure, Erasure::Removed | Erasure::Last)) {
        let is_filled = snapshot.count(table, "id-of-zoe").await.unwrap() > 0;
        assert!(is_filled || table.name == "audit_unchained", "put something into {} before erasing it", table.name);
    }
    drop(snapshot);

    let rows = store.trail().head().await.unwrap().seq;
    let erased = store.erasures().erase("id-of-zoe", &withdrawn("id-of-zoe", "erased"), &audit("erase")).await;
    assert_eq!(erased.unwrap(), Changed::Done);
    assert!(store.control().withdrawn_before(Whose::Pat, "token").await.unwrap().is_some());
    for (table, text) in everything(&store).await {
        let may_be = ["revocations", "erasures"].contains(&table);
        assert!(may_be || MARKS.iter().all(|mark| !text.contains(mark)), "{table}: {text}");
    }
    // A request that was under way leaves something behind, and runs into nothing.
    let late: Export = Export {
        id: "export".to_owned(),
        user_id: String::new(),
        state: "ready".to_owned(),
        done: 1,
        total: 1,
        bytes: 1,
        created_at: 0,
        expires_at: NOW_MS,
    };
    assert!(!store.of(&zoe).note_export(&late).await.unwrap());
    make(&zoe, "late", true).await;
    assert_eq!(store.erasures().pending(NOW_MS + SECOND_PASS_MS - 1).await.unwrap(), [""; 0]);
    assert_eq!(store.erasures().pending(NOW_MS + SECOND_PASS_MS).await.unwrap(), ["id-of-zoe"]);
    store.erasures().finish("id-of-zoe", NOW_MS + SECOND_PASS_MS).await.unwrap();
    store.erasures().finish("id-of-zoe", NOW_MS + SECOND_PASS_MS).await.unwrap();
    store.control().forget_revocations(NOW_MS + 1).await.unwrap();
    for (table, text) in everything(&store).await {
        assert!(MARKS.iter().all(|mark| !text.contains(mark)), "{table}: {text}");
    }
    assert!(!store.erasures().is_known("id-of-zoe").await.unwrap());

    // What was done is still told, of nobody, and the chain is whole.
    let report = verify(&store, &[], NOW_MS).await.unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.rows, rows + 3);
    let told = store.trail().after(&AuditFilter::default(), 0, 99).await.unwrap();
    assert!(told.iter().any(|row| row.row.action == "generate" && row.user_id.is_none() && row.row.personal.is_none()));
    // What others did is theirs.
    assert!(told.iter().any(|row| row.user_id.as_deref() == Some("id-of-tom") && row.row.personal.is_some()));
}
