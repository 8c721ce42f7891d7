//! The chain on both databases: what is written, and that nothing can be changed unseen.

use std::collections::BTreeSet;

use super::*;
use crate::audit::{self, verify};
use crate::keys::{self, Master};
use crate::store::on_db;
use crate::store::tests::{contract, run_sql};
use crate::test_app::NOW_MS;

contract! {
    rows_hang_together
    concurrent_writers_share_one_chain
    rows_of_the_time_before_are_chained
    what_is_personal_is_forgotten_in_time
    a_thousand_changes_are_found
}

fn master() -> Master {
    Master::parse(&Master::generate()).unwrap()
}

fn entry(user_id: &str, n: i64) -> AuditEntry {
    let mut entry = AuditEntry::of_system(NOW_MS + n, "generate").by(user_id).on(format!("object {n}"));
    entry.personal.address = Some("192.0.2.7".to_owned());
    entry.about_text("你好")
}

async fn sql(store: &Store, sql: &str) {
    on_db!(&store.writer, pool => {
        sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).execute(pool).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    });
}

async fn rows_hang_together(store: Store) {
    assert_eq!(store.trail().head().await.unwrap(), Head { seq: 0, hash: FIRST_HASH.to_owned() });
    store.audit(&entry("anna", 1)).await.unwrap();
    store.audit(&AuditEntry::of_system(NOW_MS, "user_role").on_user("anna").via("cli:root")).await.unwrap();
    store.audit(&AuditEntry::of_system(NOW_MS, "login").by("bob")).await.unwrap();
    let rows = store.trail().rows(0, 9, 9).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [1, 2, 3]);
    // Whoever holds the row can follow docs/AUDIT.md with the tools at hand.
    let first = &rows[0];
    let canonical = format!(
        "{{\"action\":\"generate\",\"at\":{},\"duration_ms\":0,\"object\":\"object 1\",\"personal_hash\":\"{}\",\
         \"policy_rev\":0,\"prev\":\"{FIRST_HASH}\",\"request_id\":\"-\",\"result\":\"ok\",\"seq\":1,\
         \"subject\":\"{}\",\"via\":\"origin\"}}",
        NOW_MS + 1,
        first.personal_hash.as_deref().unwrap(),
        first.subject.as_deref().unwrap()
    );
    assert_eq!(first.hash, crate::hash::sha256_hex(&[canonical.as_bytes()]));
    assert_eq!(rows[1].hash, rows[1].expected_hash(&first.hash));
    assert_eq!(rows[1].object, first.subject.as_deref().map(user_object));
    assert_eq!((rows[1].via.as_str(), &rows[1].subject), ("cli:root", &None));
    assert_eq!(store.trail().head().await.unwrap(), Head { seq: 3, hash: rows[2].hash.clone() });
    // The text itself is nowhere.
    let text = format!("{rows:?}");
    assert!(!text.contains("你好") && text.contains("192.0.2.7") && text.contains("\\\"characters\\\":2"), "{text}");
    assert!(!text.contains("anna") && !text.contains("bob"));

    let of = |user_id: &str| AuditFilter { user_id: Some(user_id.to_owned()), ..AuditFilter::default() };
    let seqs = |rows: Vec<TrailRow>| rows.iter().map(|row| row.row.seq).collect::<Vec<_>>();
    let trail = store.trail();
    assert_eq!(seqs(trail.page(&AuditFilter::default(), i64::MAX, 2).await.unwrap()), [3, 2]);
    assert_eq!(seqs(trail.page(&AuditFilter::default(), 2, 2).await.unwrap()), [1]);
    assert_eq!(seqs(trail.after(&AuditFilter::default(), 1, 9).await.unwrap()), [2, 3]);
    assert_eq!(seqs(trail.page(&of("anna"), i64::MAX, 9).await.unwrap()), [1]);
    assert_eq!(seqs(trail.page(&of("nobody"), i64::MAX, 9).await.unwrap()), [0; 0]);
    let login = AuditFilter { action: Some("login".to_owned()), ..AuditFilter::default() };
    let logins = trail.after(&login, 0, 9).await.unwrap();
    assert_eq!(logins[0].user_id.as_deref(), Some("bob"));
    assert_eq!(seqs(logins), [3]);
    let late = AuditFilter { since_ms: NOW_MS + 1, ..AuditFilter::default() };
    assert_eq!(seqs(trail.after(&late, 0, 9).await.unwrap()), [1]);
    let by_request = AuditFilter { request_id: Some("none".to_owned()), ..AuditFilter::default() };
    assert_eq!(seqs(trail.after(&by_request, 0, 9).await.unwrap()), [0; 0]);
}

async fn concurrent_writers_share_one_chain(store: Store) {
    let writers = (0..20).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..10 {
                // A few users that all meet for the first time at once.
                store.audit(&entry(&format!("user {}", (writer + n) % 5), writer * 10 + n)).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let report = verify(&store, &[], NOW_MS).await.unwrap();
    assert_eq!((report.rows, report.findings), (200, vec![]));
    let rows = store.trail().rows(0, 200, 200).await.unwrap();
    assert_eq!(rows.iter().filter_map(|row| row.object.clone()).collect::<BTreeSet<_>>().len(), 200);
    assert_eq!(rows.iter().filter_map(|row| row.subject.clone()).collect::<BTreeSet<_>>().len(), 5);
}

async fn rows_of_the_time_before_are_chained(store: Store) {
    for (id, user, action, object) in [
        ("2", "'anna'", "generate", "'01J'"),
        ("1", "NULL", "user_add", "'anna'"),
        ("3", "'bob'", "revoke", "'user anna'"),
        ("4", "'bob'", "revoke", "'token 7'"),
    ] {
        let row = format!("('{id}', {id}, 'request', {user}, '{action}', {object}, 'ok', 5, 1)");
        let columns = "id, at, request_id, user_id, action, object, result, duration_ms, policy_rev";
        sql(&store, &format!("INSERT INTO audit_unchained ({columns}) VALUES {row}")).await;
    }
    store.migrate().await.unwrap();
    store.migrate().await.unwrap();
    let rows = store.trail().after(&AuditFilter::default(), 0, 9).await.unwrap();
    let told: Vec<_> = rows.iter().map(|row| (row.row.at, row.user_id.as_deref())).collect();
    assert_eq!(told, [(1, None), (2, Some("anna")), (3, Some("bob")), (4, Some("bob"))]);
    let anna = rows[1].row.subject.as_deref().map(user_object);
    assert_eq!((&rows[0].row.object, &rows[2].row.object), (&anna, &anna));
    assert_eq!(rows[3].row.object.as_deref(), Some("token 7"));
    assert!(verify(&store, &[], NOW_MS).await.unwrap().is_sound());
}

async fn what_is_personal_is_forgotten_in_time(store: Store) {
    const DAY_MS: i64 = 86_400_000;
    store.audit(&entry("anna", 1)).await.unwrap();
    store.audit(&AuditEntry { user_id: None, ..entry("", 2) }).await.unwrap();
    let later = NOW_MS + audit::PERSONAL_DAYS * DAY_MS + 2;
    assert_eq!(store.trail().forget_personal(later - audit::PERSONAL_DAYS * DAY_MS, 9).await.unwrap(), 1);
    let rows = store.trail().rows(0, 9, 9).await.unwrap();
    assert_eq!((&rows[0].personal, &rows[0].salt), (&None, &None));
    assert!(rows[1].personal.is_some());
    assert!(verify(&store, &[], later).await.unwrap().is_sound());
    // Before its time, it is a change like any other.
    sql(&store, "UPDATE audit SET personal = NULL, salt = NULL WHERE seq = 2").await;
    let report = verify(&store, &[], later).await.unwrap();
    assert_eq!(report.findings.iter().map(|finding| finding.seq).collect::<Vec<_>>(), [Some(2)]);
}

/// How many rows the chain has that is tampered with.
const ROWS: i64 = 40;
/// The tables that are tampered with.
const TABLES: [&str; 4] = ["audit", "audit_head", "audit_subjects", "audit_checkpoints"];

/// What somebody who can write to the database may try, the `n`th time; the row that must be named.
fn tamper(n: i64, rows: &[AuditRow]) -> (Vec<String>, Option<i64>) {
    let (kind, seq) = (n % 25, n * 7 % ROWS + 1);
    let other = (seq + n / 25 % (ROWS - 1)) % ROWS + 1;
    let set = |what: &str| (vec![format!("UPDATE audit SET {what} WHERE seq = {seq}")], Some(seq));
    let personal = |what: &str| {
        // Only rows of users have something personal, and those are the odd ones after the first three.
        let seq = ((seq - 1) / 2 * 2 + 1).max(5);
        (vec![format!("UPDATE audit SET {what} WHERE seq = {seq}")], Some(seq))
    };
    let subject = "(SELECT subject FROM audit WHERE seq = 5)";
    match kind {
        0 => set("at = at + 1"),
        1 => set("request_id = 'x'"),
        2 => set("subject = NULL, object = 'x'"),
        3 => set("subject = 'x'"),
        4 => set("via = 'edge:other'"),
        5 => set("action = 'delete'"),
        6 => set("object = 'x'"),
        7 => set("object = NULL"),
        8 => set("result = 'failed'"),
        9 => set("duration_ms = duration_ms + 1"),
        10 => set("policy_rev = 7"),
        11 => personal("personal = '{\"address\":\"192.0.2.8\"}'"),
        12 => personal("salt = 'x'"),
        13 => personal("personal = NULL, salt = NULL"),
        14 => personal("personal_hash = NULL, personal = NULL, salt = NULL"),
        15 => set("hash = 'x'"),
        // Deleted, as it is and with everything after it counted down.
        16 => (vec![format!("DELETE FROM audit WHERE seq = {seq}")], Some(seq)),
        17 => (
            vec![
                format!("DELETE FROM audit WHERE seq = {seq}"),
                format!("UPDATE audit SET seq = -seq + 1 WHERE seq > {seq}"),
                "UPDATE audit SET seq = -seq WHERE seq < 0".to_owned(),
                "UPDATE audit_head SET seq = seq - 1".to_owned(),
            ],
            None,
        ),
        // The tail, with the head set to what is left, and with the checkpoints.
        18 | 19 => {
            let left = seq - 1;
            let hash = hash_at(rows, left);
            let mut steps = vec![
                format!("DELETE FROM audit WHERE seq > {left}"),
                format!("UPDATE audit_head SET seq = {left}, hash = '{hash}'"),
            ];
            if kind == 19 {
                steps.push(format!("DELETE FROM audit_checkpoints WHERE seq > {left}"));
            }
            (steps, Some(seq))
        }
        // Two rows change places.
        20 => (
            vec![
                format!("UPDATE audit SET seq = -1 WHERE seq = {seq}"),
                format!("UPDATE audit SET seq = {seq} WHERE seq = {other}"),
                format!("UPDATE audit SET seq = {other} WHERE seq = -1"),
            ],
            Some(seq),
        ),
        // Put in: a copy at the end, with the head on it, as it is and chained.
        21 | 22 => {
            let mut copy = rows[seq as usize - 1].clone();
            copy.seq = ROWS + 1;
            if kind == 22 {
                copy.seq = seq;
                copy.result = "put in".to_owned();
                copy.hash = copy.expected_hash(hash_at(rows, seq - 1));
                // Written over, and everything after it chained anew.
                return (rewrite(rows, copy), None);
            }
            let columns = "at, request_id, subject, via, action, object, result, duration_ms, policy_rev, personal, \
                           salt, personal_hash, hash";
            (
                vec![
                    format!(
                        "INSERT INTO audit (seq, {columns}) SELECT {}, {columns} FROM audit WHERE seq = {seq}",
                        copy.seq
                    ),
                    format!("UPDATE audit_head SET seq = {}", copy.seq),
                ],
                Some(copy.seq),
            )
        }
        // Somebody else is made the one who did it, or nobody.
        23 => (vec![format!("UPDATE audit_subjects SET user_id = 'mallory {n}' WHERE subject = {subject}")], None),
        _ => (vec![format!("DELETE FROM audit_subjects WHERE subject = {subject}")], Some(5)),
    }
}

fn hash_at(rows: &[AuditRow], seq: i64) -> &str {
    rows.iter().find(|row| row.seq == seq).map_or(FIRST_HASH, |row| &row.hash)
}

/// Puts a changed row in, and chains everything after it anew.
fn rewrite(rows: &[AuditRow], changed: AuditRow) -> Vec<String> {
    let mut hash = changed.hash.clone();
    let mut steps =
        vec![format!("UPDATE audit SET result = '{}', hash = '{hash}' WHERE seq = {}", changed.result, changed.seq)];
    for row in rows.iter().filter(|row| row.seq > changed.seq) {
        hash = row.expected_hash(&hash);
        steps.push(format!("UPDATE audit SET hash = '{hash}' WHERE seq = {}", row.seq));
    }
    steps.push(format!("UPDATE audit_head SET hash = '{hash}'"));
    steps
}

async fn a_thousand_changes_are_found(store: Store) {
    let (folder, master) = (tempfile::tempdir().unwrap(), master());
    let file = folder.path().join("checkpoints.jsonl");
    keys::make_first(&store, &master, NOW_MS).await.unwrap();
    while store.trail().head().await.unwrap().seq < ROWS {
        let seq = store.trail().head().await.unwrap().seq;
        let entry = if seq % 2 == 0 {
            entry(&format!("user {}", seq % 3), seq)
        } else {
            AuditEntry::of_system(NOW_MS + seq, "retire").on("old")
        };
        store.audit(&entry).await.unwrap();
        if (seq + 1) % 5 == 0 {
            audit::checkpoint(&store, &master, &file, NOW_MS).await.unwrap();
        }
    }
    let kept = audit::read_file(&file).unwrap();
    assert_eq!(kept.last().unwrap().seq, ROWS);
    assert_eq!(verify(&store, &kept, NOW_MS).await.unwrap().findings, []);
    let rows = store.trail().rows(0, ROWS, ROWS).await.unwrap();
    for table in TABLES {
        sql(&store, &format!("CREATE TABLE copy_of_{table} AS SELECT * FROM {table}")).await;
    }
    for n in 0..1000 {
        let (steps, named) = tamper(n, &rows);
        for step in &steps {
            sql(&store, step).await;
        }
        let report = verify(&store, &kept, NOW_MS).await.unwrap();
        assert!(!report.is_sound(), "{n}: {steps:?}");
        if named.is_some() {
            assert!(report.findings.iter().any(|finding| finding.seq == named), "{n}: {steps:?}: {report:?}");
        }
        for table in TABLES {
            sql(&store, &format!("DELETE FROM {table}")).await;
            sql(&store, &format!("INSERT INTO {table} SELECT * FROM copy_of_{table}")).await;
        }
    }
    assert!(verify(&store, &kept, NOW_MS).await.unwrap().is_sound());
    // What a key of another's signed is nothing, and what the file says counts without the database.
    let forged = keys::Ring::sample()
        .active
        .sign("cosygate-audit+jwt", &serde_json::json!({"hash": rows[0].hash, "iat": NOW_MS / 1000, "seq": 1}));
    let forged = Checkpoint { seq: 1, at: NOW_MS, jws: forged };
    assert!(!verify(&store, &[forged], NOW_MS).await.unwrap().is_sound());
    sql(&store, "DELETE FROM audit_checkpoints").await;
    assert!(!verify(&store, &kept, NOW_MS).await.unwrap().is_sound());
    assert!(verify(&store, &[], NOW_MS).await.unwrap().is_sound());
    // A tail that is cut off is noticed by the origin itself.
    sql(&store, "UPDATE audit_head SET seq = 5").await;
    let short = audit::checkpoint(&store, &master, &file, NOW_MS).await;
    assert!(matches!(short, Err(audit::AuditError::Short { seq: 5, signed: ROWS })), "{short:?}");
}
