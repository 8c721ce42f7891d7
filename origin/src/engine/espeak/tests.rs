//! With the real espeak-ng, and with shell scripts in its place where it must misbehave.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use futures::StreamExt;

use crate::engine::{self, EngineError, EngineSettings, Utterance, wav};

const RATE: u32 = 24_000;

fn say(text: &str) -> Utterance {
    Utterance { text: text.into(), voice: "robot".into(), reference: None, instruct: None, speed: 1.0 }
}

async fn spoken(utterance: Utterance) -> Result<Vec<u8>, EngineError> {
    spoken_by(&EngineSettings::default(), utterance).await
}

async fn spoken_by(settings: &EngineSettings, utterance: Utterance) -> Result<Vec<u8>, EngineError> {
    let speech = engine::build(settings).unwrap().speak(utterance).await?;
    assert_eq!(speech.sample_rate, RATE);
    speech.collect(settings.max_speech_bytes()).await
}

async fn seconds(utterance: Utterance) -> f64 {
    wav::seconds(spoken(utterance).await.unwrap().len(), RATE)
}

fn loudness(pcm: &[u8]) -> f64 {
    let (samples, _) = pcm.as_chunks::<2>();
    let power: f64 = samples.iter().map(|s| f64::from(i16::from_le_bytes(*s)).powi(2)).sum();
    (power / samples.len() as f64).sqrt()
}

/// A program of ours that takes the place of espeak-ng.
fn impostor(script: &str) -> (tempfile::TempDir, EngineSettings) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("espeak-ng");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    let espeak_program = path.to_str().unwrap().to_owned();
    (directory, EngineSettings { espeak_program, deadline_seconds: 3, ..Default::default() })
}

#[tokio::test]
async fn speaks_every_script_for_a_plausible_time() {
    for (text, least, most) in [
        ("Hello, world.", 0.7, 2.5),
        ("你好，世界。今天天气很好。", 2.0, 6.0),
        ("你好, world", 0.7, 3.0),
        ("こんにちは", 0.5, 2.5),
        ("안녕하세요", 0.5, 2.5),
        ("Привет", 0.4, 2.0),
        ("42", 0.4, 2.0),
    ] {
        let pcm = spoken(say(text)).await.unwrap();
        let seconds = wav::seconds(pcm.len(), RATE);
        assert!((least..most).contains(&seconds), "{text} takes {seconds} s");
        assert!(loudness(&pcm) > 500.0, "{text} is silent");
    }
}

#[tokio::test]
async fn the_same_request_gives_the_same_bytes() {
    let text = "Determinism, 确定性, 42.";
    assert_eq!(spoken(say(text)).await.unwrap(), spoken(say(text)).await.unwrap());
}

#[tokio::test]
async fn voices_differ() {
    let engine = engine::build(&EngineSettings::default()).unwrap();
    let mut seen = Vec::new();
    for voice in engine.voices() {
        for text in ["Hello", "你好"] {
            let pcm = spoken(Utterance { voice: voice.id.clone(), ..say(text) }).await.unwrap();
            assert!(!seen.contains(&pcm), "{} sounds like another voice", voice.id);
            seen.push(pcm);
        }
    }
}

#[tokio::test]
async fn speed_changes_the_length() {
    let text = "The quick brown fox jumps over the lazy dog, again and again.";
    let natural = seconds(say(text)).await;
    let fast = seconds(Utterance { speed: 2.0, ..say(text) }).await;
    let slow = seconds(Utterance { speed: 0.5, ..say(text) }).await;
    assert!(fast < natural * 0.7 && slow > natural * 1.5, "{fast} {natural} {slow}");
}

#[tokio::test]
async fn markup_is_read_and_not_obeyed() {
    let raw = spoken(say("[[h@l'oU]]")).await.unwrap();
    let read = spoken(say("h@l'oU")).await.unwrap();
    assert_eq!(raw.len(), read.len());
    // Control-A followed by `200S` is espeak-ng's command for another speed.
    let commanded = seconds(say("\u{1}450S hello there my friend")).await;
    let plain = seconds(say("450S hello there my friend")).await;
    assert_eq!(commanded, plain);
}

#[tokio::test]
async fn what_cannot_be_spoken_is_rejected() {
    let cases = [
        say(""),
        say(" \n\t"),
        say("?!… 。"),
        say("\u{0}\u{1}"),
        say(&"a你".repeat(300)),
        Utterance { voice: "nobody".into(), ..say("hi") },
        Utterance { speed: 0.4, ..say("hi") },
        Utterance { speed: f32::NAN, ..say("hi") },
        Utterance { instruct: Some("softly".into()), ..say("hi") },
    ];
    for utterance in cases {
        let text = utterance.text.clone();
        let error = spoken(utterance).await.unwrap_err();
        assert!(matches!(error, EngineError::Rejected(_)), "{text:?}: {error}");
    }
    let blank = Utterance { instruct: Some("  ".into()), ..say("hi") };
    assert!(spoken(blank).await.is_ok());
}

#[tokio::test]
async fn a_long_text_streams_in_pieces() {
    let engine = engine::build(&EngineSettings::default()).unwrap();
    let speech = engine.speak(say(&"This sentence is one of many. ".repeat(60))).await.unwrap();
    let pieces: Vec<_> = speech.pcm.collect().await;
    assert!(pieces.len() > 1);
    assert!(pieces.iter().all(|piece| piece.as_ref().unwrap().len().is_multiple_of(2)));
}

#[tokio::test]
async fn a_missing_program_says_what_to_install() {
    let settings = EngineSettings { espeak_program: "/nowhere/espeak-ng".into(), ..Default::default() };
    let engine = engine::build(&settings).unwrap();
    for error in [engine.check().await.err(), engine.speak(say("hi")).await.err()] {
        let error = error.unwrap();
        assert!(matches!(error, EngineError::Unavailable { .. }), "{error}");
        assert!(error.to_string().contains("apt-get install espeak-ng"), "{error}");
    }
    let real = engine::build(&EngineSettings::default()).unwrap();
    assert_eq!(real.check().await, Ok(()));
}

#[tokio::test]
async fn a_failing_program_is_a_failure_with_its_bounded_complaint() {
    let (_directory, settings) = impostor("cat > /dev/null; yes no such voice | head -c 1000000 >&2; exit 1");
    let Err(EngineError::Failed(reason)) = spoken_by(&settings, say("secret")).await else {
        panic!("it should have failed");
    };
    assert!(reason.contains("no such voice") && reason.len() < 1_200, "{reason}");
    assert!(!reason.contains("secret"));
}

#[tokio::test]
async fn garbage_endless_output_and_hanging_are_failures() {
    let cases = [
        ("head -c 100 /dev/zero", "something else than a mono WAV"),
        ("exec cat /dev/zero", "is longer than"),
        ("exec sleep 60", "did not finish in time"),
    ];
    for (script, expected) in cases {
        let (_directory, settings) = impostor(script);
        let settings = EngineSettings { max_speech_seconds: 2, ..settings };
        let error = spoken_by(&settings, say("hi")).await.unwrap_err();
        assert!(matches!(error, EngineError::Failed(_)), "{script}: {error}");
        assert!(error.to_string().contains(expected), "{script}: {error}");
    }
}

#[tokio::test]
async fn giving_up_kills_the_program() {
    let (directory, settings) = impostor("echo $$ > \"$0.pid\"; exec sleep 60");
    let settings = EngineSettings { deadline_seconds: 60, ..settings };
    let engine = engine::build(&settings).unwrap();
    let patience = Duration::from_millis(500);
    assert!(tokio::time::timeout(patience, engine.speak(say("hi"))).await.is_err());

    let pid = std::fs::read_to_string(directory.path().join("espeak-ng.pid")).unwrap();
    let process = std::path::PathBuf::from(format!("/proc/{}", pid.trim()));
    for _ in 0..50 {
        if !process.exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the program still runs");
}

#[tokio::test]
async fn the_number_of_programs_is_bounded() {
    let (_directory, settings) = impostor("exec sleep 60");
    let settings = EngineSettings { concurrency: Some(1), queue_length: 0, deadline_seconds: 60, ..settings };
    let engine = engine::build(&settings).unwrap();
    let first = engine.speak(say("hi"));
    let second = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        engine.speak(say("hi")).await.err()
    };
    let refused = tokio::select! {
        _ = first => panic!("the program sleeps"),
        refused = second => refused,
    };
    assert!(matches!(refused, Some(EngineError::Unavailable { .. })), "{refused:?}");
}
