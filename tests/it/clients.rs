//! The clients of docs/API.md, run word for word.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::json;
use tests::process::{artefact, workspace};
use tests::world::World;

/// The program in this language under the heading.
fn program(language: &str) -> String {
    let manual = std::fs::read_to_string(workspace().join("docs/API.md")).unwrap();
    let (_, chapter) = manual.split_once("\n## Three clients\n").unwrap();
    let (chapter, _) = chapter.split_once("\n## ").unwrap_or((chapter, ""));
    let (_, rest) = chapter.split_once(&format!("\n```{language}\n")).unwrap_or_else(|| panic!("no {language}"));
    rest.split_once("\n```\n").unwrap().0.to_owned() + "\n"
}

/// Runs one in a folder, to its end.
async fn run(language: &str, url: &str, folder: &Path) -> Output {
    let source = program(language);
    let (program, arguments) = match language {
        "bash" => (PathBuf::from("bash"), vec!["-c"]),
        "python" => (artefact("SERVICES_PYTHON", ".tools/services/bin/python"), vec!["-c"]),
        _ => (PathBuf::from("node"), vec!["--input-type=module", "--eval"]),
    };
    let mut command = Command::new(program);
    command.args(arguments).arg(source).current_dir(folder).env("COSYGATE_URL", url);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_three_speak_and_tell_a_refusal_from_speech() {
    let world = World::start().await;
    let clients =
        [("bash", "hello.wav", &b"RIFF"[..]), ("python", "hello.mp3", &[0xFF, 0xF3]), ("js", "hello.flac", b"fLaC")];
    let folder = tempfile::tempdir().unwrap();
    for (language, file, _) in clients {
        // There is no such user yet.
        let refused = run(language, &world.edge.url, folder.path()).await;
        assert!(!refused.status.success() && !folder.path().join(file).exists(), "{language}: {refused:?}");
    }
    world.post("/register", json!({"username": "ada", "password": "correct horse battery"})).await;
    for (language, file, magic) in clients {
        let output = run(language, &world.edge.url, folder.path()).await;
        assert!(output.status.success(), "{language}: {}", String::from_utf8_lossy(&output.stderr));
        let audio = std::fs::read(folder.path().join(file)).unwrap();
        assert!(audio.starts_with(magic) && audio.len() > 2000, "{language}: {} bytes", audio.len());
    }
}
