//! `cosygate audit`, `backup`, `restore` and `user erase`, as an operator calls them.

#![cfg(test)]

use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn cosygate(folder: &TempDir, data: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cosygate"))
        .args(arguments)
        .current_dir(folder.path())
        .env_clear()
        .env("COSYGATE_DATA", data)
        .env("COSYGATE_PASSWORD", "a long password")
        .env("USER", "operator")
        .output()
        .unwrap()
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn an_operator_backs_up_erases_and_verifies() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["zoe", "tom"] {
        done(&cosygate(&folder, "data", &["user", "add", name]));
    }
    assert!(done(&cosygate(&folder, "data", &["audit", "verify"])).starts_with("sound: 2 rows, 0 checkpoints"));
    let told = done(&cosygate(&folder, "data", &["backup", "backup"]));
    assert!(told.contains("audit up to row 2") && told.contains("without the master key"), "{told}");
    // Never into what is there.
    assert_eq!(cosygate(&folder, "data", &["backup", "backup"]).status.code(), Some(1));
    assert_eq!(cosygate(&folder, "data", &["restore", "backup"]).status.code(), Some(1));
    done(&cosygate(&folder, "other", &["restore", "backup"]));
    assert_eq!(
        done(&cosygate(&folder, "other", &["user", "list"])),
        done(&cosygate(&folder, "data", &["user", "list"]))
    );

    assert_eq!(cosygate(&folder, "data", &["user", "erase", "zoe"]).status.code(), Some(2), "it asks for --yes");
    done(&cosygate(&folder, "data", &["user", "erase", "zoe", "--yes"]));
    assert_eq!(cosygate(&folder, "data", &["user", "erase", "zoe", "--yes"]).status.code(), Some(1));
    assert!(!done(&cosygate(&folder, "data", &["user", "list"])).contains("zoe"));
    let rows = done(&cosygate(&folder, "data", &["audit", "export", "--action", "erase"]));
    let row: Value = serde_json::from_str(rows.trim()).unwrap();
    assert_eq!((&row["seq"], &row["via"]), (&3.into(), &"cli:operator".into()));
    assert!(row["object"].as_str().unwrap().starts_with("user:"));
    assert_eq!(cosygate(&folder, "data", &["audit", "export", "--since", "yesterday"]).status.code(), Some(2));

    let report: Value =
        serde_json::from_str(&done(&cosygate(&folder, "data", &["audit", "verify", "--json"]))).unwrap();
    assert_eq!((&report["count"], &report["rows"]), (&0.into(), &3.into()));
    // A file of checkpoints that is not there is not "nothing signed".
    assert_eq!(cosygate(&folder, "data", &["audit", "verify", "--checkpoints", "none"]).status.code(), Some(1));
    let pool = sqlx::SqlitePool::connect(folder.path().join("data/cosygate.db").to_str().unwrap()).await.unwrap();
    sqlx::query("UPDATE audit SET result = 'failed' WHERE seq = 2").execute(&pool).await.unwrap();
    pool.close().await;
    let output = cosygate(&folder, "data", &["audit", "verify"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("row 2: the row was changed"), "{output:?}");
}
